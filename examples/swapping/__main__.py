"""`python -m examples.swapping OLD_URL NEW_URL`: move a service between two stores, and look."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from examples.swapping.move import Stuck, move
from leaderlock import LeaderLockError, connect


def main() -> int:
    """Returns the exit code: 0 if everything is as it should be."""
    if len(sys.argv) != 3:
        print("which stores? python -m examples.swapping redis://... etcd://...", file=sys.stderr)
        return 2
    try:
        for url in sys.argv[1:]:
            with connect(url) as client:
                client.elector("swapping").leader()
        with tempfile.TemporaryDirectory() as folder:
            report = move(sys.argv[1], sys.argv[2], Path(folder) / "ledger.db", print)
    except LeaderLockError as error:
        print(f"a store cannot be used: {error}", file=sys.stderr)
        return 2
    except Stuck as error:
        print(f"the move got stuck: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.old} entries under epoch 1, then {report.new} under epoch 2;")
    print(f"{report.stale} of them under a lower token than one before.")
    for fenced in report.fenced:
        print(f"fenced out: {fenced['presented']}, because of {fenced['highest']}")
    print(f"refused: {report.refusal}")
    return 0 if report.stale == 0 and len(report.fenced) == 2 and report.refusal else 1


if __name__ == "__main__":
    sys.exit(main())
