"""What `leaderlock run` is given to run in tests: it writes down what happens to it.

    worker.py JOURNAL [stubborn] [family] [exits CODE] [kills SIGNAL]

Run with `python -IS`, so that it starts fast.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

JOURNAL, *WISHES = sys.argv[1:]
LOCK = threading.RLock()


def now() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def note(what: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k.startswith("LEADERLOCK_")}
    line = json.dumps({"what": what, "at": now(), "pid": os.getpid(), "env": environment})
    with LOCK, Path(JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")


def heard(number: int, frame: object) -> None:
    note(signal.Signals(number).name)
    if number == signal.SIGTERM and "stubborn" not in WISHES:
        if "slow" in WISHES:
            time.sleep(1.0)
            note("drained")
        sys.exit(0)


for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"):
    signal.signal(getattr(signal, name), heard)
if "grandchild" in WISHES:
    note("grandchild")
elif "family" in WISHES:
    words = [sys.executable, "-IS", __file__, JOURNAL, "grandchild", "stubborn"]
    subprocess.Popen(words)
    # And one that leaves its group and session, and that a shell in between has left behind.
    subprocess.Popen(["sh", "-c", '"$@" &', "sh", *words], start_new_session=True).wait()
note("started")
if "exits" in WISHES:
    sys.exit(int(WISHES[WISHES.index("exits") + 1]))
if "kills" in WISHES:
    os.kill(os.getpid(), getattr(signal, WISHES[WISHES.index("kills") + 1]))
while True:
    time.sleep(0.01)
    if "stubborn" in WISHES and "grandchild" not in WISHES:
        note("alive")
