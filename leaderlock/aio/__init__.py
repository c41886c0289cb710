"""leaderlock for asyncio: the same names as in `leaderlock`, awaitable where they wait.

    import leaderlock.aio

    async with leaderlock.aio.LeaderElector("redis://localhost", "billing").lead() as leadership:
        ...  # cancelled when the term is lost: LeadershipLost comes out of the `async with`

Errors, `FencingToken`, `LeaderInfo`, `LossReason` and `Timing` are those of `leaderlock`.
"""

from leaderlock.aio.client import Client, connect
from leaderlock.aio.decorators import leader_only
from leaderlock.aio.elector import LeaderElector
from leaderlock.aio.leadership import Leadership

__all__ = ["Client", "LeaderElector", "Leadership", "connect", "leader_only"]
