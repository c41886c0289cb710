"""sqlite:// on real files and with real processes."""

from __future__ import annotations

import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import leaderlock
from leaderlock import LeaderElector
from leaderlock.backends.base import Attempt, Granted, Reading, Renewal, Settings, Waiting
from leaderlock.backends.sqlite import SQLiteBackend
from leaderlock.backends.sqlite.processes import Process
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.errors import BackendRefused, BackendUnavailable, ConfigurationError
from leaderlock.url import StoreURL

PEER = Path(__file__).with_name("sqlite_peer.py")
LONG = 60.0  # a ttl that no test waits for
SOON = 10.0  # by then it has certainly happened; never waited for in full


class PeerError(Exception):
    pass


class Peer:
    """Another process; see sqlite_peer.py. Calling it evaluates an expression there."""

    def __init__(self, path: Path, ttl: float = LONG, request_timeout: float = 5.0) -> None:
        root = str(Path(leaderlock.__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, str(PEER), str(path), str(ttl), str(request_timeout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )

    def __call__(self, code: str) -> Any:
        self.tell(code)
        return self.answer()

    def tell(self, code: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return unpack(self.process.stdout.readline())

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


def unpack(text: str) -> Any:
    answer = json.loads(text)
    if "error" in answer:
        raise PeerError(f"{answer['error']}: {answer['text']}")
    return answer["value"]


class FakeClock:
    def __init__(self, now: float = 1000.1) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


MakeBackend = Callable[..., SQLiteBackend]
MakePeer = Callable[..., Peer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "election.db"


@pytest.fixture
def make(path: Path) -> Iterator[MakeBackend]:
    made: list[SQLiteBackend] = []

    def make_backend(
        ttl: float = LONG,
        request_timeout: float = 5.0,
        clock: Clock = BOOT_CLOCK,
        namespace: str = "leaderlock",
        at: Path = path,
    ) -> SQLiteBackend:
        settings = Settings(
            ttl=ttl, request_timeout=request_timeout, clock=clock, namespace=namespace
        )
        made.append(SQLiteBackend(at, settings))
        return made[-1]

    yield make_backend
    for backend in made:
        backend.close()


@pytest.fixture
def peers(path: Path) -> Iterator[MakePeer]:
    made: list[Peer] = []

    def make_peer(*, ready: bool = True, at: Path = path, **settings: float) -> Peer:
        made.append(Peer(at, **settings))
        if ready:
            assert made[-1].answer() == "ready"
        return made[-1]

    yield make_peer
    for peer in made:
        peer.end()


def an_attempt(
    name: str = "a", election: str = "e", wake: Callable[[], None] = lambda: None
) -> Attempt:
    return Attempt(election, name, b"payload of " + name.encode(), wake)


def campaign(backend: SQLiteBackend, name: str = "a", election: str = "e") -> int:
    """The token; 0 while somebody else leads."""
    answer = backend.campaign(an_attempt(name, election))
    return answer.token if isinstance(answer, Granted) else 0


def renew(backend: SQLiteBackend, name: str = "a") -> Renewal:
    return backend.renew([an_attempt(name)]).outcomes[name]


def change(path: Path, assignment: str, *values: object) -> None:
    """Edit the recorded terms by hand."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE leaderlock_elections SET {assignment}", values)


def recorded(path: Path, column: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {column} FROM leaderlock_elections").fetchone()[0]


def is_intact(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


@contextmanager
def within(limit: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit


# URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///var/x.db", "/var/x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("sqlite:///var/a%20b%3F%23%25.db", "/var/a b?#%.db"),
        ("sqlite://./x.db", "{cwd}/x.db"),
        ("sqlite://../x.db", "{cwd}/../x.db"),
        ("sqlite://./sub/x.db", "{cwd}/sub/x.db"),
    ],
)
def test_a_url_names_a_file(url: str, expected: str) -> None:
    backend = SQLiteBackend.from_url(StoreURL.parse(url), Settings(ttl=1, request_timeout=1))
    assert str(backend._grants._path) == expected.format(cwd=Path.cwd())


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite://.",
        "sqlite://./",
        "sqlite://..",
        "sqlite:///var/..",
        "sqlite:///var/dir/",
        "sqlite://x.db",
        "sqlite://var/x.db",
        "sqlite://:memory:",
        "sqlite:///:memory:",
        "sqlite:///var/x%00.db",
        "sqlite://user@/var/x.db",
        "sqlite://user:secret@/var/x.db",
    ],
)
def test_a_url_that_names_no_file_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite://\./election\.db") as caught:
        SQLiteBackend.limits(StoreURL.parse(url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 5000])
def test_a_directory_or_an_endless_name_is_refused_at_construction(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="is a directory|too long"):
        LeaderElector(f"sqlite://{tmp_path / name}", "e")


def test_a_relative_path_does_not_follow_a_later_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = StoreURL.parse("sqlite://./x.db")
    with closing(SQLiteBackend.from_url(url, Settings(ttl=1, request_timeout=1))) as backend:
        monkeypatch.chdir("/")
        campaign(backend)
    assert (tmp_path / "x.db").exists()


@pytest.mark.parametrize("value", ["0.001", "1", 0.5])
def test_poll_takes_a_millisecond_to_a_second(value: object) -> None:
    assert SQLiteBackend.options["poll"].parse(value) == float(str(value))


@pytest.mark.parametrize("value", ["0", "0.0009", "1.1", "nan", "x", True, None])
def test_another_poll_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^0\.001 to 1 seconds$"):
        SQLiteBackend.options["poll"].parse(value)


def test_a_file_name_of_any_characters_is_that_file(make: MakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "ä ?mode=memory&x#%41'\";\n.db"
    assert campaign(make(at=path)) == 1
    assert path.exists()


# Elections and names


def test_one_attempt_leads_and_the_others_wait(make: MakeBackend) -> None:
    one, two = make(), make()
    assert campaign(one, "a") == 1
    waiting = two.campaign(an_attempt("b"))
    assert isinstance(waiting, Waiting)
    assert waiting.retry_after is not None
    assert LONG - 5 < waiting.retry_after <= LONG


def test_a_repeated_campaign_returns_the_same_term(make: MakeBackend) -> None:
    backend = make(clock=(clock := FakeClock()))
    assert campaign(backend) == 1
    clock.time += LONG - 1
    assert campaign(backend) == 1
    clock.time += LONG - 1
    assert renew(backend) is Renewal.RENEWED, "the repetition extends the lease"


def test_a_release_lets_the_next_one_in_and_keeps_counting(make: MakeBackend) -> None:
    one, two = make(), make()
    assert campaign(one, "a") == 1
    for _ in range(2):
        one.release(an_attempt("a"))
    assert campaign(two, "b") == 2
    one.release(an_attempt("a"))
    assert renew(two, "b") is Renewal.RENEWED, "a release never touches another's term"


def test_a_lease_that_ran_out_is_over_even_if_nobody_took_it(make: MakeBackend) -> None:
    backend = make(clock=(clock := FakeClock()))
    assert campaign(backend) == 1
    clock.time += LONG
    assert backend.leader("e").payload is None
    assert renew(backend) is Renewal.TAKEN
    assert backend.leader("e").payload is None
    assert campaign(backend) == 2, "a new term, if only of the same attempt"


def test_a_lease_holds_to_its_last_instant(make: MakeBackend) -> None:
    one, two = make(clock=(clock := FakeClock())), make(clock=clock)
    for _ in range(200):
        assert campaign(one, "a")
        assert not campaign(two, "b"), "at the very instant of the grant"
        clock.time += LONG - 1e-6
        assert not campaign(two, "b")
        clock.time += 1.1


def test_one_round_renews_all_and_tells_them_apart(make: MakeBackend) -> None:
    one, two = make(), make()
    attempts = [an_attempt(f"a{number}", f"election {number}") for number in range(20)]
    for number, attempt in enumerate(attempts):
        (two if number % 2 else one).campaign(
            attempt if number % 3 else an_attempt("x", attempt.election)
        )
    outcomes = one.renew(attempts).outcomes
    for number, attempt in enumerate(attempts):
        expected = Renewal.RENEWED if number % 3 else Renewal.TAKEN
        assert outcomes[attempt.attempt_id] is expected


def test_leader_shows_payload_token_source_and_the_end_of_the_lease(make: MakeBackend) -> None:
    backend = make(clock=FakeClock(1024.0))
    granted = backend.campaign(an_attempt())
    assert isinstance(granted, Granted)
    assert granted.source.startswith("sqlite:")
    assert make(clock=FakeClock(1024.0)).leader("e") == Reading(
        payload=b"payload of a",
        token=1,
        source=granted.source,
        recheck_after=LONG,
    )


def test_an_observer_writes_nothing(make: MakeBackend, path: Path) -> None:
    backend = make()
    assert backend.leader("e") == Reading()
    assert renew(backend) is Renewal.TAKEN
    backend.release(an_attempt())
    woken = threading.Event()
    backend.watch("e", woken.set)
    assert woken.wait(SOON)
    assert list(path.parent.iterdir()) == []
    path.touch()  # as it is while another process is about to create it
    assert backend.leader("e") == Reading()
    assert path.stat().st_size == 0


NAMES = [
    "e",
    "E",
    " e",
    "e\0",
    "e\0x",
    "\0",
    "e'; DROP TABLE leaderlock_elections; --",
    'e"',
    "%",
    "_",
    "../e",
    "leaderlock/e",
    "é",
    "e\u0301",
    "𐍈" * 255,
    "?",
    ":a",
    "1",
    "01",
    "1.0",
    "\ufeffe",
    "e\u202e",
    "\n",
]


def test_no_name_reaches_another_election_or_namespace(make: MakeBackend) -> None:
    keys = [(namespace, name) for namespace in NAMES for name in NAMES]
    backends = {namespace: make(namespace=namespace) for namespace in NAMES}
    for number, (namespace, name) in enumerate(keys):
        assert campaign(backends[namespace], f"a{number}", name) == 1
    for number, (namespace, name) in enumerate(keys):
        assert backends[namespace].leader(name).payload == b"payload of a%d" % number


# Tokens


def test_tokens_go_on_after_every_process_has_gone(make: MakeBackend, peers: MakePeer) -> None:
    first = make()
    assert campaign(first, "a") == 1
    source = first.leader("e").source
    first.close()
    peer = peers()
    assert peer("campaign('b')") == 0, "closing is not releasing"
    first = make()
    first.release(an_attempt("a"))
    assert peer("campaign('b')") == 2
    first.close()
    peer.end()  # killed: the log has to be recovered
    second = make()
    assert campaign(second, "c") == 3
    assert second.leader("e").source == source


def test_a_grant_is_on_the_disk_before_it_is_told(make: MakeBackend) -> None:
    backend = make()
    campaign(backend)
    renew(backend)
    links = {backend._grants: 2, backend._renewals: 1}  # 2: FULL, 1: NORMAL
    for link, expected in links.items():
        with link.lend(1) as store:
            assert store.connection.execute("PRAGMA synchronous").fetchone() == (expected,)


# Dead, paused and unknown leaders


def test_a_killed_leader_is_succeeded_at_once(make: MakeBackend, peers: MakePeer) -> None:
    peer, backend, woken = peers(), make(), threading.Event()
    assert peer("campaign('a')") == 1
    attempt = an_attempt("b", wake=woken.set)
    assert isinstance(backend.campaign(attempt), Waiting)
    peer.process.kill()  # not waited for: it may be a zombie
    with within(2.0):
        assert woken.wait(SOON)
        assert backend.campaign(attempt) == Granted(token=2, source=backend.leader("e").source)


def test_a_zombie_is_dead(make: MakeBackend, peers: MakePeer) -> None:
    peer, backend = peers(), make()
    peer("campaign('a')")
    peer.process.kill()
    os.waitid(os.P_PID, peer.process.pid, os.WEXITED | os.WNOWAIT)  # leaves it a zombie
    assert backend.leader("e").payload is None
    assert campaign(backend, "b") == 2


def test_a_paused_leader_is_succeeded_after_ttl_and_learns_it(
    make: MakeBackend, peers: MakePeer
) -> None:
    peer, backend, woken = peers(ttl=2.0), make(ttl=2.0), threading.Event()
    assert peer("campaign('a')") == 1
    assert peer("renew('a')") == "renewed"
    os.kill(peer.process.pid, signal.SIGSTOP)
    attempt = an_attempt("b", wake=woken.set)
    waiting = backend.campaign(attempt)
    assert isinstance(waiting, Waiting)
    assert waiting.retry_after
    end = BOOT_CLOCK.now() + waiting.retry_after
    assert woken.wait(SOON)
    assert end - 0.05 < BOOT_CLOCK.now() < end + 1.0
    assert isinstance(backend.campaign(attempt), Granted)
    os.kill(peer.process.pid, signal.SIGCONT)
    assert peer("renew('a')") == "taken"
    assert peer("campaign('a')") == 0
    peer("release('a')")
    assert renew(backend, "b") is Renewal.RENEWED


def test_a_process_that_got_the_pid_of_a_dead_leader_does_not_keep_its_term(
    make: MakeBackend, peers: MakePeer, path: Path
) -> None:
    peer, backend = peers(), make()
    peer("campaign('a')")
    assert campaign(backend, "b") == 0
    change(path, "started = started - 1")
    assert campaign(backend, "b") == 2


@pytest.mark.parametrize(
    "assignment", ["namespaces = 'pid:[1]'", "namespaces = ''", "boot_id = ''"]
)
def test_of_a_leader_in_another_container_only_the_lease_is_believed(
    make: MakeBackend, path: Path, assignment: str
) -> None:
    one, two = make(clock=(clock := FakeClock())), make(clock=clock)
    campaign(one, "a")
    change(path, f"{assignment}, pid = 4194304, started = 1")  # no process has this pid
    assert campaign(two, "b") == 0
    clock.time += LONG
    assert campaign(two, "b") == 2


def test_a_pid_of_no_process_is_dead_in_the_same_container(make: MakeBackend, path: Path) -> None:
    one, two = make(), make()
    campaign(one, "a")
    change(path, "pid = 4194304")
    assert campaign(two, "b") == 2


def test_pid_zero_and_nonsense_are_nobody_of_whom_death_is_known() -> None:
    here = Process.current()
    for pid in (0, -1, 2**40):
        assert not Process(here.boot_id, here.namespaces, pid, 1).is_dead(here)
    assert not Process(here.boot_id, here.namespaces, here.pid, here.started).is_dead(here)
    assert not Process(here.boot_id, here.namespaces, 1, _start_of(1)).is_dead(here)


def _start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_a_process_with_a_strange_name_is_read_correctly(peers: MakePeer, path: Path) -> None:
    peer = peers()
    peer("Path('/proc/self/comm').write_text(') Z 1 (')")
    peer("campaign('a')")
    pid = peer.process.pid
    assert (recorded(path, "pid"), recorded(path, "started")) == (pid, _start_of(pid))


def test_a_lease_from_before_a_reboot_is_over(make: MakeBackend, path: Path) -> None:
    one, two = make(), make()
    campaign(one, "a")
    change(path, "boot_id = 'another'")
    assert two.leader("e").payload is None
    assert renew(one, "a") is Renewal.TAKEN
    assert campaign(two, "b") == 2


def test_a_lease_from_before_the_clock_began_anew_is_over(make: MakeBackend) -> None:
    one, two = make(clock=FakeClock(1000.0)), make(clock=FakeClock(999.0))
    campaign(one, "a")
    assert campaign(two, "b") == 2


def test_wall_clock_time_decides_nothing(
    make: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> float:
        raise AssertionError("the wall clock was read")

    one, two, woken = make(), make(), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", forbidden)
        patch.setattr(time, "time_ns", forbidden)
        campaign(one, "a")
        two.campaign(an_attempt("b", wake=woken.set))
        one.renew([an_attempt("a")])
        one.leader("e")
        one.release(an_attempt("a"))
        assert woken.wait(SOON)
        assert campaign(two, "b") == 2


# Waking


def test_a_wake_is_never_missed(make: MakeBackend) -> None:
    """Two candidates hand the term to each other; without wakes each would sleep for LONG."""
    rounds, led = 100, []

    def contend(backend: SQLiteBackend, me: str) -> None:
        woken = threading.Event()
        for number in range(rounds):
            attempt = an_attempt(f"{me}{number}", wake=woken.set)
            while not isinstance(answer := backend.campaign(attempt), Granted):
                assert woken.wait(SOON)
                woken.clear()
            led.append(answer.token)
            backend.release(attempt)

    threads = [threading.Thread(target=contend, args=(make(), me)) for me in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(led) == list(range(1, 3 * rounds + 1))


def test_an_attempt_that_waits_is_not_woken_for_nothing(make: MakeBackend) -> None:
    one, two, wakes = make(), make(), []
    campaign(one, "a")
    two.campaign(an_attempt("b", wake=lambda: wakes.append("b")))
    other = threading.Event()
    two.campaign(an_attempt("c", "other", wake=other.set))
    two.release(an_attempt("c", "other"))
    for _ in range(5):
        renew(one, "a")
    two.campaign(an_attempt("d", "third", wake=lambda: None))
    seen = threading.Event()
    two.watch("third", seen.set)
    assert seen.wait(SOON), "the watcher has looked since"
    assert wakes == []


def test_an_attempt_is_woken_once_for_each_time_that_it_asked(make: MakeBackend) -> None:
    one, two, wakes = make(), make(), []
    campaign(one, "a")
    attempt = an_attempt("b", wake=lambda: wakes.append("b"))
    two.campaign(attempt)
    for round_ in range(1, 4):
        one.release(an_attempt("a"))
        eventually(lambda: wakes)
        for other in range(3):  # commits, each of them a reason to look
            campaign(one, "c", f"other {round_} {other}")
            seen = threading.Event()
            two.watch(f"other {round_} {other}", seen.set)
            assert seen.wait(SOON)
        assert wakes == ["b"]
        wakes.clear()
        assert campaign(one, "a") == round_ + 1
        assert isinstance(two.campaign(attempt), Waiting)


def test_an_election_that_joins_later_is_watched_as_well(make: MakeBackend) -> None:
    clock = FakeClock()
    one, short, two = make(clock=clock), make(clock=clock, ttl=10.0), make(clock=clock)
    campaign(one, "a", "long")
    campaign(short, "a", "short")
    two.campaign(an_attempt("b", "long"))
    seen, woken = threading.Event(), threading.Event()
    two.watch("long", seen.set)
    assert seen.wait(SOON)
    two.campaign(an_attempt("b", "short", woken.set))
    clock.time += 10.0
    assert woken.wait(SOON)


@pytest.mark.parametrize("change_of", ["grant", "release", "expiry", "death"])
def test_an_observer_is_woken_by_every_change(
    make: MakeBackend, peers: MakePeer, change_of: str
) -> None:
    peer, backend, woken = (
        peers(ttl=2.0 if change_of == "expiry" else LONG),
        make(),
        threading.Event(),
    )
    if change_of != "grant":
        peer("campaign('a')")
    unwatch = backend.watch("e", woken.set)
    assert woken.wait(SOON), "once for the state at present"
    woken.clear()
    led_before = backend.leader("e").payload is not None
    if change_of == "grant":
        peer("campaign('a')")
    elif change_of == "release":
        peer("release('a')")
    elif change_of == "death":
        peer.process.kill()
    assert woken.wait(SOON)
    assert (backend.leader("e").payload is not None) is not led_before
    unwatch()
    unwatch()


@pytest.mark.parametrize("broken_part", ["_read_version", "_read_terms"])
def test_watching_goes_on_after_errors_and_misses_nothing(
    make: MakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken_part: str,
) -> None:
    one, two, woken, seen = make(), make(), threading.Event(), threading.Event()
    campaign(one, "a")
    two.watch("e", seen.set)
    assert seen.wait(SOON)
    failures = threading.Semaphore(0)

    def broken(*_: object) -> Any:
        failures.release()
        raise BackendUnavailable("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(two._watcher, broken_part, broken)
        two.campaign(an_attempt("b", wake=woken.set))
        seen.clear()
        one.release(an_attempt("a"))
        for _ in range(3):
            assert failures.acquire(timeout=SOON)
    assert woken.wait(SOON)
    assert seen.wait(SOON)
    assert not caplog.records


def test_nobody_waiting_means_nobody_looking(make: MakeBackend) -> None:
    backend = make()
    assert campaign(backend) == 1
    backend.watch("e", lambda: None)()
    eventually(lambda: backend._watcher._look_safely() is None)


# Many processes


def test_fifty_processes_contend_for_a_fresh_file_without_an_error(
    peers: MakePeer, path: Path
) -> None:
    crowd = [peers(ready=False) for _ in range(50)]
    for peer in crowd:
        assert peer.answer() == "ready"
    start = BOOT_CLOCK.now() + 0.5
    for peer in crowd:
        peer.tell(f"open_fresh_files(8, {start})")
    opened = [peer.answer() for peer in crowd]
    for tokens in zip(*opened, strict=True):
        assert sorted(tokens) == [0] * 49 + [1], "each file has one leader"
    for peer in crowd:
        peer.tell("contend(4)")
    terms = sorted(tuple(term) for peer in crowd for term in peer.answer())
    assert [token for token, _, _ in terms] == list(range(1, 201))
    for (_, _, end), (_, begin, _) in zip(terms, terms[1:], strict=False):
        assert end <= begin, "two led at the same time"
    assert is_intact(path)


def test_a_new_file_is_waited_for_while_another_process_reads_it(
    make: MakeBackend, peers: MakePeer, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("CREATE TABLE theirs (x)")
        reader.execute("INSERT INTO theirs VALUES (1)")
    peer = peers()
    peer("connections.append(sqlite3.connect(path, isolation_level=None))")
    peer(
        "[connections[0].execute(statement).fetchall()"
        " for statement in ('BEGIN', 'SELECT * FROM theirs')]"
    )
    peer.tell("(time.sleep(0.2), unlock_file())")
    assert campaign(make()) == 1


# Files that cannot be used


def test_a_missing_directory_is_refused_by_name(make: MakeBackend, tmp_path: Path) -> None:
    backend = make(at=tmp_path / "missing" / "x.db")
    for request in (lambda: campaign(backend), lambda: backend.leader("e")):
        with pytest.raises(BackendRefused, match="missing of x.db does not exist: create it"):
            request()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"not a database", id="short text"),
        pytest.param(lambda _: os.urandom(20_000), id="noise"),
        pytest.param(lambda whole: whole[:5000], id="cut off"),
        pytest.param(lambda whole: whole[:100] + b"\xff" * 4000 + whole[4100:], id="first page"),
        pytest.param(lambda whole: whole[:4096] + b"\xff" * (len(whole) - 4096), id="other pages"),
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(
    make: MakeBackend, path: Path, damage: Callable[[bytes], bytes]
) -> None:
    backend = make()
    campaign(backend)
    backend.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    backend = make()
    requests: list[Callable[[], object]] = [
        lambda: campaign(backend),
        lambda: renew(backend),
        lambda: backend.leader("e"),
        lambda: backend.release(an_attempt()),
    ]
    for request in requests:
        with pytest.raises(BackendRefused, match="not an intact SQLite database") as caught:
            request()
        assert str(path) in str(caught.value)
    backend.close()
    assert path.read_bytes() == damaged


def test_tables_of_a_newer_version_are_refused(make: MakeBackend, path: Path) -> None:
    campaign(make())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE leaderlock_store SET schema_version = 2")
    with pytest.raises(BackendRefused, match="version 2.*upgrade leaderlock"):
        campaign(make())


def test_tables_of_another_make_are_refused(make: MakeBackend, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE leaderlock_store (x)")
    with pytest.raises(BackendRefused, match="of another make"):
        campaign(make())


def test_the_file_of_an_application_keeps_its_content(make: MakeBackend, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 42 AS answer")
    assert make().leader("e") == Reading()
    assert campaign(make()) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT answer FROM theirs").fetchone() == (42,)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_may_not_be_written_is_refused(peers: MakePeer, what: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to other users
        path = Path(name) / "election.db"
        if what == "file":
            path.touch()
            path.chmod(0o444)
            Path(name).chmod(0o777)
        else:
            Path(name).chmod(0o555)
        peer = peers(at=path)
        peer("become_nobody()")
        with pytest.raises(PeerError, match=f"BackendRefused: {path} cannot be used"):
            peer("campaign('a')")
        Path(name).chmod(0o700)


def test_an_observer_needs_no_right_to_write(make: MakeBackend, peers: MakePeer) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = Path(name) / "election.db"
        backend = make(at=path)
        campaign(backend)
        assert renew(backend) is Renewal.RENEWED
        path.chmod(0o444)  # what is open stays open; root's peer becomes somebody else
        peer = peers(at=path)
        peer("become_nobody()")
        assert peer("backend.leader('e').token") == 1
        with pytest.raises(PeerError, match="BackendRefused"):
            peer("campaign('b', 'other')")
        assert renew(backend) is Renewal.RENEWED
        backend.close()


def test_a_full_file_is_unavailable_and_loses_nothing(make: MakeBackend, path: Path) -> None:
    backend = make()
    assert campaign(backend) == 1
    with backend._grants.lend(1) as store:
        store.connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(BackendUnavailable, match="no space left"):
        for number in range(1000):
            backend.campaign(Attempt(f"other {number}", "a", b"x" * 4000, lambda: None))
    assert renew(backend) is Renewal.RENEWED
    assert backend.leader("e").token == 1
    assert is_intact(path)


def test_a_file_that_cannot_grow_is_unavailable_and_loses_nothing(
    peers: MakePeer, path: Path
) -> None:
    peer = peers()
    assert peer("campaign('a')") == 1
    peer("limit_file_size(300_000)")
    with pytest.raises(PeerError, match=f"BackendUnavailable: {path}"):
        peer("fill(1000)")
    peer("limit_file_size(-1)")
    assert peer("renew('a')") == "renewed"
    assert peer("campaign('b', 'other')") == 1
    assert is_intact(path)


def test_too_many_open_files_are_unavailable_for_as_long_as_it_lasts(peers: MakePeer) -> None:
    peer = peers()
    limit = peer("__import__('resource').getrlimit(7)")
    peer(f"__import__('resource').setrlimit(7, (3, {limit[1]}))")
    with pytest.raises(PeerError, match="BackendUnavailable"):
        peer("campaign('a')")
    peer(f"__import__('resource').setrlimit(7, {tuple(limit)})")
    assert peer("campaign('a')") == 1


# Locks, deletion, closing


def test_a_lock_held_for_too_long_is_unavailable_in_time_and_harms_no_lease(
    make: MakeBackend, peers: MakePeer
) -> None:
    peer, backend = peers(), make(request_timeout=0.3)
    assert campaign(backend, "a") == 1
    peer("lock_file()")
    requests: list[Callable[[], object]] = [
        lambda: campaign(backend, "b", "other"),
        lambda: renew(backend, "a"),
        lambda: backend.release(an_attempt("a")),
    ]
    for request in requests:
        with within(1.0), pytest.raises(BackendUnavailable, match="longer than request") as caught:
            request()
        assert "locked" not in str(caught.value)
    assert backend.leader("e").token == 1, "reading needs no lock"
    assert campaign(backend, "b") == 0, "nor does waiting"
    peer("unlock_file()")
    assert renew(backend, "a") is Renewal.RENEWED


def test_a_short_lock_is_waited_for(make: MakeBackend, peers: MakePeer) -> None:
    peer, backend = peers(), make()
    campaign(backend, "a")
    peer("lock_file()")
    peer.tell("(time.sleep(0.2), unlock_file())")
    assert renew(backend, "a") is Renewal.RENEWED


def test_a_slow_campaign_does_not_delay_a_renewal(make: MakeBackend) -> None:
    backend = make(request_timeout=0.2)
    campaign(backend)
    with backend._grants.lend(1):
        assert renew(backend) is Renewal.RENEWED
        with within(1.0), pytest.raises(BackendUnavailable, match="has not ended yet"):
            campaign(backend, "b")


@pytest.mark.parametrize("names", [[""], ["", "-wal", "-shm"]], ids=["file", "file and log"])
def test_terms_in_a_deleted_file_are_over_and_a_new_file_is_another_source(
    make: MakeBackend, peers: MakePeer, path: Path, names: list[str]
) -> None:
    peer, backend, woken = peers(), make(), threading.Event()
    assert peer("campaign('a')") == 1
    source = backend.leader("e").source
    waiter = an_attempt("b", wake=woken.set)
    assert isinstance(backend.campaign(waiter), Waiting)
    for suffix in names:
        Path(f"{path}{suffix}").unlink()
    assert peer("renew('a')") == "taken"
    assert woken.wait(SOON)
    granted: list[Granted] = []

    def is_elected() -> bool:
        # What is left of the old log may disturb until everybody has let go of it.
        with suppress(BackendUnavailable):
            if isinstance(answer := backend.campaign(waiter), Granted):
                granted.append(answer)
        return bool(granted)

    eventually(is_elected)
    assert granted[0].token == 1
    assert granted[0].source != source
    assert peer("campaign('c')") == 0
    assert peer("backend.leader('e').source") == granted[0].source
    assert is_intact(path)


def test_a_grant_in_a_file_that_is_deleted_meanwhile_does_not_count(
    make: MakeBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    original = backend._contend

    def contend(*args: Any) -> Any:
        answer = original(*args)
        path.unlink()
        return answer

    monkeypatch.setattr(backend, "_contend", contend)
    with pytest.raises(BackendUnavailable, match="was replaced"):
        campaign(backend)


def test_after_close_there_is_no_answer_and_no_thread(make: MakeBackend) -> None:
    backend = make()
    backend.watch("e", lambda: None)
    campaign(backend)
    for _ in range(2):
        backend.close()
    assert not [t for t in threading.enumerate() if t.name == "leaderlock-sqlite"]
    with pytest.raises(BackendUnavailable, match="closed"):
        campaign(backend)
    assert campaign(make(), "b") == 0, "closing does not release"


def test_close_does_not_wait_for_long_and_a_late_request_closes_behind_itself(
    make: MakeBackend,
) -> None:
    backend = make(request_timeout=0.2)
    campaign(backend)
    with backend._grants.lend(1) as store:
        with within(1.0):
            backend.close()
        store.connection.execute("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError):
        store.connection.execute("SELECT 1")


def test_two_hundred_cycles_leave_threads_and_descriptors_flat(make: MakeBackend) -> None:
    keeper = make()
    campaign(keeper, "keeper")

    def cycle() -> tuple[int, int]:
        with closing(make()) as backend:
            campaign(backend, "b")
            renew(backend, "b")
            backend.leader("e")
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    gc.collect()
    before = cycle()
    assert {cycle() for _ in range(200)} == {before}


# Forks


@pytest.mark.parametrize("leave", ["_exit", "exit"])
@pytest.mark.parametrize("fork", ["fork", "fork_in_c"])
def test_a_forked_child_that_ends_harms_neither_lease_nor_file(
    make: MakeBackend, peers: MakePeer, path: Path, fork: str, leave: str
) -> None:
    peer, backend, woken = peers(), make(), threading.Event()
    assert peer("campaign('a')") == 1
    peer("backend.watch('e', lambda: None)")
    waiter = an_attempt("b", wake=woken.set)
    for _ in range(3):
        assert unpack(peer(f"{fork}('1', {leave!r})")) == 1
        assert peer("renew('a')") == "renewed"
        assert isinstance(backend.campaign(waiter), Waiting)
    assert not woken.is_set()
    peer("release('a')")
    assert woken.wait(SOON)
    assert campaign(backend, "b") == 2
    assert is_intact(path)


def test_a_forked_child_can_contend_by_itself(make: MakeBackend, peers: MakePeer) -> None:
    peer = peers()
    assert peer("campaign('a')") == 1
    peer("woken.clear()")
    assert unpack(peer("fork(\"campaign('b')\", 'exit')")) == 0
    assert unpack(peer("fork(\"campaign('b', 'other')\", 'exit')")) == 1
    new = "SQLiteBackend(path, settings)"
    assert unpack(peer(f"fork(\"campaign('c', 'other', {new})\", 'exit')")) == 2
    assert campaign(make(), "d", "other") == 3, "the child is dead"
    assert peer("renew('a')") == "renewed"


def test_a_child_that_is_woken_in_its_own_right(peers: MakePeer) -> None:
    peer, other = peers(), peers()
    other("campaign('a')")
    peer("campaign('b')")
    other.tell("(time.sleep(0.3), release('a'))")
    code = "(campaign('c'), woken.clear(), campaign('c'), woken.wait(10), campaign('c'))"
    assert unpack(peer(f'fork("{code}", "exit")'))[2:] == [0, True, 2]


def test_a_child_never_uses_what_its_parent_could_not_close(
    make: MakeBackend, peers: MakePeer, path: Path
) -> None:
    peer, locker = peers(request_timeout=2.0), peers()
    peer("campaign('a')")
    locker("lock_file()")
    # The campaign of another election has to wait for the lock, inside SQLite.
    peer(
        "setattr(sys.modules['__main__'], 'attempt', lambda n, e='': Attempt(n, n, b'', woken.set))"
    )
    with pytest.raises(PeerError, match="BackendRefused: .* was forked while its parent"):
        unpack(peer("fork_while_busy(\"campaign('c')\")"))
    locker("unlock_file()")
    assert make().leader("e").token == 1
    assert is_intact(path)


def test_a_child_of_a_fork_in_c_never_uses_what_its_parent_has_open(peers: MakePeer) -> None:
    peer = peers()
    peer("campaign('a')")
    with pytest.raises(PeerError, match="BackendRefused: .* was forked while its parent"):
        unpack(peer("fork_in_c(\"campaign('b')\", 'exit')"))
    assert peer("renew('a')") == "renewed"


def test_a_fork_finds_no_thread_inside_sqlite(peers: MakePeer) -> None:
    """Otherwise the child would sooner or later wait for ever for a mutex of SQLite's."""
    peer = peers(request_timeout=30.0)  # the threads write without a pause
    peer("backend.watch('e', lambda: None)")
    peer(
        "[threading.Thread(target=lambda n=n: [campaign(f'a{n}', f'e{n}') for _ in range(3000)],"
        " daemon=True).start() for n in range(3)]"
    )
    for number in range(40):
        assert unpack(peer(f"fork(\"campaign('b', 'other {number}')\", '_exit')")) == 1
