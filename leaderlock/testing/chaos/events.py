"""What happened in a run: one line of JSON each, from every process, on one clock.

    who          what         data
    a candidate  started      pid                              "c1"; after a kill the next is "c1.2"
                 attempt      attempt                          it contends under this id from now on
                 elected      token, source, attempt           on_elected was called
                 lost         token, reason                    on_lost was called
                 leads        token, seen                      is_leader has turned true; see below
                 still leads  token, seen                      ten times a second
                 leads not    token, seen
                 writes       token, number                    before a write is sent
                 wrote        token, number, result            "accepted", "refused" or "error"
                 resigned     token                            before resign() is called
                 stopped      released                         stop() has returned
                 fault        error                            the candidate's program has failed
    resource     accepted     token, by, number                in the order in which it decided
                 refused      token, by, number, highest
    nemesis      fault        id, name, target, whom,          the candidates concerned; they hear
                              silences, excuses                nothing of the store; what the store
                                                               does not promise to keep under it
                 healed       id
    run          began        store, nodes, candidates, seed, ttl, timing
                 quorum       reachable                        changed, as the run knows it
                 queue        entries                          found in the store, in calm
                 calm         -                                all is healed; no faults any more
                 ended        -                                the candidates have been stopped
                 left         entry                            found in the store after all that

The first three of a belief come from a look at `is_leader`, on a thread that does nothing else. A
look reads the clock before it asks, and once more before `leads` is logged. The `seen` of `leads`
is the clock before the last look that found nothing; that of the others the clock before the last
look that found this token. So belief began after the `seen` of its `leads`, and lasted at least
from its `at` to the `seen` of what follows, which is long before a `leads not` in a process that
was paused. Whoever is killed tells nothing any more: what it last told counts.

A kill and a pause are logged before they are done, other faults and every healing when they hold; a
quorum before it can be there again. So what the log calls silence, or quiet, is just that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that happened.

    Attributes:
        at: seconds on the boot clock, which all processes of a machine share.
        who: a candidate, "resource", "nemesis" or "run".
    """

    at: float
    who: str
    what: str
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> str:
        return json.dumps({"at": self.at, "who": self.who, "what": self.what, **self.data})

    @classmethod
    def from_json(cls, line: str) -> Event:
        data = json.loads(line)
        return cls(data.pop("at"), data.pop("who"), data.pop("what"), data)


def append(log: TextIO, event: Event) -> None:
    """Write one event, complete: a process that is killed leaves no half of a line behind."""
    log.write(event.to_json() + "\n")
    log.flush()


def read(logs: Iterable[Path]) -> list[Event]:
    """The events of several processes in the order in which they happened."""
    return sorted(event for log in logs for event in _events_of(log))


def _events_of(log: Path) -> Iterator[Event]:
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Event.from_json(line)
