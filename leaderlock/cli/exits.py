"""Exit codes, and errors as one plain sentence on stderr: never a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from leaderlock.errors import (
    BackendRefused,
    BackendUnavailable,
    CampaignTimeout,
    ConfigurationError,
    LeaderLockError,
)

NO = 1
"""The answer is no: nobody leads, a token is stale, the doctor has found something."""
USAGE = 2
"""Wrong usage or configuration. Nothing was asked of the store."""
UNAVAILABLE = 69
"""The store did not answer (EX_UNAVAILABLE)."""
IO_FAILED = 74
"""The output could not be written, for instance because the disk is full (EX_IOERR)."""
TIMEOUT = 75
"""Not elected within --timeout (EX_TEMPFAIL)."""
REFUSED = 77
"""The store refuses, and will not change its mind (EX_NOPERM)."""
LOST = 79
"""The term was lost (with --exit-on-loss)."""
CANNOT_RUN = 126
NOT_FOUND = 127
"""As shells have them: the command cannot be run, or is not there."""
SIGNAL = 128
"""Plus the number of the signal, as shells have it."""

EPILOG = """
Exit status:

  0   yes, done

  1   the answer is no

  2   wrong usage or configuration

  69  the store did not answer

  74  the output could not be written

  77  the store refuses: wrong login, missing rights
"""


def say(text: str) -> None:
    """One line for people, on stderr."""
    with suppress(OSError):  # nobody listens any more: no reason to do less
        print(f"leaderlock: {printable(text)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """On one line, without what a terminal would take for orders: candidates name themselves."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def say_what_is_logged(level: int, *only: str) -> None:
    """Say what the library logs, from a level on, under names that begin so."""
    log = logging.getLogger("leaderlock")
    log.setLevel(level)
    log.addHandler(_Said(only or ("",), level))


class _Said(logging.Handler):
    def __init__(self, only: tuple[str, ...], level: int) -> None:
        super().__init__(level)
        self._only = only

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(self._only):
            mark = " error=" if " error=" in record.msg else " "  # others may write it into theirs
            say(text.partition(mark)[2] or text)


def code_of(error: LeaderLockError) -> int:
    """The exit code that an error ends the program with."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, BackendUnavailable):
        return UNAVAILABLE
    return TIMEOUT if isinstance(error, CampaignTimeout) else REFUSED


@contextmanager
def plainly() -> Iterator[None]:
    """Errors of leaderlock end the program with a sentence and their exit code."""
    try:
        yield
    except LeaderLockError as error:
        say(sentence(error))
        raise typer.Exit(code_of(error)) from None


def sentence(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, BackendUnavailable) and "answer" not in text:
        return f"the store does not answer: {text}"
    if isinstance(error, BackendRefused) and "refuse" not in text:
        return f"the store refuses: {text}"
    return text
