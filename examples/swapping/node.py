"""One node of the service: `python -m examples.swapping.node LEDGER`.

Which store and which epoch it is told by its configuration alone: LEADERLOCK_URL,
LEADERLOCK_EPOCH and so on. It prints one JSON object a line for what happens to it.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from examples.swapping import ledger
from leaderlock import LeaderElector, Leadership, StaleToken, TokenRegression
from leaderlock.fencing import SQLFence

PAUSE = 0.002
"""Seconds between two entries."""


def tell(event: str, **what: str) -> None:
    """Print what happens."""
    print(json.dumps({"event": event, **what}), flush=True)


def main(path: Path) -> None:
    """Contend, and write entries while leading, until it is stopped or fenced out."""
    elector = LeaderElector.from_env()

    def work(leadership: Leadership) -> None:
        token = leadership.token
        try:
            with ledger.open_ledger(path) as connection:
                fence = SQLFence(connection, ledger.RESOURCE)
                fence.advance(token)  # before anything is read
                tell("leads", token=str(token), source=token.source)
                while not leadership.wait_lost(PAUSE):
                    ledger.append(connection, fence, token)
        except StaleToken as error:
            tell("fenced", presented=str(error.presented), highest=str(error.highest))
            if error.highest.epoch > token.epoch:
                # The service has moved to another store. Here there is nothing to lead any more.
                elector.stop()
        except TokenRegression as error:
            tell("refused", why=str(error))
            elector.stop()

    signal.signal(signal.SIGTERM, lambda *_: elector.stop())
    elector.run(work)
    tell("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
