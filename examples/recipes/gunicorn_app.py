"""A WSGI application whose workers elect one among them. See gunicorn_conf.py for how to run it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from examples.recipes.ledger import Ledger
from leaderlock import LeaderElector, Leadership

# Made here, and started in each worker: until then it has no thread and no connection, so that it
# may be imported before the fork (preload_app) as well as after.
elector = LeaderElector(election="web")


def work(leadership: Leadership) -> None:
    """In the worker that leads, on a thread of its own."""
    with Ledger(os.environ.get("LEDGER", "ledger.db")) as ledger:
        ledger.touch("web", leadership.token)
        rounds = 0
        while not leadership.wait_lost(timeout=0.1):
            rounds += 1
            ledger.claim("web", f"{leadership.token} {rounds}", leadership.token)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "is_leader": elector.is_leader}).encode()]
