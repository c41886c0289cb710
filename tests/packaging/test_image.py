"""docker/Dockerfile: linted, its commands carried out, and its processes run as PID 1."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaderElector
from tests.elector.tools import ROOT, eventually
from tests.packaging.containers import PATIENCE, Container, Image, run

# A command that leaves a zombie and a daemon to the first process, and ends of a SIGTERM with 7.
LEAVES_ORPHANS = """
trap 'echo told to stop; exit 7' TERM
(sh -c 'exit 0' &)
(setsid sleep 300 &)
while grep -l '^State:.Z' /proc/[0-9]*/status >/dev/null 2>&1; do sleep 0.02; done
echo "clean under $LEADERLOCK_TOKEN"
while :; do sleep 0.02; done
"""


@pytest.fixture
def cli(billing_image: Image) -> Image:
    return Image("cli", billing_image.root)


@pytest.mark.parametrize("script", ["scripts/bootstrap", "scripts/servers", ".ci/run"])
def test_shellcheck_finds_nothing_in_the_scripts(script: str) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--severity=style", "--exclude=SC2016", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["Dockerfile", "etcd.Dockerfile"])
def test_hadolint_finds_nothing_in_it(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "docker" / name], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_in_the_build_context_and_little_else(cli: Image) -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    copied = [
        source
        for target in ("build", "billing")
        for instruction in cli.instructions("COPY", target)
        if not instruction.flags
        for source in instruction.value[:-1]
    ]
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied)


def test_the_image_that_is_built_without_a_target_is_the_command_line(cli: Image) -> None:
    assert list(cli._stages)[-1] == "cli"
    labels = dict(zip(cli.last("LABEL")[::2], cli.last("LABEL")[1::2], strict=True))
    assert labels["org.opencontainers.image.version"].strip('"') == leaderlock.__version__


def test_it_runs_as_a_user_without_a_name_and_may_write_into_its_folder(
    cli: Image, tmp_path: Path
) -> None:
    words = ["sh", "-c", "id -u; pwd; touch written"]
    with Container(cli, words, tmp_path / "log") as container:
        assert container.wait() == 0, container.output
        assert container.output == cli.inside("10001\n/data\n")


def test_without_a_command_it_prints_the_help(cli: Image, tmp_path: Path) -> None:
    words = [*cli.last("ENTRYPOINT"), *cli.last("CMD")]
    with Container(cli, words, tmp_path / "log") as container:
        assert container.wait() == 0
        assert "leaderlock" in container.output and "run" in container.output


def test_as_the_first_process_it_reaps_forwards_and_hands_over(cli: Image, tmp_path: Path) -> None:
    url = f"sqlite://{cli.root}/data/election.db?ttl=60"
    words = ["run", "--quiet", "--election", "image", "--", "sh", "-c", LEAVES_ORPHANS]
    log = tmp_path / "log"
    with Container(cli, [*cli.last("ENTRYPOINT"), *words], log, LEADERLOCK_URL=url) as container:
        eventually(lambda: "clean under 0000" in container.output, "it is clean", PATIENCE)
        container.signal(signal.SIGTERM)
        assert container.wait() == 7, container.output
        assert container.output.endswith("told to stop\n")
    elector = LeaderElector(url, "image")
    assert elector.leader() is None
    elector.stop()


def test_as_the_first_process_it_can_be_stopped_while_it_waits(cli: Image, tmp_path: Path) -> None:
    url = f"sqlite://{cli.root}/data/election.db?ttl=60"
    words = [*cli.last("ENTRYPOINT"), "run", "--election", "waits", "--", "true"]
    log = tmp_path / "log"
    with (
        LeaderElector(url, "waits").lead(timeout=20),
        Container(cli, words, log, LEADERLOCK_URL=url) as container,
    ):
        eventually(lambda: container.output, "it waits", PATIENCE)
        container.signal(signal.SIGTERM)
        assert container.wait() == 128 + signal.SIGTERM, container.output


def test_the_health_check_tells_whether_the_store_answers(cli: Image) -> None:
    kind, *words = cli.last("HEALTHCHECK")
    assert kind == "CMD"
    answers = run(cli, words, LEADERLOCK_URL=f"sqlite://{cli.root}/data/election.db")
    assert (answers.returncode, answers.stdout) == (0, ""), answers.stderr
    silent = run(cli, words, LEADERLOCK_URL="redis://127.0.0.1:1?request_timeout=1")
    assert silent.returncode == 69
    assert "127.0.0.1:1" in silent.stderr
