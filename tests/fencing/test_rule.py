"""One rule: every fence accepts and refuses the same tokens, and remembers the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis as redis_py
import sqlalchemy

from leaderlock import ConfigurationError, FencingToken, StaleToken, TokenRegression
from leaderlock.fencing import Fence, FenceGate, RedisFence, SQLFence
from leaderlock.fencing.gate import is_same, judge
from tests.fencing.conftest import make_database
from tests.fencing.databases import RESOURCE
from tests.servers.external import Shared

A, B, UNKNOWN = "redis:a", "etcd:b", ""
Refused = type[StaleToken] | type[TokenRegression] | None

# What the fence has seen, what is shown, what happens, what the fence has seen then.
CASES: list[tuple[FencingToken | None, FencingToken, Refused, FencingToken]] = [
    (None, FencingToken(1, 5, A), None, FencingToken(1, 5, A)),
    (None, FencingToken(0, 0, A), None, FencingToken(0, 0, A)),
    (FencingToken(1, 5, A), FencingToken(1, 5, A), None, FencingToken(1, 5, A)),
    (FencingToken(1, 5, A), FencingToken(1, 6, A), None, FencingToken(1, 6, A)),
    (FencingToken(1, 5, A), FencingToken(1, 4, A), StaleToken, FencingToken(1, 5, A)),
    (FencingToken(1, 9, A), FencingToken(1, 10, A), None, FencingToken(1, 10, A)),
    (FencingToken(1, 10, A), FencingToken(1, 9, A), StaleToken, FencingToken(1, 10, A)),
    (FencingToken(1, 5, A), FencingToken(2, 1, B), None, FencingToken(2, 1, B)),
    (FencingToken(2, 1, B), FencingToken(1, 9, A), StaleToken, FencingToken(2, 1, B)),
    (FencingToken(9, 1, A), FencingToken(10, 1, A), None, FencingToken(10, 1, A)),
    (FencingToken(1, 5, A), FencingToken(1, 9, B), TokenRegression, FencingToken(1, 5, A)),
    (FencingToken(1, 5, A), FencingToken(1, 5, B), TokenRegression, FencingToken(1, 5, A)),
    (FencingToken(1, 5, A), FencingToken(1, 4, B), TokenRegression, FencingToken(1, 5, A)),
    (FencingToken(1, 5, A), FencingToken(1, 6), None, FencingToken(1, 6, A)),
    (FencingToken(1, 5, A), FencingToken(1, 5), None, FencingToken(1, 5, A)),
    (FencingToken(1, 5, A), FencingToken(1, 4), StaleToken, FencingToken(1, 5, A)),
    (FencingToken(1, 5), FencingToken(1, 5, A), None, FencingToken(1, 5, A)),
    (FencingToken(1, 5), FencingToken(1, 4, A), StaleToken, FencingToken(1, 5)),
    (FencingToken(1, 5, A), FencingToken(2, 6), None, FencingToken(2, 6)),
    # A float, which Lua's numbers are, cannot tell these apart.
    (FencingToken(1, 2**53, A), FencingToken(1, 2**53 + 1, A), None, FencingToken(1, 2**53 + 1, A)),
    (
        FencingToken(1, 2**63 - 1, A),
        FencingToken(1, 2**63 - 2, A),
        StaleToken,
        FencingToken(1, 2**63 - 1, A),
    ),
    (
        FencingToken(2**31 - 1, 0, A),
        FencingToken(2**31 - 2, 2**63 - 1, B),
        StaleToken,
        FencingToken(2**31 - 1, 0, A),
    ),
]

KINDS = (
    "gate",
    "sqlite",
    "postgresql",
    "mariadb",
    "sqlalchemy",
    "redis",
    "valkey",
    "gate-with-store",
)
NewFence = Callable[[], Fence]


@pytest.fixture(params=KINDS)
def new_fence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewFence]:
    """Makes fences of a kind; each stands for a resource that nobody has touched."""
    kind: str = request.param
    numbers = iter(range(1000))

    def name() -> str:
        return f"{request.node.name} {next(numbers)}"

    match kind:
        case "gate":
            yield lambda: FenceGate(name())
        case "redis" | "valkey" | "gate-with-store":
            server: Shared = request.getfixturevalue("valkey" if kind == "valkey" else "redis")
            with redis_py.Redis.from_url(server.url) as client:
                if kind == "gate-with-store":
                    yield lambda: FenceGate("x", store=RedisFence(client, name()))
                else:
                    yield lambda: RedisFence(client, name())
        case "sqlalchemy":
            database = make_database(request, "postgresql", tmp_path)
            engine = sqlalchemy.create_engine(database.sqlalchemy_url())
            with engine.connect() as connection:
                SQLFence(connection, RESOURCE).create_table()
                yield lambda: SQLFence(connection, name())
            engine.dispose()
        case _:
            database = make_database(request, kind, tmp_path)
            database.prepare()
            with closing(database.open()) as connection:
                yield lambda: SQLFence(connection, name())
            database.close()


def test_the_rule_itself_says_what_the_table_says() -> None:
    for seen, shown, refused, then in CASES:
        if refused is None:
            assert is_same(judge(shown, seen), then), (seen, shown)
        else:
            with pytest.raises(refused):
                judge(shown, seen)


@pytest.mark.parametrize("verb", ["advance", "check"])
def test_every_fence_follows_the_rule(new_fence: NewFence, verb: str) -> None:
    for seen, shown, refused, then in CASES:
        fence = new_fence()
        if seen is not None:
            fence.advance(seen)
        if refused is None:
            act(fence, verb, shown)
        else:
            with pytest.raises(refused) as caught:
                act(fence, verb, shown)
            error = caught.value
            assert isinstance(error, StaleToken | TokenRegression)
            assert error.presented == shown
            assert is_same(error.highest, seen)
        assert is_same(highest_of(fence), then), (seen, shown)


def test_a_change_of_source_within_an_epoch_is_refused_by_name(new_fence: NewFence) -> None:
    fence = new_fence()
    fence.advance(FencingToken(3, 5, "redis:a"))
    with pytest.raises(TokenRegression, match=r"redis:a.*epoch 3.*etcd:b.*Raise 'epoch'"):
        act(fence, "check", FencingToken(3, 9, "etcd:b"))


def test_what_is_no_token_is_refused(new_fence: NewFence) -> None:
    fence = new_fence()
    with pytest.raises(ConfigurationError, match=r"FencingToken\.parse"):
        fence.check(str(FencingToken(1, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "x" * 256, 7, None])
def test_a_resource_has_a_name_that_means_the_same_everywhere(name: object) -> None:
    with pytest.raises(ConfigurationError, match="1 to 255 printable characters"):
        FenceGate(name)  # type: ignore[arg-type]


def act(fence: Fence, verb: str, shown: FencingToken) -> None:
    """In a transaction, where that is what makes a check count."""
    try:
        getattr(fence, verb)(shown)
    except BaseException:
        end(fence, "rollback")
        raise
    end(fence, "commit")


def highest_of(fence: Fence) -> FencingToken | None:
    try:
        return fence.highest()
    finally:
        end(fence, "rollback")


def end(fence: Fence, how: str) -> None:
    if isinstance(fence, SQLFence):
        getattr(fence._connection, how)()
