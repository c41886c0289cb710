"""What fences need to be installed, and what mypy makes of them in a program that is typed."""

from __future__ import annotations

import sqlite3
from typing import Any
from wsgiref.types import WSGIApplication

import psycopg
import pymysql
import redis
import sqlalchemy
import sqlalchemy.orm
from starlette.applications import Starlette

import leaderlock.fencing
from leaderlock import LeaderElector
from leaderlock.fencing import (
    ASGIFence,
    EtcdFence,
    Fence,
    FenceGate,
    RedisFence,
    SQLFence,
    WSGIFence,
)
from tests.elector.tools import python
from tests.unit.test_house_rules import CLIENTS


def test_no_fence_but_those_in_a_store_imports_a_client() -> None:
    done = python(
        "import sys\n"
        "from leaderlock import fencing\n"
        "for name in fencing.__all__:\n"
        "    if name not in ('EtcdFence', 'ZooKeeperFence', 'ConsulFence'):\n"
        "        getattr(fencing, name)\n"
        f"unwanted = {CLIENTS | {'sqlalchemy', 'psycopg', 'pymysql', 'starlette'}!r}\n"
        "print(sorted(unwanted & set(sys.modules)))\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_all_names_are_there() -> None:
    assert dir(leaderlock.fencing) == sorted(leaderlock.fencing.__all__)
    for name in leaderlock.fencing.__all__:
        assert getattr(leaderlock.fencing, name)
    assert not hasattr(leaderlock.fencing, "no_such_name")


# Not called: mypy reads them.


def connections(
    lite: sqlite3.Connection,
    postgres: psycopg.Connection[Any],
    mysql: pymysql.Connection[Any],
    connection: sqlalchemy.Connection,
    session: sqlalchemy.orm.Session,
) -> list[SQLFence]:
    taken = (lite, postgres, mysql, connection, session)
    return [SQLFence(one, "a") for one in taken]


def fences(
    client: redis.Redis, cluster: redis.RedisCluster, sql: SQLFence, elector: LeaderElector
) -> list[Fence]:
    lasting = RedisFence(client, "a")
    in_cluster = RedisFence(cluster, "a")
    return [FenceGate("a", store=lasting), lasting, in_cluster, sql, EtcdFence(elector)]


def applications(asgi: Starlette, wsgi: WSGIApplication, gate: FenceGate, sql: SQLFence) -> object:
    return ASGIFence(asgi, gate.hold), WSGIFence(wsgi, sql.hold)
