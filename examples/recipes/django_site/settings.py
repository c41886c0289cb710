"""What the command needs, and no more."""

from __future__ import annotations

import os

LEADERLOCK_URL = os.environ.get("LEADERLOCK_URL", "sqlite:///election.db")
INSTALLED_APPS = ["examples.recipes.django_site.billing"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", "db.sqlite3"),
        "OPTIONS": {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
