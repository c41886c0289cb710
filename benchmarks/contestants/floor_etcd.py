"""etcd, raw: what no lock can do without. It is sent by the stubs of gRPC, as every client does.

floor           one transaction that puts the key under a lease, which exists already, if there is
                no such key; one request that deletes it. Whoever waits has a watch on the key, and
                sends one transaction when it is told of the deletion.
correct floor   uncontended, the same: the transaction is a quorum's answer, fails when the lease is
                over, and carries the revision, which is the token. After a wait one keep-alive,
                sent just before the transaction: it says how long the lease has still to live.
                Without it a candidate that was paused while it waited may believe in a term whose
                lease is about to end. It is under way together with the transaction, so that it
                costs a request and hardly any time. (Who knows when its last heartbeat was sent
                may leave it out, and believe for a shorter time at first.)
"""

from __future__ import annotations

import queue
from typing import Any

import grpc
from etcd3 import etcdrpc as rpc

from benchmarks.contestants.contestant import Contestant, Lock

_LEASE = 3600  # it is not what is measured


class RawLock(Lock):
    def __init__(self, contestant: EtcdFloor, name: str) -> None:
        self._etcd = contestant
        self._key = name.encode()
        self._events: Any = None
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        absent = rpc.Compare(
            key=self._key,
            target=rpc.Compare.CREATE,
            result=rpc.Compare.EQUAL,
            create_revision=0,
        )
        put = rpc.RequestOp(
            request_put=rpc.PutRequest(key=self._key, value=b"", lease=contestant.lease)
        )
        self._put_if_absent = rpc.TxnRequest(compare=[absent], success=[put])
        self._delete = rpc.DeleteRangeRequest(key=self._key)

    def acquire(self) -> None:
        waited = False
        while True:
            proof = self._etcd.prove() if waited and self._etcd.proves else None
            answer = self._etcd.kv.Txn(self._put_if_absent)
            if proof is not None:
                proof.result()
            if answer.succeeded:
                return
            self._wait_for_deletion(answer.header.revision)
            waited = True

    def release(self) -> None:
        self._etcd.kv.DeleteRange(self._delete)

    def _wait_for_deletion(self, since: int) -> None:
        """One watch, for good; what happened before `since` is skipped."""
        if self._events is None:
            self._events = self._etcd.watch.Watch(iter(self._orders.get, None))
            create = rpc.WatchCreateRequest(key=self._key, start_revision=since + 1)
            self._orders.put(rpc.WatchRequest(create_request=create))
        for answer in self._events:
            for event in answer.events:
                if event.type == event.DELETE and event.kv.mod_revision > since:
                    return


class EtcdFloor(Contestant):
    proves = False

    def connect(self) -> None:
        channel = grpc.insecure_channel(f"{self.host}:{self.port}")
        self.kv, self.watch = rpc.KVStub(channel), rpc.WatchStub(channel)
        self._lease = rpc.LeaseStub(channel)
        self.lease = self._lease.LeaseGrant(rpc.LeaseGrantRequest(TTL=_LEASE)).ID
        self._time_to_live = rpc.LeaseTimeToLiveRequest(ID=self.lease)
        self._keep_alives: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._kept = self._lease.LeaseKeepAlive(iter(self._keep_alives.get, None))

    def prove(self) -> Proof:
        self._keep_alives.put(rpc.LeaseKeepAliveRequest(ID=self.lease))
        return Proof(self._kept)

    def lock(self, name: str) -> Lock:
        return RawLock(self, name)


class Proof:
    """A keep-alive whose answer is still to come."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers

    def result(self) -> None:
        next(self._answers)


class CorrectEtcdFloor(EtcdFloor):
    proves = True


make = EtcdFloor
make_correct = CorrectEtcdFloor
