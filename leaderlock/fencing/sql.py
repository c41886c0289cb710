"""A fence in a SQL database: one row, locked in the very transaction that writes.

    fence = SQLFence(connection, "billing")
    fence.advance(leadership.token)                       # first of all in a term
    with fence.transaction(leadership.token) as cursor:   # check, write, commit
        cursor.execute("INSERT INTO charge ...")

A check locks the fence's row until the transaction ends. So whoever brings a higher token waits for
every transaction that has passed the check, and then sees what it wrote; and a transaction that
checks later is refused. No isolation level is needed for that: at REPEATABLE READ and SERIALIZABLE
PostgreSQL may abort one of the two instead (SQLSTATE 40001), as it may any transaction.

The row is read under a lock, compared here by the one rule of all fences (`gate.judge`), and
written only if it rises. A conditional upsert would do it in one statement, but write a new
version of the row for every check, state the rule once more in every dialect (MySQL's upsert has
no WHERE), and still have to read the row to say why it refuses.

What it does not promise:

* That a new leader gets in while a transaction under a lower token stands still, of a paused
  process for example. Let the database end those: idle_in_transaction_session_timeout (PostgreSQL),
  idle_transaction_timeout (MariaDB), wait_timeout (MySQL).
* That what the database has committed survives: that is its own durability. A fence that
  was restored from a backup, or lost in a fail-over to a replica, stands lower, together with
  the data it guards if that is in the same database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from leaderlock.errors import ConfigurationError, LeaderLockError
from leaderlock.fencing.dialects import TABLE, Statements
from leaderlock.fencing.gate import (
    LONGEST_NAME,
    is_same,
    judge,
    require_resource,
    require_token,
)
from leaderlock.fencing.links import SQLConnection, link_to
from leaderlock.tokens import FencingToken

_TRIES = 3


class SQLFence:
    """The fence of one resource, over a connection of yours. It is cheap: make one where you write.

    Exceptions of the driver go through as they are: the transaction is yours, and so is what to
    do about a deadlock or a lost connection. Not for several threads at once, as connections are
    not.

    Args:
        connection: a DB-API connection (psycopg, psycopg2, pymysql, sqlite3, ...), or a Connection
            or Session of SQLAlchemy 2. It is never closed.
        resource: the name of what is fenced: give every election a resource of its own.
        dialect: "postgresql", "mysql", "mariadb" or "sqlite"; default: as the driver tells.
        paramstyle: as in PEP 249; default: that of the driver.
        table: where the fence stands; with a schema before it if need be. See `create_table`.

    Raises:
        ConfigurationError: one of them cannot be used. Nothing has been asked of the database yet.
    """

    def __init__(
        self,
        connection: SQLConnection,
        resource: str,
        *,
        dialect: str | None = None,
        paramstyle: str | None = None,
        table: str = TABLE,
    ) -> None:
        self._resource = require_resource(resource)
        self._connection = connection
        self._link = link_to(connection, dialect, paramstyle)
        self._statements = Statements(self._link.dialect, self._link.paramstyle, table)

    @property
    def resource(self) -> str:
        """The name of what is fenced."""
        return self._resource

    def create_table(self) -> None:
        """Make the table unless it is there, and commit. See `ddl` for a migration of yours.

        Raises:
            ConfigurationError: a transaction is open, which this would commit.
        """
        self._require_idle("create_table()")
        with self._own_transaction():
            self._link.run(self._statements.create)

    def highest(self) -> FencingToken | None:
        """The highest token that the resource has seen; None: none yet. In your transaction."""
        row = self._link.run(*self._statements.read({"resource": self._resource}))
        return None if row is None else _token_of(row)

    def advance(self, token: FencingToken) -> None:
        """Raise the fence to a term's token, and commit: before the term reads what it will act on.

        Waits for transactions that have passed a check under a lower token. Begin the reading
        in a new transaction, after this.

        Raises:
            StaleToken, TokenRegression: the token is refused.
            ConfigurationError: a transaction is open, which this would commit.
        """
        self._require_idle("advance()")
        with self._own_transaction() as is_explicit:
            self._enter(token, is_explicit)

    def check(self, token: FencingToken) -> None:
        """Let a transaction go on that may commit under this token. Best its first statement.

        The fence's row stays locked until you commit or roll back; nobody can be let in under a
        higher token meanwhile. A higher token than before also raises the fence, if you commit.

        Raises:
            StaleToken, TokenRegression: the token is refused: roll back.
            ConfigurationError: the connection commits every statement by itself (autocommit), so
                that the check would not last until the write. Begin a transaction, or use
                `transaction`, which does.
        """
        if not self._take(token):
            raise ConfigurationError(
                "this connection commits every statement by itself (autocommit): the check would "
                "be over before the write. Begin a transaction first, or use fence.transaction()"
            )

    @contextmanager
    def transaction(self, token: FencingToken) -> Iterator[Any]:
        """Check, run the block, commit; roll back if it raises. Works in autocommit mode too.

        Do not commit within the block: what comes after it would not be fenced any more.

        Yields:
            A cursor of the connection; or, if that is SQLAlchemy's, the connection or session.

        Raises:
            StaleToken, TokenRegression: the token is refused, and the block was not run.
            ConfigurationError: a transaction is open already: use `check` in that.
        """
        self._require_idle("transaction()")
        with self._own_transaction() as is_explicit:
            self._enter(token, is_explicit)
            cursor = getattr(self._connection, "cursor", None)
            if cursor is None:
                yield self._connection
                return
            opened = cursor()
            try:
                yield opened
            finally:
                opened.close()

    @contextmanager
    def hold(self, token: FencingToken) -> Iterator[FencingToken]:
        """Keep everybody else out for the length of a block that writes somewhere else.

        For a resource that cannot compare tokens itself, in any number of processes: `FenceGate`
        does so in one. The fence is raised and committed first, and its row stays locked: one
        block runs at a time, also of those under the same token.

        What it does not promise: that the block has ended when the lock does, if the connection is
        lost within it.

        Raises:
            StaleToken, TokenRegression: the token is refused, and the block was not run.
            ConfigurationError: a transaction is open.
        """
        self.advance(token)  # apart: what the block does is not undone if it raises
        with self._own_transaction() as is_explicit:
            self._enter(token, is_explicit)
            yield token

    def _require_idle(self, what: str) -> None:
        if self._link.has_begun():
            raise ConfigurationError(
                f"{what} commits, and this connection has a transaction open, which may have "
                "written something: commit it or roll it back first"
            )

    @contextmanager
    def _own_transaction(self) -> Iterator[list[bool]]:
        """Yields a list to which is added whether BEGIN had to be said."""
        explicit: list[bool] = []
        try:
            yield explicit
            if any(explicit):
                self._link.run("COMMIT")
            self._link.commit()
        except BaseException:
            # The first failure is what counts; the second is mostly that the connection is lost.
            with suppress(Exception):
                if any(explicit):
                    self._link.run("ROLLBACK")
            with suppress(Exception):
                self._link.rollback()
            raise

    def _enter(self, token: FencingToken, explicit: list[bool]) -> None:
        """Check within a transaction of our own, begun by hand where the driver begins none."""
        if not self._take(token):
            self._link.run(self._statements.begin)
            explicit.append(True)
            if not self._take(token):
                raise ConfigurationError("this connection keeps no transaction open")

    def _take(self, token: FencingToken) -> bool:
        """Lock the row, compare, raise it. False: the lock did not last, nothing was compared."""
        values = self._values(require_token(token))
        row = None
        if not self._statements.locks_first:
            row = self._link.run(*self._statements.lock(values))
        for _ in range(_TRIES):  # somebody may delete it by hand in between
            if row is not None:
                break
            self._link.run(*self._statements.ensure(values))
            row = self._link.run(*self._statements.lock(values))
        if not self._link.lasts():
            return False
        if row is None:
            raise LeaderLockError(f"the fence of {self._resource!r} was written, and is not there")
        highest = _token_of(row)
        risen = judge(token, highest, self._resource)
        if not is_same(risen, highest):
            self._link.run(*self._statements.raise_to(self._values(risen)))
        return True

    def _values(self, token: FencingToken) -> dict[str, Any]:
        if len(token.source) > LONGEST_NAME:  # which MySQL might cut off without a word
            raise ConfigurationError(f"the source of a token is longer than {LONGEST_NAME}")
        return {
            "resource": self._resource,
            "epoch": token.epoch,
            "token": token.value,
            "source": token.source,
        }

    def __repr__(self) -> str:
        return f"<SQLFence {self._resource!r} in {self._link.dialect}>"


def _token_of(row: Any) -> FencingToken:
    epoch, value, source = row
    return FencingToken(int(epoch), int(value), source)
