"""Whatever is wrong is said in one plain sentence on stderr, with an exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderElector
from leaderlock.testing.servers.redis import RedisServer
from tests.cli.tools import LEADERLOCK, environment, leaderlock
from tests.elector.tools import ROOT

COMMANDS = [
    ["who", "e"],
    ["list"],
    ["watch", "e"],
    ["candidates", "e"],
    ["evict", "e", "--yes"],
    ["doctor"],
    ["run", "-q", "-e", "e", "--timeout", "1", "--", "true"],
]
each_command = pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])


def fails(*words: str, code: int, **more: str) -> str:
    done = leaderlock(*words, given=None, **more)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("leaderlock: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@each_command
def test_without_a_store(words: list[str]) -> None:
    assert "no store given" in fails(*words, code=2)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://a", "no backend for mysql://; there are "),
        ("redis://a?tll=5", "unknown parameter of redis://a 'tll'; known are ttl, "),
        ("redis://a?ttl=soon", "ttl='soon' in redis://a"),
        ("memory://", "memory:// lives within one process"),
        ("nonsense", "not a store URL: 'nonsense'"),
    ],
)
def test_a_wrong_url(url: str, said: str) -> None:
    for words in (COMMANDS[0], COMMANDS[-1]):
        assert said in fails(*words, code=2, LEADERLOCK_URL=url)


@pytest.mark.parametrize("words", [["who"], ["watch"], ["candidates"], ["evict", "--yes"]])
def test_a_wrong_name(words: list[str], tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    for wrong in "x" * 256, "\udcff":
        assert "must be a text of 1 to 255" in fails(*words, wrong, code=2, LEADERLOCK_URL=url)


@each_command
def test_a_store_that_is_not_there(words: list[str]) -> None:
    told = fails(*words, code=69, LEADERLOCK_URL="redis://127.0.0.1:1?ttl=10")
    assert "127.0.0.1:1" in told


def test_a_wrong_password_is_refused_and_never_shown() -> None:
    with RedisServer(password="right") as server:
        url = server.url.replace("right", "wr0ng")
        for words in COMMANDS:
            told = fails(*words, code=77, LEADERLOCK_URL=url)
            assert "wr0ng" not in told


def test_a_password_may_stand_in_the_environment_or_the_file(tmp_path: Path) -> None:
    with RedisServer(password="right") as server:
        url = f"redis://127.0.0.1:{server.port}"
        assert leaderlock("list", "--url", url, LEADERLOCK_PASSWORD="right").returncode == 0
        file = tmp_path / "leaderlock.toml"
        file.write_text(f'[leaderlock]\nurl = "{url}"\npassword = "right"\nelection = "e"\n')
        assert leaderlock("list", "--config", str(file)).returncode == 0
        assert "nobody leads 'e'" in fails("who", "-c", str(file), code=1)
        done = leaderlock("doctor", "-c", str(file))
        assert "right" not in done.stdout + done.stderr


def test_a_password_among_the_arguments_is_warned_of() -> None:
    with RedisServer(password="right") as server:
        done = leaderlock("list", "--url", server.url)
        assert (done.returncode, done.stdout) == (0, "")
        assert "can read the secret in --url" in done.stderr
        assert "right" not in done.stderr
        assert leaderlock("list", LEADERLOCK_URL=server.url).stderr == ""


def test_a_missing_extra_names_it() -> None:
    code = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from leaderlock.cli.app import main\n"
        "sys.exit(main(['who', 'e', '--url', 'redis://a']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'leaderlock[redis]'\n")
    assert done.stderr.count("\n") == 1


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = (
        "import importlib.util, leaderlock.cli.__main__\n"
        "importlib.util.find_spec = lambda name: None\n"
        "leaderlock.cli.__main__.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "leaderlock: the command line needs typer and rich: pip install 'leaderlock[cli]'\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["whom"], "No such command 'whom'"),
        (["who", "--jsno"], "No such option"),
        (["run", "--timeout", "soon", "--", "true"], "Invalid value for '--timeout'"),
        (["run", "-e", "e"], "Missing argument"),
        (["run", "--url", "sqlite:///tmp/x.db", "--", "true"], "no election given"),
        (["who", "--url", "sqlite:///tmp/x.db"], "no election given"),
        (["run", "-e", "e", "--url", "sqlite:///tmp/x.db?ttl=0.1", "--", "true"], "ttl=0.1"),
        (["run", "-e", "e", "--url", "sqlite:///tmp/x.db", "--grace", "9", "true"], "stop_grace=9"),
        (["run", "-e", "e", "--url", "sqlite:///tmp/x.db", "--metadata", "{", "true"], "metadata="),
        (["who", "e", "-c", "/no/such/file"], "cannot read the configuration file"),
        (["token", "12"], "not a fencing token: '12'"),
    ],
)
def test_wrong_usage(words: list[str], said: str) -> None:
    assert said in fails(*words, code=2)


def test_the_bare_command_shows_the_way() -> None:
    done = leaderlock()
    assert done.returncode == 2
    assert "leaderlock run --url" in done.stdout
    assert leaderlock("--version").stdout.startswith("leaderlock 0.")
    for words in COMMANDS:
        assert "leaderlock " + words[0] in leaderlock(words[0], "--help").stdout


def test_completion_knows_the_commands() -> None:
    done = leaderlock(
        _LEADERLOCK_COMPLETE="complete_bash", COMP_WORDS="leaderlock w", COMP_CWORD="1"
    )
    assert done.stdout.split() == ["who", "watch"]


def test_watch_shows_every_change_until_ctrl_c(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    process = subprocess.Popen(
        [*LEADERLOCK, "watch", "e", "f", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(LEADERLOCK_URL=url),
    )
    assert process.stdout is not None
    first = sorted(process.stdout.readline() for _ in range(2))
    assert '"election": "e", "candidate": null' in first[0]
    assert '"election": "f", "candidate": null' in first[1]
    with LeaderElector(url, "f", candidate_id="me").lead(timeout=20):
        assert '"election": "f", "candidate": "me"' in process.stdout.readline()
    assert '"election": "f", "candidate": null' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (130, "")


def test_a_reader_that_has_gone_ends_watch_quietly(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    reader, writer = os.pipe()
    words = [*LEADERLOCK, "watch", "e"]
    with subprocess.Popen(
        words, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(LEADERLOCK_URL=url)
    ) as process:
        os.close(writer)
        assert b"nobody leads" in os.read(reader, 1000)
        os.close(reader)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (141, "")


@pytest.mark.parametrize(
    "words",
    [["watch", "e"], ["who", "e"], ["who", "e", "--json"], ["token", "--help"]],
    ids=" ".join,
)
def test_a_reader_that_never_was_is_no_answer(words: list[str], tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    reader, writer = os.pipe()
    os.close(reader)
    with LeaderElector(url, "e").lead(timeout=20):
        done = subprocess.run(
            [*LEADERLOCK, *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(LEADERLOCK_URL=url),
            timeout=20,
            check=False,
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_demo_shows_three_changes_of_leader() -> None:
    done = leaderlock("demo")
    assert done.returncode == 0, done
    assert done.stderr == ""
    tokens = re.findall(r"under token (\S+)", done.stdout)
    assert len(tokens) >= 4
    assert tokens == sorted(tokens)
    assert "ends: its command got SIGTERM" in done.stdout


def test_the_demo_ends_when_its_store_refuses() -> None:
    with RedisServer(password="right") as server:
        done = leaderlock("demo", "--url", server.url.replace("right", "wr0ng"))
        assert done.returncode == 77


def test_tokens() -> None:
    low, high = "0000000001.0000000000000000042", "0000000002.0000000000000000001"
    assert leaderlock("token", low).stdout == f"{low}\t1\t42\n"
    assert leaderlock("token", LEADERLOCK_TOKEN=low).stdout == f"{low}\t1\t42\n"
    for first, second, said, code in (
        (low, high, "stale", 1), (high, low, "newer", 0), (low, low, "the same", 0),
    ):  # fmt: skip
        done = leaderlock("token", first, second)
        assert (done.stdout, done.returncode) == (f"{said}\n", code)
