"""Which server to ask: a single Redis, the primary that sentinels name, or a node of a cluster.

redis-py's RedisCluster and Sentinel are not used: they look around and try again for longer than a
call may take, and send again what may have been carried out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import ResponseError

from leaderlock.backends.network import Host
from leaderlock.backends.redis.connection import (
    Line,
    as_ours,
    is_cut_off,
    is_readonly,
    is_unknown,
    new_line,
    redirection,
    show,
    translated,
)
from leaderlock.backends.redis.pool import Pool
from leaderlock.backends.redis.target import Kind, Target
from leaderlock.backends.redis.wire import Command
from leaderlock.errors import BackendRefused, BackendUnavailable

_MOST_REDIRECTIONS = 4


class Request(NamedTuple):
    """A command, and the slot of its keys.

    Attributes:
        in_full: for a server that does not know the script that the command names.
    """

    slot: int
    command: Command
    in_full: Command | None = None


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        value: the reply, or the error.
        replicas: how many of them have confirmed what was written.
    """

    value: Any
    replicas: int = 0

    def get(self) -> Any:
        """The reply.

        Raises:
            BackendUnavailable, BackendRefused: there is none, or it is an error.
        """
        if isinstance(self.value, BackendUnavailable | BackendRefused):
            raise self.value
        return self.value


class _Open(NamedTuple):
    """A request without an answer yet; `asked`: where an ASK has sent it, for this time only."""

    number: int
    request: Request
    asked: Host | None = None


class Servers:
    """Sends requests to the servers that have their keys, each call within its time.

    Safe to use from any thread.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._pool = Pool(self._target)
        self._places: dict[int, Host] = {}  # by slot, as far as it has been found out
        self._hosts = deque(self._target.hosts)  # the one to ask next comes first

    def close(self) -> None:
        self._pool.close()

    def abandon(self) -> None:
        """In a forked child: let go of every connection without a word on it."""
        pool = self._pool
        self._start_anew()
        pool.abandon()

    @property
    def is_cluster(self) -> bool:
        return self._target.kind is Kind.CLUSTER

    def slot_of(self, key: str) -> int:
        """Requests of the same slot may have their keys in one command."""
        return key_slot(key.encode()) if self.is_cluster else 0

    def ask(
        self, requests: Sequence[Request], wait_replicas: int = 0, within: float | None = None
    ) -> list[Answer]:
        """Send each request once, those for one server together, and collect the answers."""
        deadline = time.monotonic() + (self._timeout if within is None else within)
        answers = [Answer(None)] * len(requests)
        todo = [_Open(number, request) for number, request in enumerate(requests)]
        for _ in range(_MOST_REDIRECTIONS):
            groups: dict[tuple[Host, bool], list[_Open]] = {}
            for item in todo:
                host = item.asked or self._place_of(item.request.slot, deadline)
                groups.setdefault((host, item.asked is not None), []).append(item)
            todo = []
            for number, ((host, asking), group) in enumerate(groups.items()):
                # One server that is silent must not take the time of the others.
                now = time.monotonic()
                end = now + max(0.0, deadline - now) / (len(groups) - number)
                commands = [item.request.command for item in group]
                found = self._exchange(host, commands, end, wait_replicas, asking)
                for item, answer in zip(group, found, strict=True):
                    if not isinstance(answer.value, ResponseError):
                        answers[item.number] = answer
                    elif (again := self._again(item, answer.value, host)) is not None:
                        todo.append(again)
                    else:
                        answers[item.number] = Answer(self._refusal(answer.value, host))
            if not todo:
                return answers
        for item in todo:
            answers[item.number] = Answer(BackendUnavailable("the cluster is being rearranged"))
        return answers

    def open_any(self, deadline: float) -> Line:
        """A connection of the caller's own, to a server that every message is passed on to."""
        host = self._place_of(0, deadline)
        try:
            return self._pool.open(host, deadline)
        except BackendUnavailable:
            self._forget(host)
            raise

    def _exchange(
        self, host: Host, commands: list[Command], end: float, wait_replicas: int, asking: bool
    ) -> list[Answer]:
        sent: list[Command] = []
        for command in commands:
            sent += [("ASKING",), command] if asking else [command]
        if wait_replicas:  # for what is written before it on this connection, in time to hear of it
            sent.append(("WAIT", wait_replicas, max(1, int((end - time.monotonic()) * 500))))
        try:
            replies = self._pool.exchange(host, sent, end)
        except BackendUnavailable as error:
            self._forget(host)
            return [Answer(error)] * len(commands)
        except BackendRefused as error:
            return [Answer(error)] * len(commands)
        confirmed = replies.pop() if wait_replicas else 0
        replicas = confirmed if isinstance(confirmed, int) else 0
        return [Answer(reply, replicas) for reply in (replies[1::2] if asking else replies)]

    def _again(self, item: _Open, error: ResponseError, host: Host) -> _Open | None:
        """What to send to somebody else, or in full; it has not been carried out."""
        if self.is_cluster and (moved := redirection(error, host)) is not None:
            return self._redirected(item, *moved)
        slot, _, in_full = item.request
        if in_full is not None and is_unknown(error):
            return item._replace(request=Request(slot, in_full))
        return None

    def _refusal(self, error: ResponseError, host: Host) -> BackendUnavailable | BackendRefused:
        if is_readonly(error) or is_cut_off(error):
            self._forget(host)
        if self._target.kind is Kind.SINGLE and is_readonly(error):
            return BackendRefused(f"{show(host)} is a replica: name the primary")
        if redirection(error, host):
            return BackendRefused(f"{show(host)} is of a cluster: use redis+cluster://")
        return as_ours(error, host)

    # Where

    def _place_of(self, slot: int, deadline: float) -> Host:
        if self._pool.closed:
            raise BackendUnavailable("this backend has been closed")
        with self._lock:
            if (place := self._places.get(slot)) is not None:
                return place
            hosts = list(self._hosts)
        if self._target.kind is not Kind.SENTINEL:
            return hosts[0]  # a node of a cluster tells which one it is
        place = self._ask_sentinels(hosts, deadline)
        with self._lock:
            self._places[slot] = place
        return place

    def _redirected(self, item: _Open, how: str, host: Host) -> _Open:
        if how == "ASK":  # its slot is on the way there
            return item._replace(asked=host)
        with self._lock:
            self._places[item.request.slot] = host
            if host not in self._hosts:
                self._hosts.append(host)
        return item._replace(asked=None)

    def _forget(self, host: Host) -> None:
        """It does not answer, or is a primary no more: look for another one next time."""
        with self._lock:
            self._places = {slot: at for slot, at in self._places.items() if at != host}
            if self.is_cluster and self._hosts[0] == host:
                self._hosts.rotate(-1)
        self._pool.drop(host)

    def _ask_sentinels(self, sentinels: Sequence[Host], deadline: float) -> Host:
        failure: BackendUnavailable | None = None
        for number, sentinel in enumerate(sentinels):
            now = time.monotonic()
            # The last share is for the primary itself.
            end = now + max(0.0, deadline - now) / (len(sentinels) - number + 1)
            try:
                reply = self._ask_sentinel(sentinel, end)
            except BackendUnavailable as error:
                failure = error
                continue
            if isinstance(reply, ResponseError):
                raise as_ours(reply, sentinel)
            if reply:
                with self._lock:
                    self._hosts.remove(sentinel)
                    self._hosts.appendleft(sentinel)
                return reply[0].decode(), int(reply[1])
        if failure is not None:
            raise failure
        raise BackendRefused(f"no sentinel knows a Redis named {self._target.service!r}")

    def _ask_sentinel(self, sentinel: Host, end: float) -> Any:
        arguments = dict(self._target.sentinel_arguments)
        line = new_line(self._target.sentinel_class, sentinel, arguments)
        try:
            with translated(sentinel):
                line.until(end)
                line.connect()
                command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
                return line.exchange([command])[0]
        finally:
            line.disconnect()
