"""What is printed: whoever has written it into the store, and wherever it goes."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis

from leaderlock import LeaderElector, connect
from tests.cli.tools import LEADERLOCK, environment, leaderlock
from tests.servers.external import Shared

HOSTILE = "a\x1b[2J\tb\nc\x9b1m\u202e"
HARMLESS = "a\ufffd[2J\ufffdb\ufffdc\ufffd1m\ufffd"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db"


@pytest.fixture
def hostile(url: str) -> Iterator[None]:
    with LeaderElector(url, "e", candidate_id=HOSTILE, metadata={"a": HOSTILE}) as elector:
        assert elector.wait_elected(20)
        yield


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(
    "words",
    [
        ["who", "e"],
        ["list"],
        ["candidates", "e"],
        ["evict", "e"],
        ["evict", "e", "--yes"],
        ["run", "-e", "e", "--timeout", "1", "true"],
    ],
    ids=" ".join,
)
def test_a_name_gives_the_terminal_no_orders(url: str, words: list[str]) -> None:
    done = leaderlock(*words, LEADERLOCK_URL=url)
    said = done.stdout + done.stderr
    assert HARMLESS in said
    assert not set(said) & set("\x1b\x9b\u202e")


@pytest.mark.usefixtures("hostile")
def test_a_watched_name_is_no_more_than_a_cell(url: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*LEADERLOCK, "watch", "e"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(LEADERLOCK_URL=url),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split("\t")[1:3] == ["e", HARMLESS]
        process.terminate()


@pytest.mark.usefixtures("hostile")
def test_json_is_exact_and_plain_ascii(url: str) -> None:
    done = leaderlock("who", "e", "--json", LEADERLOCK_URL=url)
    assert json.loads(done.stdout)["candidate"] == HOSTILE
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("words", [["who", "größe"], ["list"], ["doctor"]], ids=" ".join)
def test_names_are_shown_in_every_locale(tmp_path: Path, words: list[str]) -> None:
    url = f"sqlite://{tmp_path}/größe.db"
    with LeaderElector(url, "größe", candidate_id="größe") as elector:
        assert elector.wait_elected(20)
        done = leaderlock(*words, LEADERLOCK_URL=url, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"gr\xf6\xdfe" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["who", "e"], ["who", "e", "--json"], ["list"], ["doctor"], ["watch", "e"], ["--help"]],
    ids=" ".join,
)
def test_a_full_disk_is_no_answer(url: str, words: Sequence[str]) -> None:
    with LeaderElector(url, "e") as elector, Path("/dev/full").open("w") as full:
        assert elector.wait_elected(20)
        done = subprocess.run(
            [*LEADERLOCK, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=environment(LEADERLOCK_URL=url),
        )
    said = "leaderlock: input or output has failed: No space left on device\n"
    assert (done.returncode, done.stderr) == (74, said)


def test_without_a_stdout_watch_goes_on(url: str, tmp_path: Path) -> None:
    words = 'exec "$@" >&-'
    with subprocess.Popen(
        ["sh", "-c", words, "sh", *LEADERLOCK, "watch", "e", "--json"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(LEADERLOCK_URL=url),
    ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)  # it looks for its reader every second
        process.terminate()
        assert process.communicate()[1] == ""


def test_what_another_program_has_written_hides_no_election(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is no text, for one; what the library makes of it, test_observe tells."""
    with connect(url) as client, client.elector("ours", candidate_id="me") as ours:
        assert ours.wait_elected(20)
        monkeypatch.setattr(
            "leaderlock.candidate.encode_payload", lambda *_: b'{"id": 5, "epoch": 1, "meta": []}'
        )
        with client.elector("theirs") as theirs:
            assert theirs.wait_elected(20)
            done = leaderlock("list", "--json", LEADERLOCK_URL=url)
    assert done.returncode == 77
    assert [row["election"] for row in json.loads(done.stdout)] == ["ours"]
    assert done.stderr.startswith("leaderlock: 'theirs': the store refuses: the store shows a")


def test_keys_that_are_not_leaderlocks_hide_no_election(redis: Shared) -> None:
    namespace, long = uuid.uuid4().hex, "ß" * 100
    place = {"LEADERLOCK_URL": redis.url, "LEADERLOCK_NAMESPACE": namespace}
    with (
        Redis.from_url(redis.url) as raw,
        connect(redis.url, namespace=namespace, quarantine=False) as client,
        client.elector("ours") as ours,
        client.elector(long) as shortened,
    ):
        for name in ("", "y" * 300, "half"):
            raw.set(f"{{{namespace}:{name}}}:fence", 1)
        raw.hset(f"{{{namespace}:half}}:leader", mapping={"id": "somebody"})
        assert ours.wait_elected(20)
        assert shortened.wait_elected(20)
        done = leaderlock("list", "--json", **place)
        assert done.returncode == 77
        assert [row["election"] for row in json.loads(done.stdout)] == ["ours"]
        said = done.stderr.splitlines()
        assert len(said) == 4
        assert sum("the store has a part of this name" in line for line in said) == 1
        for command in (["candidates", "half"], ["evict", "half", "--yes"], ["who", "half"]):
            done = leaderlock(*command, **place)
            assert (done.returncode, done.stdout) == (77, "")
            assert "something else has written to a key of leaderlock" in done.stderr
