"""ZooKeeper in the hands of an administrator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kazoo.exceptions import NoNodeError

from leaderlock.backends.admin import Admin, Finding, Grade, Standing, is_older
from leaderlock.backends.layout import name_of_part, unpack
from leaderlock.backends.zookeeper.backend import ZooKeeperBackend


class ZooKeeperAdmin(Admin):
    """See `Admin`. Candidates are a queue."""

    backend: ZooKeeperBackend

    def elections(self) -> Sequence[str]:
        base = self.backend._nodes.parent("any").rpartition("/")[0]
        with self.backend._connection.talk() as talk:
            client = talk.session.client
            client.sync_async(base).get(timeout=talk.left)
            try:
                found = client.get_children_async(base).get(timeout=talk.left)
            except NoNodeError:
                return []
        return sorted(map(name_of_part, found))

    def candidates(self, election: str) -> Sequence[Standing]:
        nodes, found = self.backend._nodes, []
        with self.backend._connection.talk() as talk:
            client, parent = talk.session.client, nodes.parent(election)
            client.sync_async(parent).get(timeout=talk.left)
            for candidate in nodes.queue(talk, parent):
                try:
                    value, stat = client.get_async(candidate.path).get(timeout=talk.left)
                except NoNodeError:
                    continue
                record = unpack(value)
                if record is not None and stat.ephemeralOwner:
                    found.append(
                        Standing(
                            attempt_id=record[0],
                            payload=record[1],
                            token=stat.czxid,
                            since=stat.ctime / 1000,
                            mark=candidate.path,
                        )
                    )
        return found

    def evict(self, election: str, standing: Standing) -> bool:
        with self.backend._connection.talk() as talk:
            try:
                # The number in its name is used only once.
                talk.session.client.delete_async(standing.mark).get(timeout=talk.left)
            except NoNodeError:
                return False
        return True

    def examine(self) -> Iterator[Finding]:
        asked = self.backend.settings.ttl
        with self.backend._connection.talk() as talk:
            granted, client = talk.session.ttl, talk.session.client
        if granted == asked:
            yield Finding(Grade.GOOD, f"grants the session timeout asked for, {asked:g} s")
        else:
            yield Finding(
                Grade.NOTE,
                f"grants sessions of {granted:g} s instead of {asked:g} s: minSessionTimeout or "
                "maxSessionTimeout",
            )
        try:
            said = client.command(b"srvr")
        except OSError as error:
            yield Finding(Grade.NOTE, f"does not answer to srvr ({error}): version unknown")
            return
        version = re.search(r"version: ([0-9.]+)", said)
        mode = re.search(r"^Mode: (\w+)", said, re.MULTILINE)
        if version is None or mode is None:
            yield Finding(Grade.NOTE, "srvr is not allowed (4lw.commands.whitelist): no version")
            return
        yield Finding(Grade.GOOD, f"ZooKeeper {version[1]}, this server is {mode[1]}")
        if is_older(version[1], "3.5"):
            yield Finding(Grade.BAD, "ZooKeeper 3.5 or newer is needed")
        if mode[1] == "standalone":
            yield Finding(Grade.NOTE, "a single server: while it is down, nobody leads")


def make_admin(backend: ZooKeeperBackend) -> ZooKeeperAdmin:
    return ZooKeeperAdmin(backend)
