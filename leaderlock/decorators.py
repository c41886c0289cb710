"""@leader_only: a function or coroutine that runs on the leader, and nowhere else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    Never,
    ParamSpec,
    TypeVar,
    overload,
)

from leaderlock.backends.base import Backend
from leaderlock.callbacks import runs_later
from leaderlock.client import Client
from leaderlock.errors import ConfigurationError, NotLeader
from leaderlock.leadership import AnyLeadership

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.terms import Hold

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
D = TypeVar("D")
E = TypeVar("E")
LT = TypeVar("LT", bound=AnyLeadership)

Plain = Callable[P, R]
Async = Callable[P, Coroutine[Any, Any, R]]

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_Filler = Callable[[AnyLeadership, tuple[Any, ...], dict[str, Any]], _Arguments]

_OTHERWISE = ("skip", "raise", "wait")
_FILLED_IN = "leadership"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class _Anything:
    """For type checkers: only a parameter that takes anything takes one of these, too."""


class Source:
    """Where a guarded function finds its elector.

    Args:
        elector: the candidate.
        lazily: start it with the first call, and wait then until the store has said who leads.
    """

    def __init__(self, elector: AnyElector[Any], *, lazily: bool = False) -> None:
        self.elector = elector
        self._lazily = lazily
        self._patience = 2 * elector.timing.request_timeout

    def get(self) -> AnyElector[Any]:
        """For a plain function: may block."""
        if self._starts():
            self.elector._candidate.wait_answer(self._patience)
        return self.elector

    async def get_awaited(self) -> AnyElector[Any]:
        """For a coroutine."""
        from leaderlock.aio.bridge import wait_until

        if self._starts():
            candidate = self.elector._candidate
            await wait_until(candidate, lambda: candidate.wait_answer(0.0), self._patience)
        return self.elector

    def require_plain_allowed(self, function: object, otherwise: str) -> None:
        """Refuse a plain function whose call would block the event loop."""
        if self.elector._is_of_a_loop and (self._lazily or otherwise == "wait"):
            raise ConfigurationError(
                f"a call of {function!r} would block the event loop while it waits: make it a "
                "coroutine function, or use leaderlock instead of leaderlock.aio"
            )

    def _starts(self) -> bool:
        """True for the first call, or the first one in a forked child."""
        starts = self._lazily and not self.elector._candidate.contends
        if self._lazily:
            self.elector.start()
        return starts


class Guard(Generic[D]):
    """Decorator: a call runs the function on a candidate that leads, and gives `D` elsewhere.

    A parameter named `leadership` is filled in with the term. Type checkers see the signature
    without it if it is the first parameter or, as in a method, the second; of a function that
    takes anything there (`object`, `Any`) they see only what it returns.
    """

    def __init__(self, source: Source, otherwise: str, default: D) -> None:
        self._source = source
        self._otherwise = otherwise
        self._default = default

    @overload
    def __call__(self, function: Async[Concatenate[_Anything, P], R], /) -> Async[..., R | D]: ...

    @overload
    def __call__(self, function: Plain[Concatenate[_Anything, P], R], /) -> Plain[..., R | D]: ...

    @overload
    def __call__(
        self, function: Async[Concatenate[S, _Anything, P], R], /
    ) -> Async[..., R | D]: ...

    @overload
    def __call__(
        self, function: Plain[Concatenate[S, _Anything, P], R], /
    ) -> Plain[..., R | D]: ...

    @overload
    def __call__(self, function: Async[Concatenate[LT, P], R], /) -> Async[P, R | D]: ...

    @overload
    def __call__(self, function: Plain[Concatenate[LT, P], R], /) -> Plain[P, R | D]: ...

    @overload
    def __call__(
        self, function: Async[Concatenate[S, LT, P], R], /
    ) -> Async[Concatenate[S, P], R | D]: ...

    @overload
    def __call__(
        self, function: Plain[Concatenate[S, LT, P], R], /
    ) -> Plain[Concatenate[S, P], R | D]: ...

    @overload
    def __call__(self, function: Async[P, R], /) -> Async[P, R | D]: ...

    @overload
    def __call__(self, function: Plain[P, R], /) -> Plain[P, R | D]: ...

    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        is_coroutine = _is_coroutine_function(function)
        if not is_coroutine:
            self._source.require_plain_allowed(function, self._otherwise)
        signature = _signature_of(function)
        wrap = self._wrap_coroutine if is_coroutine else self._wrap_plain
        wrapper = wrap(function, _filler(signature))
        shown = [p for name, p in signature.parameters.items() if name != _FILLED_IN]
        wrapper.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        return wrapper

    def _wrap_plain(self, function: Callable[..., Any], fill_in: _Filler) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            elector = self._source.get()
            candidate = elector._candidate
            waits = self._otherwise == "wait" and candidate.contends
            hold = candidate.hold_term(None) if waits else candidate.hold_present_term()
            if hold is None:
                return self._skip(elector)
            try:
                args, kwargs = fill_in(hold.leadership, args, kwargs)
                return _require_done(function, function(*args, **kwargs))
            finally:
                candidate.let_go(hold)

        return wrapper

    def _wrap_coroutine(self, function: Callable[..., Any], fill_in: _Filler) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            import asyncio  # a third of all that this package would import

            from leaderlock.aio.bridge import hold_term
            from leaderlock.aio.scope import TermScope

            elector = await self._source.get_awaited()
            candidate = elector._candidate
            waits = self._otherwise == "wait" and candidate.contends
            hold: Hold[Any] | None
            if waits:
                hold = await hold_term(candidate, None)
            else:
                hold = candidate.hold_present_term(asyncio.current_task())
            if hold is None:
                return self._skip(elector)
            try:
                async with TermScope(hold.leadership):
                    args, kwargs = fill_in(hold.leadership, args, kwargs)
                    return await function(*args, **kwargs)
            finally:
                candidate.let_go(hold)

        return wrapper

    def _skip(self, elector: AnyElector[Any]) -> D:
        if self._otherwise == "skip":
            return self._default
        raise NotLeader(
            f"{elector.candidate_id!r} does not lead election {elector.election!r}"
            + ("" if elector._candidate.contends else ": it has not been started")
        )


class LeaderOnly(Guard[None]):
    """Decorator: `@elector.leader_only`, or `@elector.leader_only(otherwise="raise")`.

    On a leader the function runs as work under the present term: a resignation waits for it (for
    at most `timing.drain_timeout`). A parameter named `leadership` is filled in with the term.

    A plain function is NOT interrupted when the term is lost while it runs: call
    `leadership.check()` between steps. A coroutine is cancelled then, and LeadershipLost comes out
    of the call.

    `otherwise` is what a call does on a candidate that does not lead: "skip" (the default) returns
    `default` (None, unless it is given), "raise" raises NotLeader, "wait" waits until it is
    elected.

    Raises:
        ConfigurationError: the function is a generator: calling one only makes an object, which
            would then run whoever leads. Or `otherwise` is unknown.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source, "skip", None)

    @overload
    def __call__(
        self, function: Async[Concatenate[_Anything, P], R], /
    ) -> Async[..., R | None]: ...

    @overload
    def __call__(
        self, function: Plain[Concatenate[_Anything, P], R], /
    ) -> Plain[..., R | None]: ...

    @overload
    def __call__(
        self, function: Async[Concatenate[S, _Anything, P], R], /
    ) -> Async[..., R | None]: ...

    @overload
    def __call__(
        self, function: Plain[Concatenate[S, _Anything, P], R], /
    ) -> Plain[..., R | None]: ...

    @overload
    def __call__(self, function: Async[Concatenate[LT, P], R], /) -> Async[P, R | None]: ...

    @overload
    def __call__(self, function: Plain[Concatenate[LT, P], R], /) -> Plain[P, R | None]: ...

    @overload
    def __call__(
        self, function: Async[Concatenate[S, LT, P], R], /
    ) -> Async[Concatenate[S, P], R | None]: ...

    @overload
    def __call__(
        self, function: Plain[Concatenate[S, LT, P], R], /
    ) -> Plain[Concatenate[S, P], R | None]: ...

    @overload
    def __call__(self, function: Async[P, R], /) -> Async[P, R | None]: ...

    @overload
    def __call__(self, function: Plain[P, R], /) -> Plain[P, R | None]: ...

    @overload
    def __call__(self, /, *, otherwise: Literal["skip"] = "skip") -> Guard[None]: ...

    @overload
    def __call__(self, /, *, otherwise: Literal["skip"] = "skip", default: E) -> Guard[E]: ...

    @overload
    def __call__(self, /, *, otherwise: Literal["raise", "wait"]) -> Guard[Never]: ...

    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        otherwise: str = "skip",
        default: Any = None,
    ) -> Any:
        guard = make_guard(self._source, otherwise, default)
        return guard if function is None else guard(function)


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
    """`@leader_only(url, election)`: the decorator without an elector at hand.

    It makes an elector of its own, which begins to contend in the background at the first call
    of the function and resigns at the end of the process. The first call waits until the store
    has said who leads, for at most two request timeouts. See `LeaderOnly` for what a call does.

    Args:
        store: as for `LeaderElector`.
        election: as for `LeaderElector`.
        otherwise: as for `LeaderOnly`.
        default: as for `LeaderOnly`.
        settings: as for `LeaderElector`.

    Raises:
        ConfigurationError: a value that cannot be used, or a generator function.
    """
    from leaderlock.elector import LeaderElector

    source = Source(LeaderElector(store, election, **settings), lazily=True)
    return make_guard(source, otherwise, default)


def make_guard(source: Source, otherwise: str, default: Any) -> Guard[Any]:
    """The decorator for what a call does on a candidate that does not lead.

    Raises:
        ConfigurationError: `otherwise` is unknown, or `default` is of no use with it.
    """
    if otherwise not in _OTHERWISE:
        raise ConfigurationError(
            f"otherwise={otherwise!r} must be one of {', '.join(map(repr, _OTHERWISE))}"
        )
    if default is not None and otherwise != "skip":
        raise ConfigurationError(f"default={default!r} is only of use with otherwise='skip'")
    return Guard(source, otherwise, default)


def _is_coroutine_function(function: object) -> bool:
    if not callable(function) or isinstance(function, staticmethod):
        raise ConfigurationError(f"leader_only decorates a function, not {function!r}")
    kind = runs_later(function)
    # What is wrapped tells it of functools.wraps, and of contextlib.contextmanager.
    for later in (kind, runs_later(inspect.unwrap(function))):
        if later not in ("", "coroutine"):
            raise ConfigurationError(
                f"leader_only cannot guard the {later} function {function!r}: calling it runs "
                "nothing yet. Guard the plain function that consumes or drives it"
            )
    return bool(kind)


def _require_done(function: object, result: R) -> R:
    """Refuse what a plain function has only made, to be run later, whoever leads then."""
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
    elif not inspect.isasyncgen(result):
        return result
    raise ConfigurationError(
        f"leader_only has called {function!r}, and nothing has run: it returned {result!r}. Guard "
        "a coroutine function, or the plain function that consumes or drives it"
    )


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"leader_only cannot see the parameters of {function!r}: guard a function of "
            "yours that calls it"
        ) from None


def _filler(signature: inspect.Signature) -> _Filler:
    """How to hand the term to the function, if it has a parameter for it."""
    parameter = signature.parameters.get(_FILLED_IN)
    if parameter is None or parameter.kind not in (*_POSITIONAL, parameter.KEYWORD_ONLY):
        return lambda _, args, kwargs: (args, kwargs)
    position = list(signature.parameters).index(_FILLED_IN)
    by_position = parameter.kind in _POSITIONAL

    def fill_in(
        leadership: AnyLeadership, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments:
        if by_position and len(args) >= position and _FILLED_IN not in kwargs:
            return (*args[:position], leadership, *args[position:]), kwargs
        return args, {_FILLED_IN: leadership, **kwargs}

    return fill_in
