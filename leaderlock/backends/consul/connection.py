"""The few requests that an election needs, with python-consul."""

from __future__ import annotations

import base64
import contextlib
import enum
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import consul

from leaderlock.backends.consul.target import Target
from leaderlock.backends.consul.transport import Transport
from leaderlock.backends.layout import unpack
from leaderlock.errors import BackendRefused, BackendUnavailable

T = TypeVar("T")

_CONSISTENT = [("consistent", "1")]
_RECURSE = ("recurse", "1")
_MOST_DELETIONS = 60  # Consul takes 64 operations in one transaction

# In py-consul the classes stand beside Consul, in python-consul inside it.
_API = consul.base if hasattr(consul.base, "Session") else consul.base.Consul


class _Verbs(consul.base.Consul):  # type: ignore[misc]
    """python-consul's verbs. Not its constructor: that obeys CONSUL_HTTP_ADDR, _TOKEN and so on."""

    def __init__(self, http: Transport) -> None:
        self.http = http
        self.token = self.dc = None  # the transport adds them to every request
        self.consistency = "default"
        self.session = _API.Session(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it was read, with its ModifyIndex. Index 0: it does not exist."""

    key: str
    index: int = 0
    session: str = ""
    value: bytes = field(default=b"", repr=False)
    flags: int = 0

    @property
    def attempt_id(self) -> str | None:
        """Whom the value names; None for what no candidate has written."""
        found = unpack(self.value)
        return found[0] if found else None


class Outcome(enum.Enum):
    """What became of a write, or that there was no use in it."""

    DONE = "done"
    CHANGED = "the key has changed since it was read"
    DELAYED = "the lock-delay keeps everybody out"
    NO_SESSION = "the session has ended"
    HELD = "somebody else has the lock"
    NO_SOURCE = "the key that was to be read along does not exist"


class Written(NamedTuple):
    """With the ModifyIndex that the key has got, and what was read along."""

    outcome: Outcome
    modified: int = 0
    read: Entry = Entry("")


class Connection:
    """One thread's worth of requests at a time for any number of threads; each ends in time."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._http = Transport(target, timeout)
        self._consul = _Verbs(self._http)

    def deadline(self) -> contextlib.AbstractContextManager[None]:
        """All requests of a `with` block share one timeout."""
        return self._http.deadline()

    def time_left(self) -> float:
        """Of the deadline, in seconds; raises BackendUnavailable when it is over."""
        return self._http.time_left()

    def close(self) -> None:
        self._http.close()

    def abandon(self) -> None:
        self._http.abandon()

    # Sessions

    def create_session(self, name: str, ttl: float, lock_delay: float) -> str:
        """Returns its id."""
        # Not session.create(): it refuses a ttl below 10, whatever the servers allow.
        body = {
            "Name": name,
            "TTL": _duration(ttl),
            "LockDelay": _duration(lock_delay),
            "Behavior": "release",
            # None at all: with serfHealth, the default, a lapse of the gossip ends every term at
            # once. "Checks" is what servers before 1.7 know.
            "NodeChecks": [],
            "Checks": [],
        }
        session = self._http.put(
            lambda answer: json.loads(answer.body)["ID"],
            "/v1/session/create",
            data=json.dumps(body),
        )
        return str(session)

    def renew_session(self, session: str) -> bool:
        """False: it has ended."""
        try:
            self._consul.session.renew(session)
        except consul.NotFound as error:
            # A gateway's 404 may well name the path, and so the session.
            if f"'{session}' not found" not in str(error):
                raise BackendUnavailable(f"not an answer of Consul: {error}") from error
            return False
        return True

    def destroy_session(self, session: str) -> None:
        self._consul.session.destroy(session)

    # Keys

    def read(self, key: str) -> Entry:
        """As a majority of the servers has it."""
        _, found = self._get(key, *_CONSISTENT)
        return found.get(key, Entry(key))

    def read_all(self, prefix: str) -> Mapping[str, Entry]:
        """The same for all keys that begin with `prefix`."""
        _, found = self._get(prefix, *_CONSISTENT, _RECURSE)
        return found

    def read_both(self, key: str, other: str) -> tuple[Entry, Entry]:
        """Two keys at the same moment."""
        found = self._transact(
            [{"Verb": "get", "Key": key}, {"Verb": "get", "Key": other}],
            _read_all_along,
            _CONSISTENT,
        )
        if key in found and other in found:
            return found[key], found[other]
        return self.read(key), self.read(other)  # one of them does not exist

    def wait_for_change(
        self, prefix: str, index: int, wait: float
    ) -> tuple[int, Mapping[str, Entry]]:
        """What one server has, after the index has moved on, or `wait` seconds. A hint."""
        since = [("index", str(index))] if index else []
        return self._get(prefix, _RECURSE, *since, ("wait", _duration(wait)))

    def _get(self, key: str, *params: tuple[str, str]) -> tuple[int, Mapping[str, Entry]]:
        """Not kv.get() of python-consul, which makes three copies of thousands of keys."""
        answer: tuple[int, Mapping[str, Entry]] = self._http.get(_listed, f"/v1/kv/{key}", params)
        return answer

    def write(
        self,
        seen: Entry,
        verb: str,
        value: bytes,
        *,
        session: str = "",
        flags: int = 0,
        also_read: str = "",
        also_delete: str = "",
    ) -> Written:
        """Change a key, provided that it still is as it was `seen`; read and delete others along.

        So a request that is carried out long after its sender has given up changes nothing, and
        none can be carried out twice. Not txn.put() of python-consul, which sends no token and
        does not tell why a transaction failed.
        """
        check: dict[str, object] = {"Verb": "check-index", "Key": seen.key, "Index": seen.index}
        if not seen.index:
            check = {"Verb": "check-not-exists", "Key": seen.key}
        change = {
            "Verb": verb,
            "Key": seen.key,
            "Value": base64.b64encode(value).decode(),
            "Flags": flags,
        }
        if session:
            change["Session"] = session
        read = [{"Verb": "get", "Key": also_read}] if also_read else []
        gone = _deletions([also_delete] if also_delete else [])
        return self._transact(
            [check, *read, change, *gone], lambda answer: _written(answer, also_read)
        )

    def lock_beside(
        self, key: str, session: str, prefix: str, gone: Sequence[str]
    ) -> Mapping[str, Entry]:
        """Lock a key, delete others, and read all that begin with `prefix` as they are then.

        Whoever holds the lock keeps it: look for it in the answer.
        """
        operations = [
            *_deletions(gone[:_MOST_DELETIONS]),
            {"Verb": "lock", "Key": key, "Session": session},
            {"Verb": "get-tree", "Key": prefix},
        ]
        return self._transact(operations, _read_all_along)

    def delete(self, keys: Sequence[str]) -> None:
        """Whatever stands there."""
        for at in range(0, len(keys), _MOST_DELETIONS):
            self._transact(_deletions(keys[at : at + _MOST_DELETIONS]), _read_all_along)

    def _transact(
        self,
        operations: Sequence[Mapping[str, object]],
        parse: Callable[[Any], T],
        params: Sequence[tuple[str, str]] = (),
    ) -> T:
        body = json.dumps([{"KV": operation} for operation in operations])
        result: T = self._http.put(
            lambda answer: parse(json.loads(answer.body)), "/v1/txn", params, data=body
        )
        return result


def _listed(answer: Any) -> tuple[int, Mapping[str, Entry]]:
    # With a 404 there are none; that of a gateway comes without an index.
    index = int(answer.headers["X-Consul-Index"])
    text = "[]" if answer.code == 404 else answer.body
    return index, {entry.key: entry for entry in json.loads(text, object_hook=_entry)}


def _deletions(keys: Sequence[str]) -> list[Mapping[str, object]]:
    return [{"Verb": "delete", "Key": key} for key in keys]


def _written(answer: Any, also_read: str) -> Written:
    errors, said = _errors(answer)
    if not errors:
        *others, changed = (result["KV"] for result in answer["Results"])
        read = _entry(others[-1]) if also_read else Entry("")
        return Written(Outcome.DONE, int(changed["ModifyIndex"]), read)
    failed = {error["OpIndex"] for error in errors}
    if 0 in failed:
        return Written(Outcome.CHANGED)
    if also_read and 1 in failed:
        return Written(Outcome.NO_SOURCE)
    if "lock delay" in said:
        return Written(Outcome.DELAYED)
    if "session" in said:
        return Written(Outcome.NO_SESSION)
    raise BackendUnavailable(f"Consul did not carry out a transaction: {said}")


def _read_all_along(answer: Any) -> Mapping[str, Entry]:
    """Empty: it was not carried out, because a lock or a key is not as it was to be."""
    errors, said = _errors(answer)
    if errors and not any(word in said for word in ("lock", "session", "doesn't exist")):
        raise BackendUnavailable(f"Consul did not carry out a transaction: {said}")
    results = () if errors else answer["Results"] or ()
    return {entry.key: entry for entry in (_entry(result["KV"]) for result in results)}


def _errors(answer: Any) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Why a transaction was not carried out, also as a text."""
    errors: Sequence[Mapping[str, Any]] = answer["Errors"] or ()
    said = "; ".join(str(error["What"]) for error in errors)
    if "Permission denied" in said:
        raise BackendRefused(f"Consul refuses the write: {said}")
    return errors, said


def _entry(found: Mapping[str, Any]) -> Entry:
    return Entry(
        key=found["Key"],
        index=found["ModifyIndex"],
        session=found.get("Session") or "",
        value=base64.b64decode(found["Value"] or ""),
        flags=found["Flags"],
    )


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"
