"""`python -m examples.billing`: run the demo, or say in one sentence what is missing for it."""

from __future__ import annotations

import importlib.util
import sys

NEEDED = ("typer", "rich", "httpx", "starlette", "uvicorn", "tenacity")


def main() -> None:
    """Look for the libraries first: their absence is not worth a traceback."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"The billing demo needs {', '.join(missing)}: run `make demo`, which does all of its"
            " own set-up, or install leaderlock[demo].",
            file=sys.stderr,
        )
        sys.exit(2)
    from examples.billing.cli import app

    app(prog_name="python -m examples.billing")


if __name__ == "__main__":
    main()
