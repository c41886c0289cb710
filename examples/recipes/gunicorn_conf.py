"""gunicorn: each worker is a candidate, one leads.

LEADERLOCK_URL=redis://127.0.0.1:6379 gunicorn -c examples/recipes/gunicorn_conf.py \
    examples.recipes.gunicorn_app:app
"""

from __future__ import annotations

import threading
from typing import Any

workers = 3


def post_worker_init(worker: Any) -> None:
    """In the worker, after the fork: never start an elector in the master."""
    from examples.recipes.gunicorn_app import elector, work

    threading.Thread(target=elector.run, args=(work,), name="leader", daemon=True).start()


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, on its way out: hand over, instead of leaving it to the end of Python."""
    from examples.recipes.gunicorn_app import elector

    elector.stop()
