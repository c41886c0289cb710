"""FastAPI: every worker is a candidate for as long as it serves; one runs the background job.

    LEADERLOCK_URL=redis://127.0.0.1:6379 uvicorn --workers 3 examples.recipes.fastapi_app:app

Also under gunicorn (`-k uvicorn.workers.UvicornWorker`), with one host or many.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException

from examples.recipes.ledger import Ledger
from leaderlock import aio


async def work(leadership: aio.Leadership) -> None:
    """Awaited once per term, and cancelled when the term is lost."""
    with Ledger(os.environ.get("LEDGER", "ledger.db")) as ledger:
        ledger.touch("api", leadership.token)
        rounds = 0
        while True:
            leadership.check()  # a cancellation needs an await; this needs none
            rounds += 1
            ledger.claim("api", f"{leadership.token} {rounds}", leadership.token)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # In here, and not at import: with several workers the module is imported before they exist.
    elector = aio.LeaderElector(election="api")
    app.state.elector = elector
    async with elector, asyncio.TaskGroup() as tasks:
        job = tasks.create_task(elector.run(work))
        yield
        await elector.stop()  # ends `work`, then hands over; then run() returns
        await job


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def who() -> dict[str, Any]:
    return {"pid": os.getpid(), "is_leader": app.state.elector.is_leader}


@app.post("/charge")
async def charge() -> dict[str, str]:
    """What only the leader may do: others say who does."""
    elector = app.state.elector
    leadership = elector.leadership
    if leadership is None:
        leader = await elector.leader()
        raise HTTPException(503, {"leader": leader and leader.candidate_id})
    return {"charged_under": str(leadership.token)}
