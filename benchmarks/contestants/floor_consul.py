"""Consul, raw: what no lock can do without, over one connection of HTTP.

floor           one PUT ?acquire with a session that exists already, one PUT ?release. Whoever
                waits has a blocking query open on the key, and sends one PUT when it answers.
correct floor   after the acquire one GET ?consistent of the key: it answers by the ModifyIndex, the
                token, which the acquire does not tell. Without it there is no fencing.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from benchmarks.contestants.contestant import Contestant, Lock


class RawLock(Lock):
    def __init__(self, contestant: ConsulFloor, name: str) -> None:
        self._consul = contestant
        self._path = f"/v1/kv/{name}"

    def acquire(self) -> None:
        index = 0
        while not self._consul.call("PUT", f"{self._path}?acquire={self._consul.session}")[0]:
            index = self._wait(index)
        if self._consul.reads_token:
            self._consul.call("GET", f"{self._path}?consistent")

    def release(self) -> None:
        self._consul.call("PUT", f"{self._path}?release={self._consul.session}")

    def _wait(self, index: int) -> int:
        while True:
            (entries, index) = self._consul.call("GET", f"{self._path}?index={index}&wait=60s")
            if not entries or "Session" not in entries[0]:
                return index


class ConsulFloor(Contestant):
    reads_token = False

    def connect(self) -> None:
        self._http = http.client.HTTPConnection(self.host, self.port)
        answer, _ = self.call("PUT", "/v1/session/create", {"TTL": "3600s", "LockDelay": "0s"})
        self.session = answer["ID"]

    def call(self, method: str, path: str, body: object = None) -> tuple[Any, int]:
        self._http.request(method, path, None if body is None else json.dumps(body))
        answer = self._http.getresponse()
        text = answer.read()
        found = json.loads(text) if text and answer.status == 200 else None
        return found, int(answer.headers.get("X-Consul-Index", 0))

    def lock(self, name: str) -> Lock:
        return RawLock(self, name)


class CorrectConsulFloor(ConsulFloor):
    reads_token = True


make = ConsulFloor
make_correct = CorrectConsulFloor
