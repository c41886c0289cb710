"""The keys of elections, and requests for them.

<namespace>/<election>/<attempt id>     under the lease of its client; a queue by age
<namespace>/~/<attempt id>              the attempt is not to be queued any more
"""

from __future__ import annotations

from typing import Any, NamedTuple

from etcd3 import etcdrpc as rpc

from leaderlock.backends.base import Attempt
from leaderlock.backends.layout import key_part


class Keys:
    """What is called how within a namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = key_part(namespace)

    def prefix(self, election: str) -> bytes:
        return f"{self._namespace}/{key_part(election)}/".encode()

    def of(self, attempt: Attempt) -> bytes:
        return self.prefix(attempt.election) + attempt.attempt_id.encode()

    def tombstone(self, attempt: Attempt) -> bytes:
        return f"{self._namespace}/~/{attempt.attempt_id}".encode()  # no election is called "~"

    def all(self, start: bytes, most: int) -> Any:
        """Of all elections, without their values, in their order from `start`; b"": the first."""
        first = f"{self._namespace}/".encode()
        return rpc.RangeRequest(
            key=start or first, range_end=end_of(first), limit=most, keys_only=True
        )

    def oldest(self, election: str) -> Any:
        return self._queue(election, sort_order=rpc.RangeRequest.ASCEND, limit=1)

    def newest(self, election: str, count: int, before: int = 0) -> Any:
        """Without their values; those created before a revision, if it is given."""
        return self._queue(
            election,
            sort_order=rpc.RangeRequest.DESCEND,
            limit=count,
            max_create_revision=max(0, before - 1),
            keys_only=True,
        )

    def _queue(self, election: str, **options: Any) -> Any:
        prefix = self.prefix(election)
        return rpc.RangeRequest(
            key=prefix, range_end=end_of(prefix), sort_target=rpc.RangeRequest.CREATE, **options
        )


class Place(NamedTuple):
    """A key in a queue, as its attempt has written it.

    Attributes:
        revision: of its creation.
        modified: the revision of our last write to it.
        lease: the one that it is under.
    """

    key: bytes
    revision: int
    modified: int
    lease: int

    def is_intact(self, found: Any) -> bool:
        """Whether these keys are just that one, and nobody else has written to it."""
        return [(kv.create_revision, kv.mod_revision, kv.lease) for kv in found] == [self[1:]]


def end_of(prefix: bytes) -> bytes:
    """The end of the range of all keys with this prefix, which ends in a slash."""
    return prefix[:-1] + b"0"


def get(key: bytes) -> Any:
    return read(rpc.RangeRequest(key=key))


def read(request: Any) -> Any:
    return rpc.RequestOp(request_range=request)


def put(key: bytes, value: bytes, lease: int) -> Any:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> Any:
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def is_at(key: bytes, revision: int) -> Any:
    """Compares the revision of the last write to a key; 0: there is no such key."""
    return rpc.Compare(
        target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, key=key, mod_revision=revision
    )


def found_in(answer: Any, number: int = 0) -> list[Any]:
    """The keys that one of the reads of a transaction has found."""
    return list(answer.responses[number].response_range.kvs)
