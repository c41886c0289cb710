"""Writes into etcd that are carried out only for the present leader. See `StoreFence`."""

from __future__ import annotations

from collections.abc import Mapping

from etcd3 import etcdrpc as rpc

from leaderlock.backends.etcd.backend import EtcdBackend
from leaderlock.backends.etcd.keys import delete, put
from leaderlock.fencing.store import StoreFence
from leaderlock.tokens import FencingToken


class EtcdFence(StoreFence[EtcdBackend]):
    """Keys in etcd, written if the leader's key still has the token as its create_revision.

    etcd carries out at most 128 writes in one transaction (--max-txn-ops), and none that names a
    key twice.
    """

    _schemes = EtcdBackend.schemes

    def read(self, key: str) -> bytes | None:
        found = self._backend._connection.talk().ask("range", rpc.RangeRequest(key=key.encode()))
        return bytes(found.kvs[0].value) if found.kvs else None

    def _own_prefix(self) -> str:
        return f"{self._backend._keys._namespace}/"

    def _find(self, token: FencingToken) -> bytes | None:
        backend = self._backend
        found = backend._connection.talk().ask("range", backend._keys.oldest(self.resource)).kvs
        if not found or found[0].create_revision != token.value:
            return None
        return bytes(found[0].key)

    def _commit(
        self,
        token: FencingToken,
        place: bytes,
        puts: Mapping[str, bytes],
        deletes: tuple[str, ...],
    ) -> bool:
        leads = rpc.Compare(
            target=rpc.Compare.CREATE,
            result=rpc.Compare.EQUAL,
            key=place,
            create_revision=token.value,
        )
        writes = [put(key.encode(), value, 0) for key, value in puts.items()]
        writes += [delete(key.encode()) for key in deletes]
        # Another server may be asked after silence: twice written is the same as once.
        answer = self._backend._connection.talk().txn(compare=[leads], success=writes)
        return bool(answer.succeeded)
