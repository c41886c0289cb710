"""@leader_only: a function that runs on the leader, and nowhere else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from leaderlock.backends.base import Backend
from leaderlock.callbacks import runs_later
from leaderlock.client import Client
from leaderlock.errors import ConfigurationError, NotLeader

if TYPE_CHECKING:
    from leaderlock.elector import LeaderElector
    from leaderlock.leadership import Leadership
    from leaderlock.terms import Hold

P = ParamSpec("P")
R = TypeVar("R")

_OTHERWISE = ("skip", "raise", "wait")
_FILLED_IN = "leadership"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class LeaderOnly:
    """Decorator: `@elector.leader_only`, or `@elector.leader_only(otherwise="raise")`.

    On a leader the function runs as work under the present term: a resignation waits for it (for
    at most `timing.drain_timeout`). A parameter named `leadership` is filled in with the term.
    The function is NOT interrupted when the term is lost while it runs: call
    `leadership.check()` between steps.

    Args:
        otherwise: what a call does on a candidate that does not lead: "skip" returns `default`,
            "raise" raises NotLeader, "wait" blocks until it is elected.
        default: what "skip" returns.

    Raises:
        ConfigurationError: the function is a generator or a coroutine function: calling one only
            makes an object, which would then run whoever leads. Or `otherwise` is unknown.
    """

    def __init__(self, elector: Callable[[], LeaderElector]) -> None:
        self._elector = elector

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[..., R | None]: ...

    @overload
    def __call__(
        self, /, *, otherwise: str = "skip", default: Any = None
    ) -> Callable[[Callable[P, R]], Callable[..., Any]]: ...

    def __call__(
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        otherwise: str = "skip",
        default: Any = None,
    ) -> Callable[..., Any]:
        if otherwise not in _OTHERWISE:
            raise ConfigurationError(
                f"otherwise={otherwise!r} must be one of {', '.join(map(repr, _OTHERWISE))}"
            )
        if default is not None and otherwise != "skip":
            raise ConfigurationError(f"default={default!r} is only of use with otherwise='skip'")

        def decorate(function: Callable[P, R]) -> Callable[..., Any]:
            return self._wrap(function, otherwise, default)

        return decorate if function is None else decorate(function)

    def _wrap(
        self, function: Callable[..., Any], otherwise: str, default: Any
    ) -> Callable[..., Any]:
        _require_plain_function(function)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"leader_only cannot see the parameters of {function!r}: guard a function of "
                "yours that calls it"
            ) from None
        fill_in = _filler(signature)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            elector = self._elector()
            hold = _hold_term(elector, otherwise)
            if hold is None:
                return default
            try:
                args, kwargs = fill_in(hold.leadership, args, kwargs)
                return function(*args, **kwargs)
            finally:
                elector._candidate.let_go(hold)

        shown = [p for name, p in signature.parameters.items() if name != _FILLED_IN]
        wrapper.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        return wrapper


def leader_only(
    store: str | Client | Backend,
    election: str,
    *,
    otherwise: str = "skip",
    default: Any = None,
    **settings: Any,
) -> Callable[[Callable[P, R]], Callable[..., Any]]:
    """`@leader_only(url, election)`: the decorator without an elector at hand.

    It makes an elector of its own, which begins to contend in the background at the first call
    of the function and resigns at the end of the process. The first call waits until the store
    has said who leads, for at most two request timeouts. See `LeaderOnly` for what a call does.

    Args:
        store, election, settings: as for `LeaderElector`.
        otherwise, default: as for `LeaderOnly`.

    Raises:
        ConfigurationError: a value that cannot be used, or not a plain function.
    """
    from leaderlock.elector import LeaderElector

    elector = LeaderElector(store, election, **settings)

    def contending() -> LeaderElector:
        if not elector._candidate.contends:  # the first call, or the first one in a forked child
            elector.start()
            elector._candidate.wait_answer(2 * elector.timing.request_timeout)
        return elector

    return LeaderOnly(contending)(otherwise=otherwise, default=default)


def _hold_term(elector: LeaderElector, otherwise: str) -> Hold | None:
    """The present term, with the caller counted as working under it; None: skip the call."""
    candidate = elector._candidate
    waits = otherwise == "wait" and candidate.contends
    hold = candidate.hold_term(None) if waits else candidate.hold_present_term()
    if hold is None and otherwise != "skip":
        raise NotLeader(
            f"{elector.candidate_id!r} does not lead election {elector.election!r}"
            + ("" if candidate.contends else ": it has not been started")
        )
    return hold


def _require_plain_function(function: object) -> None:
    if not callable(function):
        raise ConfigurationError(f"leader_only decorates a function, not {function!r}")
    if kind := runs_later(function):
        raise ConfigurationError(
            f"leader_only cannot guard the {kind} function {function!r}: calling it runs "
            "nothing yet. Guard the plain function that consumes or drives it"
        )


def _filler(
    signature: inspect.Signature,
) -> Callable[
    [Leadership, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]
]:
    """How to hand the term to the function, if it has a parameter for it."""
    parameter = signature.parameters.get(_FILLED_IN)
    if parameter is None or parameter.kind not in (*_POSITIONAL, parameter.KEYWORD_ONLY):
        return lambda _, args, kwargs: (args, kwargs)
    position = list(signature.parameters).index(_FILLED_IN)
    by_position = parameter.kind in _POSITIONAL

    def fill_in(
        leadership: Leadership, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if by_position and len(args) >= position and _FILLED_IN not in kwargs:
            return (*args[:position], leadership, *args[position:]), kwargs
        return args, {_FILLED_IN: leadership, **kwargs}

    return fill_in
