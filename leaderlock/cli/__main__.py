"""The command `leaderlock`, also as `python -m leaderlock.cli`."""

from __future__ import annotations

import importlib.util
import sys

NEEDED = ("typer", "rich")


def main() -> None:
    """Look for the libraries first: their absence is not worth a traceback."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"leaderlock: the command line needs {' and '.join(missing)}: "
            "pip install 'leaderlock[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from leaderlock.cli.app import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
