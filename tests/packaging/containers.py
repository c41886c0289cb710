"""What Docker would do with docker/Dockerfile, as far as that goes without an engine.

A stage's COPY and RUN are carried out below a folder that stands for `/`. A container is a process
that is the first one of a PID namespace, with the user, the environment and the working directory
that the image says, and nothing else of this machine's environment. What an engine does beyond
that (images, networks, limits, the file system) is not here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dockerfile

from tests.elector.tools import ROOT, eventually

FILE = ROOT / "docker" / "Dockerfile"
PATIENCE = 60.0
"""How long, in seconds, on a busy machine: many programs start at once."""
# What is different here: uv is there already, and only root may give files away.
_HERE = {"pip install --no-cache-dir uv==": "uv --version # ", "--owner=10001 --group=10001": ""}


class Image:
    """What a stage of the Dockerfile makes.

    Attributes:
        root: the folder that stands for `/`.
    """

    def __init__(self, target: str, root: Path) -> None:
        self.root = root
        self._target = target
        self._stages: dict[str, list[Any]] = {}
        for instruction in dockerfile.parse_file(str(FILE)):
            if instruction.cmd.upper() == "FROM":
                self._stages[instruction.value[2]] = []
            if self._stages:
                list(self._stages.values())[-1].append(instruction)

    def instructions(self, kind: str, target: str = "") -> list[Any]:
        """Those of one kind, from the base image on."""
        stage = self._stages.get(target or self._target, [])
        before = self.instructions(kind, stage[0].value[0]) if stage else []
        return before + [each for each in stage if each.cmd.upper() == kind]

    def last(self, kind: str) -> list[str]:
        """The words of the instruction that counts."""
        return [self.inside(word) for word in self.instructions(kind)[-1].value]

    @property
    def environment(self) -> dict[str, str]:
        """All that the container's processes find, also what the base image brings."""
        found = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/"}
        for instruction in self.instructions("ENV"):
            words = instruction.value
            for name, value in zip(words[::2], words[1::2], strict=True):
                found[name] = self.inside(value.replace("$PATH", found["PATH"]))
        return found

    def inside(self, text: str) -> str:
        """With the folders of the image as they are called here."""
        return re.sub(r"(?<![\w.])/(opt|data|src)\b", rf"{self.root}/\1", text)

    def build(self, target: str) -> None:
        """Carry out what a stage, and those that it is made from, copy and run."""
        folder = self.root / "src"
        stage = self._stages.get(target, [])
        if stage:
            self.build(stage[0].value[0])
        for instruction in stage:
            if instruction.cmd.upper() == "RUN":
                _run(self.inside(instruction.value[0]), folder)
            elif instruction.cmd.upper() == "COPY" and instruction.flags:
                assert instruction.value[0] == instruction.value[1]  # from another stage
            elif instruction.cmd.upper() == "COPY":
                *sources, to = map(self.inside, instruction.value)
                for source in sources:
                    _copy(source, folder / to)


def _copy(source: str, to: Path) -> None:
    if (ROOT / source).is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, to, ignore=ignored, dirs_exist_ok=True)
    else:
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, to)


def _run(words: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for there, here in _HERE.items():
        words = words.replace(there, here)
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    # `python` and `uv` are those of .venv.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{outside['PATH']}"
    done = subprocess.run(
        ["sh", "-c", words],
        cwd=folder,
        env={**outside, "PATH": programs},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Container:
    """A process that is PID 1. It is gone at the end of the block, with all that it has started."""

    def __init__(self, image: Image, words: list[str], output: Path, **given: str) -> None:
        self._output = output
        user, _, group = image.last("USER")[0].partition(":")
        fresh = ["--user", f"--map-user={user}", f"--map-group={group}", "--pid", "--mount-proc"]
        folder = image.root / "data"
        folder.mkdir(exist_ok=True)
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                ["unshare", *fresh, "--fork", "--kill-child", *words],
                cwd=folder,
                env={**image.environment, **given},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        return self._output.read_text()

    def signal(self, number: signal.Signals) -> None:
        """To its first process, like `docker stop` and `docker kill`."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        eventually(children.read_text, "its first process is there", PATIENCE)
        os.kill(int(children.read_text()), number)

    def wait(self) -> int:
        """For its end; its exit code."""
        return self._process.wait(timeout=PATIENCE)

    def is_running(self) -> bool:
        return self._process.poll() is None


def run(image: Image, words: list[str], **given: str) -> subprocess.CompletedProcess[str]:
    """A command in the environment of a container, such as a health check."""
    environment: Mapping[str, str] = {**image.environment, **given}
    return subprocess.run(
        ["sh", "-c", f"exec {shlex.join(words)}"],
        cwd=image.root / "data",
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
