"""etcd in the hands of an administrator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from etcd3 import etcdrpc as rpc

from leaderlock.backends.admin import Admin, Finding, Grade, Standing, is_older
from leaderlock.backends.etcd.backend import EtcdBackend
from leaderlock.backends.etcd.keys import end_of
from leaderlock.backends.layout import name_of_part, unpack
from leaderlock.backends.network import join_host

_PAGE = 1000
_TOMBSTONES = "~"
# What is fixed in a patch of each minor version: etcd's CHANGELOGs.
_BUGS = (
    ("3.4.31", "3.5.13", "", "a deposed server renews leases that it should not (etcd#15247)"),
    ("3.4.38", "3.5.23", "3.6.5", "a renewal of a revoked lease may succeed"),
)


class EtcdAdmin(Admin):
    """See `Admin`. Candidates are a queue."""

    backend: EtcdBackend

    def elections(self) -> Sequence[str]:
        found: set[str] = set()
        talk, start = self.backend._connection.talk(), b""
        while True:
            answer = talk.ask("range", self.backend._keys.all(start, _PAGE))
            found |= {kv.key.decode(errors="replace").split("/")[1] for kv in answer.kvs}
            if not answer.more:
                break
            start = answer.kvs[-1].key + b"\0"
        return sorted(name_of_part(part) for part in found if part != _TOMBSTONES)

    def candidates(self, election: str) -> Sequence[Standing]:
        prefix = self.backend._keys.prefix(election)
        request = rpc.RangeRequest(
            key=prefix,
            range_end=end_of(prefix),
            sort_target=rpc.RangeRequest.CREATE,
            sort_order=rpc.RangeRequest.ASCEND,
        )
        answer = self.backend._connection.talk().ask("range", request)
        records = ((kv.create_revision, unpack(kv.value)) for kv in answer.kvs)
        return [
            Standing(attempt_id=record[0], payload=record[1], token=revision)
            for revision, record in records
            if record is not None
        ]

    def examine(self) -> Iterator[Finding]:
        connection = self.backend._connection
        for host in connection.target.hosts:
            with connection.target.open(host) as channel:
                yield from self._examine(channel, join_host(host))

    def _examine(self, channel: Any, place: str) -> Iterator[Finding]:
        connection, timeout = self.backend._connection, self.backend.settings.request_timeout
        try:
            line = connection.line()
            metadata = connection.metadata(connection.token(line, connection.talk()._end))
            stub = rpc.MaintenanceStub(channel)
            status = stub.Status(rpc.StatusRequest(), timeout=timeout, metadata=metadata)
            alarms = stub.Alarm(rpc.AlarmRequest(), timeout=timeout, metadata=metadata).alarms
        except grpc.RpcError as error:
            yield Finding(Grade.BAD, f"{place} does not tell its state: {error.code().name}")
            return
        yield from _judge_version(place, status.version)
        if not status.leader:
            yield Finding(Grade.BAD, f"{place} knows no leader of the cluster: no quorum")
        for alarm in alarms:
            name = rpc.AlarmType.Name(alarm.alarm)
            yield Finding(Grade.BAD, f"{place} has raised the alarm {name}: it takes no writes")


def _judge_version(place: str, version: str) -> Iterator[Finding]:
    yield Finding(Grade.GOOD, f"{place} is etcd {version}")
    if is_older(version, "3.4"):
        yield Finding(Grade.BAD, f"{place}: etcd 3.4 or newer is needed")
    for *fixed, what in _BUGS:
        minor = ".".join(version.split(".")[:2])
        patch = next((each for each in fixed if each.startswith(f"{minor}.")), "")
        if patch and is_older(version, patch):
            yield Finding(
                Grade.NOTE,
                f"{place}: in etcd before {patch} {what}; leaderlock does not rely on it, other "
                "programs may",
            )


def make_admin(backend: EtcdBackend) -> EtcdAdmin:
    return EtcdAdmin(backend)
