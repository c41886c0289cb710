"""@leader_only for asyncio, without an elector at hand."""

from __future__ import annotations

from typing import Any, Literal, Never, overload

from leaderlock.aio.client import Client
from leaderlock.aio.elector import LeaderElector
from leaderlock.backends.base import Backend
from leaderlock.decorators import E, Guard, Source, make_guard


@overload
def leader_only(
    store: str | Client | Backend,
    election: str,
    *,
    otherwise: Literal["skip"] = "skip",
    default: E,
    **settings: Any,
) -> Guard[E]: ...


@overload
def leader_only(
    store: str | Client | Backend,
    election: str,
    *,
    otherwise: Literal["skip"] = "skip",
    **settings: Any,
) -> Guard[None]: ...


@overload
def leader_only(
    store: str | Client | Backend,
    election: str,
    *,
    otherwise: Literal["raise", "wait"],
    **settings: Any,
) -> Guard[Never]: ...


def leader_only(
    store: str | Client | Backend,
    election: str,
    *,
    otherwise: str = "skip",
    default: Any = None,
    **settings: Any,
) -> Guard[Any]:
    """`@leader_only(url, election)`: for coroutine functions, without an elector at hand.

    It makes an elector of its own, which begins to contend in the background at the first call
    of the function and resigns at the end of the process. The first call waits until the store
    has said who leads, for at most two request timeouts. On a leader the coroutine is cancelled
    when the term is lost, and LeadershipLost comes out of the call. See `leaderlock.leader_only`
    for the arguments.

    Raises:
        ConfigurationError: a value that cannot be used, or not a coroutine function.
    """
    source = Source(LeaderElector(store, election, **settings), lazily=True)
    return make_guard(source, otherwise, default)
