"""A fence in Redis or Valkey: one hash, compared and written in one script with what it guards.

    fence = RedisFence(client, "billing")
    fence.advance(leadership.token)
    fence.write(leadership.token, ("SET", fence.key("balance"), "12"), ("INCR", fence.key("runs")))

Tokens are compared as texts: their width is fixed, so that text order is token order, and a number
above 2**53 would lose its last digits in Lua.

What it does not promise:

* More durability than the server has. Without `appendfsync always` a crash, and with any setting a
  fail-over to a replica, may lose the last writes: the fence, with the data beside it, may stand
  lower afterwards. So may a fence that was evicted: `maxmemory-policy` has to be `noeviction` or
  one of `volatile-*` (it has no ttl).
* All or nothing. A command that fails in the middle of `write` leaves those before it done.
* That a command is carried out once: a client that repeats requests (redis-py does, see its option
  `retry`) repeats the whole write, with its check.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from leaderlock.errors import ConfigurationError
from leaderlock.fencing.gate import judge, require_resource, require_token
from leaderlock.tokens import FencingToken

_PREFIX = "leaderlock:fence:"

# KEYS: the fence, then a key for every command that names one. ARGV: the token, its source, the
# number of commands, and for each the number of its words and the words. Returns what stood there
# before, as long as nothing was written; then 1, and the answers.
_SCRIPT = """
local seen = redis.call('HMGET', KEYS[1], 'token', 'source')
local token, source = ARGV[1], ARGV[2]
if seen[1] then
    local same_epoch = string.sub(seen[1], 1, 10) == string.sub(token, 1, 10)
    local foreign = seen[2] and seen[2] ~= '' and source ~= '' and seen[2] ~= source
    if #seen[1] ~= #token or token < seen[1] or (same_epoch and foreign) then
        return {0, seen[1], seen[2] or ''}
    end
    if same_epoch and source == '' then source = seen[2] or '' end
end
if seen[1] ~= token or seen[2] ~= source then
    redis.call('HSET', KEYS[1], 'token', token, 'source', source)
end
local answers, at = {1}, 4
for number = 1, tonumber(ARGV[3]) do
    local words, last = {}, at + tonumber(ARGV[at])
    for place = at + 1, last do words[#words + 1] = ARGV[place] end
    answers[number + 1] = redis.call(unpack(words))
    at = last + 1
end
return answers
"""

Word = str | bytes | int | float
"""What a command is made of."""


class RedisClient(Protocol):
    """What a fence needs of a client: `redis.Redis`, `redis.RedisCluster`, or one like them."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script: the command EVAL."""

    def hmget(self, name: str, keys: list[str], /) -> Any:
        """Read fields of a hash: the command HMGET."""


class RedisFence:
    """The fence of one resource, for any number of threads if the client is.

    All keys of one `write` have to be in the fence's slot of a Redis Cluster: `key` makes such.

    Args:
        client: a client of redis-py; with or without `decode_responses`. It is never closed.
        resource: the name of what is fenced: give every election a resource of its own.

    Raises:
        ConfigurationError: the client is one for asyncio, or the name cannot be used.
    """

    def __init__(self, client: RedisClient, resource: str) -> None:
        if not hasattr(client, "eval") or not hasattr(client, "hmget"):
            raise ConfigurationError(f"not a client of redis-py: {type(client).__qualname__}")
        if "asyncio" in type(client).__module__ or inspect.iscoroutinefunction(client.eval):
            raise ConfigurationError(
                "a client for asyncio: give the fence a plain one, and call it in a thread "
                "(asyncio.to_thread)"
            )
        self._client = client
        self._resource = require_resource(resource)
        if "}" in resource or "{" in resource:
            raise ConfigurationError(
                f"resource={resource!r}: without braces, which say where a key is in a cluster"
            )

    @property
    def resource(self) -> str:
        """The name of what is fenced."""
        return self._resource

    def key(self, name: str) -> str:
        """The name of a key that is in one slot of a Redis Cluster with the fence."""
        return f"{{{self._resource}}}:{name}"

    def highest(self) -> FencingToken | None:
        """The highest token that the resource has seen; None: none yet."""
        token, source = self._client.hmget(self._fence, ["token", "source"])
        return None if token is None else _token_of(token, source)

    def advance(self, token: FencingToken) -> None:
        """Raise the fence to a term's token, before the term reads what it will act on.

        Raises:
            StaleToken, TokenRegression: the token is refused.
        """
        self.write(token)

    def check(self, token: FencingToken) -> None:
        """Compare a token with the highest one, and raise the fence if this one is higher.

        For a write that is not in this Redis, or that comes after it, this proves nothing: a
        higher token can arrive in between. Use `write`.

        Raises:
            StaleToken, TokenRegression: the token is refused.
        """
        self.write(token)

    def write(self, token: FencingToken, *commands: Sequence[Word]) -> list[Any]:
        """Check, and carry out commands, as one step of the server.

        Args:
            token: of the term.
            commands: each the words of one command whose first argument is its only key:
                ``("HSET", fence.key("invoice:7"), "state", "paid")``.

        Returns:
            The answers, as Lua has them: a status is a text, a missing value None.

        Raises:
            StaleToken, TokenRegression: the token is refused, and nothing was written.
        """
        token = require_token(token)
        keys: list[str | bytes] = [self._fence]
        words: list[Word] = []
        for command in commands:
            if isinstance(command, str | bytes) or len(command) < 2:
                raise ConfigurationError(
                    f"not a command with a key: {command!r}; write ('SET', key, value)"
                )
            key = command[1]
            keys.append(key if isinstance(key, str | bytes) else str(key))
            words += [len(command), *command]
        answers = self._client.eval(
            _SCRIPT, len(keys), *keys, str(token), token.source, len(commands), *words
        )
        if not answers[0]:
            judge(token, _token_of(answers[1], answers[2]), self._resource)
            raise AssertionError(f"the script and the rule differ on {token} after {answers!r}")
        return list(answers[1:])

    @property
    def _fence(self) -> str:
        return f"{_PREFIX}{{{self._resource}}}"

    def __repr__(self) -> str:
        return f"<RedisFence {self._resource!r}>"


def _token_of(token: Any, source: Any) -> FencingToken:
    seen = FencingToken.parse(_text(token))
    return FencingToken(seen.epoch, seen.value, _text(source or ""))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
