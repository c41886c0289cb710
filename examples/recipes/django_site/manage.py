"""Django's command line, as ever.

python -m examples.recipes.django_site.manage migrate --run-syncdb
LEADERLOCK_URL=redis://127.0.0.1:6379 python -m examples.recipes.django_site.manage charge_due
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.recipes.django_site.settings")
    execute_from_command_line(sys.argv)
