"""At a terminal: the command has it, as if it had been started by the shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderElector
from tests.cli.terminal import CTRL_C, CTRL_Z, Terminal
from tests.cli.tools import LEADERLOCK, Run, environment, leaderlock

RUN = shlex.join([*LEADERLOCK, "run", "-q", "-e", "e", "--"])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db?ttl=20"


@pytest.fixture
def terminal(url: str) -> Iterator[Terminal]:
    with Terminal(environment(LEADERLOCK_URL=url)) as found:
        yield found


def test_the_command_reads_from_the_terminal(terminal: Terminal) -> None:
    terminal.type(f"{RUN} sh -c 'echo go on; read x; echo got $x; exit 4'; echo code $?\n")
    terminal.wait("\ngo on")
    terminal.type("hello\n")
    terminal.wait("\ngot hello")
    terminal.wait("\ncode 4")


def test_ctrl_c_ends_the_command_and_leaderlock(terminal: Terminal) -> None:
    restart = RUN.replace(" -q ", " -q --restart ")
    terminal.type(f"{restart} sh -c 'echo go on; sleep 60'; echo code $?\n")
    terminal.wait("\ngo on")
    terminal.type(CTRL_C)
    terminal.wait("code 130")


def test_ctrl_z_stops_the_job_and_fg_goes_on(terminal: Terminal) -> None:
    terminal.type(f"{RUN} sh -c 'echo go on; read x; echo got $x'\n")
    terminal.wait("\ngo on")
    terminal.type(CTRL_Z)
    terminal.wait("Stopped")
    terminal.wait("ready> ")
    terminal.type("fg\n")
    terminal.wait("leaderlock.cli.*\n")
    terminal.type("hello\n")
    terminal.wait("\ngot hello")
    terminal.wait("ready> ")


def test_a_job_in_the_background_stops_when_it_reads_and_goes_on_in_the_foreground(
    terminal: Terminal,
) -> None:
    terminal.type(f"{RUN} sh -c 'read x; echo got $x' &\n")
    terminal.wait(r"\[1\]")
    terminal.type("wait -n; jobs\n")
    terminal.wait("Stopped")
    terminal.type("fg\n")
    terminal.wait("leaderlock.cli.*\n")
    terminal.type("hello\n")
    terminal.wait("\ngot hello")


def test_a_suspended_command_does_not_lead_for_ever(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db?ttl=3"
    with Terminal(environment(LEADERLOCK_URL=url)) as terminal:
        terminal.type(f"{RUN} sh -c 'echo go on; read x'\n")
        terminal.wait("\ngo on")
        terminal.type(CTRL_Z)
        terminal.wait("Stopped")
        with Run(url, tmp_path / "journal", name="b") as other:
            other.wait("started")


def test_ctrl_c_ends_the_wait_for_a_term(terminal: Terminal, url: str) -> None:
    with LeaderElector(url, "e", candidate_id="me").lead(timeout=20):
        terminal.type(f"{RUN.replace(' -q ', ' ')} true\n")
        terminal.wait("me leads 'e'; waiting")
        terminal.type(CTRL_C)
        terminal.wait("ready> ")
        terminal.type("echo code $?\n")
        terminal.wait("\ncode 130")


@pytest.mark.parametrize(
    ("answer", "said", "code"),
    [("n\n", "leaderlock: nothing was done", 1), ("y\n", "evicted me", 0), (CTRL_C, "", 130)],
)
def test_evict_asks_first(terminal: Terminal, url: str, answer: str, said: str, code: int) -> None:
    with LeaderElector(url, "e", candidate_id="me").lead(timeout=20) as leadership:
        terminal.type(f"{shlex.join([*LEADERLOCK, 'evict', 'e'])}\n")
        terminal.wait(f"me leads 'e' under token {leadership.token}.")
        terminal.wait(r"Evict it\? \[y/N\]: ")
        terminal.type(answer)
        terminal.wait(said)
        terminal.wait("ready> ")
        terminal.type("echo code $?\n")
        terminal.wait(f"\ncode {code}\r")
        assert "Traceback" not in terminal.text()


def test_evict_spares_who_was_elected_while_it_asked(terminal: Terminal, url: str) -> None:
    first = LeaderElector(url, "e", candidate_id="first")
    second = LeaderElector(url, "e", candidate_id="second")
    with first, second:
        assert first.wait_elected(20)
        terminal.type(f"{shlex.join([*LEADERLOCK, 'evict', 'e'])}\n")
        terminal.wait(r"first leads .*")
        terminal.wait(r"Evict it\? \[y/N\]: ")
        first.stop()
        assert second.wait_elected(20)
        leadership = second.leadership
        terminal.type("y\n")
        terminal.wait("leaderlock: the term was over already")
        assert second.leadership is leadership


def test_tables_are_for_people_only(terminal: Terminal, url: str) -> None:
    with LeaderElector(url, "e", candidate_id="me", metadata={"a": "\x1b[2J"}).lead(timeout=20):
        terminal.type(f"{shlex.join([*LEADERLOCK, 'who', 'e'])}\n")
        terminal.wait("election.*candidate.*token.*metadata")
        assert "\x1b[2J" not in terminal.text()
        assert leaderlock("who", "e", LEADERLOCK_URL=url).stdout.startswith("e\tme\t")
