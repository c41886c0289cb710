"""What runs inside Redis. Every decision about an election is one script: nothing comes between.

An election has these keys, in one slot of a cluster by their hash tag:

    {namespace:election}:leader         hash id, token, meta; expires with the lease
    {namespace:election}:fence          the last token; never expires
    {namespace:election}:queue          who waits, in the order of their coming
    {namespace:election}:retired:ID     an attempt that was given up unanswered; for a minute

and a channel for its observers, {namespace:election}:wake. Those who wait are told one by one, on
the channel of their client, {namespace:}:wake:CLIENT.

The queue decides nothing: it says whom to tell first. The leader key is taken by whoever asks while
it is free, so that nobody who is dead can keep the others out.

While a slot of a cluster moves, a script is carried out only if all of its keys are on one side
(else TRYAGAIN). So what keeps or ends a term has one key, or can do with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from leaderlock.backends.base import Attempt
from leaderlock.backends.layout import key_part
from leaderlock.backends.redis.servers import Request
from leaderlock.backends.redis.wire import Command


class Keys:
    """What the keys and the channel of an election are called."""

    def __init__(self, namespace: str, election: str, slot_of: Callable[[str], int]) -> None:
        self._stem = f"{{{key_part(namespace)}:{key_part(election)}}}"
        self.leader = f"{self._stem}:leader"
        self.fence = f"{self._stem}:fence"
        self.queue = f"{self._stem}:queue"
        self.channel = f"{self._stem}:wake"
        self.slot = slot_of(self.leader)

    def retired(self, attempt: Attempt) -> str:
        return f"{self._stem}:retired:{attempt.attempt_id}"


def client_channels(namespace: str) -> str:
    """What the channels of all clients begin with; no election has an empty name."""
    return f"{{{key_part(namespace)}:}}:wake:"


class Script:
    """Named by its digest; sent in full to a server that does not know it, as after a restart."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def request(
        self, slot: int, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Request:
        """To run it on keys of that slot."""
        rest = (len(keys), *keys, *arguments)
        return Request(slot, ("EVALSHA", self.digest, *rest), ("EVAL", self._text, *rest))

    def whole(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Command:
        """The command that works at every server."""
        return ("EVAL", self._text, len(keys), *keys, *arguments)


# KEYS leader, fence, retired, queue
# ARGV attempt, ttl in ms, payload, channel, ms of quarantine, replicas, CLIENT:ATTEMPT
# Answers {1, token, 0}: leads; {0, ms, place}: somebody else does, and so many are in front of it
# in the queue; {2, ms, place}: in quarantine.
# The queue is a sorted set with two entries for each who waits: one by when it came, and one, below
# zero, by when it is given up because it has not asked again. In a key of another type nobody has a
# place: they wait for their time alone.
# The start of the server is known to the whole second, so its age is taken for up to 1 s too high.
# It has last saved its data when it started, or later: if that is long ago, there is no need for
# INFO, which takes as long as all the rest.
# WAIT alone decides on the replicas, but what it does not confirm has been seen by then: with too
# few of them, nothing is written. A healthy one is heard of every second.
# PUBLISH comes before the first write: a script that may not publish has to change nothing.
CAMPAIGN = Script("""
local id = redis.call('HGET', KEYS[1], 'id')
if id == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, redis.call('HGET', KEYS[1], 'token'), 0}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {0, redis.call('PTTL', KEYS[3]), 0} end
local time, ttl = redis.call('TIME'), tonumber(ARGV[2])
local now = time[1] * 1000000 + time[2]
local function wait(status, ms)
  local entered = redis.pcall('ZADD', KEYS[4], 'NX', now, ARGV[7])
  if type(entered) == 'table' then
    return string.find(entered.err, 'WRONGTYPE') and {status, ms, 0} or entered
  end
  local given_up = now + (math.max(ms, ttl) + 2 * ttl + 1000) * 1000
  redis.call('ZADD', KEYS[4], -given_up, '-' .. ARGV[7])
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], -now, 0, 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[4], late, string.sub(late, 2))
  end
  local last = -redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
  redis.call('PEXPIRE', KEYS[4], math.ceil((last - now) / 1000))
  local place = redis.call('ZRANK', KEYS[4], ARGV[7]) - redis.call('ZCARD', KEYS[4]) / 2
  return {status, ms, place}
end
if id then return wait(0, redis.call('PTTL', KEYS[1])) end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('WRONGTYPE the hash is not of leaderlock')
end
local quarantine = tonumber(ARGV[5])
if quarantine > 0 then
  local saved = redis.pcall('LASTSAVE')
  local seconds = type(saved) == 'number' and time[1] - saved or 0
  if seconds * 1000 < quarantine then
    local info = redis.pcall('INFO', 'server')
    if type(info) ~= 'string' then
      return redis.error_reply('NOPERM the user may not run INFO, which tells of restarts: grant '
        .. 'it, or set quarantine=false')
    end
    seconds = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
  end
  local up = seconds * 1000 + math.floor(time[2] / 1000)
  if up < quarantine then return wait(2, quarantine - up) end
end
local wanted = tonumber(ARGV[6])
local replicas = wanted > 0 and redis.pcall('INFO', 'replication')
if type(replicas) == 'string' then
  local heard = 0
  for lag in string.gmatch(replicas, 'state=online,offset=%d+,lag=(%d+)') do
    if tonumber(lag) <= 2 then heard = heard + 1 end
  end
  if heard < wanted then
    return redis.error_reply('NOREPLICAS ' .. heard .. ' of wait_replicas=' .. wanted
      .. ' replicas are connected')
  end
end
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if not last or last ~= last or last > 9007199254740990 then
  return redis.error_reply('WRONGTYPE the fence is not a number below 2^53')
end
local token = string.format('%.0f', math.max(last + 1, now))
redis.call('PUBLISH', ARGV[4], 'elected')
redis.call('SET', KEYS[2], token)
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'token', token, 'meta', ARGV[3])
local expires = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(expires) == 'table' then -- an error; without expiry it would block the election for ever
  redis.call('DEL', KEYS[1])
  return expires
end
redis.pcall('ZREM', KEYS[4], ARGV[7], '-' .. ARGV[7])
return {1, token, 0}
""")

# KEYS leader...; ARGV ttl in ms, attempt...
# Answers a string of 1 or 0 for each. A key of another type is a lease that is gone, and no reason
# to fail the other renewals.
RENEW = Script("""
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = 0
  if redis.pcall('HGET', key, 'id') == ARGV[i + 1] then
    answer[i] = redis.call('PEXPIRE', key, ARGV[1])
  end
end
return table.concat(answer)
""")

# KEYS leader[, queue[, retired]]
# ARGV attempt, channel[, CLIENT:ATTEMPT, channels of the clients, 1 if it is one server[, ms]]
# Answers 1, or 0: somebody else leads.
# It tells those in front of the queue, each one how many have been told before it: these are left
# some time. One server knows who listens, and passes over the rest; a node of a cluster knows only
# its own. Also when the key had been deleted under us, or had run out.
RELEASE = Script("""
if KEYS[3] then redis.call('SET', KEYS[3], '', 'PX', ARGV[6]) end
local id = redis.pcall('HGET', KEYS[1], 'id')
local leads = not id or id == ARGV[1]
if leads then redis.call('PUBLISH', ARGV[2], 'free') end
if KEYS[2] then
  local told = 0
  local waiting = leads and redis.pcall('ZRANGEBYSCORE', KEYS[2], 0, '+inf', 'LIMIT', 0, 100) or {}
  for _, place in ipairs(waiting) do
    local client, attempt = string.match(place, '^(%w+):(.+)$')
    if attempt and attempt ~= ARGV[1] then
      local listen = redis.call('PUBLISH', ARGV[4] .. client, attempt .. ' ' .. told)
      if listen > 0 or ARGV[5] == '0' then told = told + 1 end
      if told == 3 then break end
    end
  end
  redis.pcall('ZREM', KEYS[2], ARGV[3], '-' .. ARGV[3])
end
if not leads then return 0 end
if id then redis.call('DEL', KEYS[1]) end
return 1
""")
