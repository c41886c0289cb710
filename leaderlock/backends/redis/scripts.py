"""What runs inside Redis. Every decision about an election is one script: nothing comes between.

An election has these keys, in one slot of a cluster by their hash tag:

    {namespace:election}:leader         hash id, token, meta; expires with the lease
    {namespace:election}:fence          the last token; never expires
    {namespace:election}:retired:ID     an attempt that was given up unanswered; for a minute

and a channel, {namespace:election}:wake, where 'free' wakes everybody and any other word observers
only. The scripts are sent by EVAL: they are short, and EVALSHA or FUNCTION would have to be
repeated after a restart or fail-over.

While a slot of a cluster moves, a script is carried out only if all of its keys are on one side
(else TRYAGAIN). So what keeps or ends a term has one key.
"""

from __future__ import annotations

from collections.abc import Callable

from leaderlock.backends.base import Attempt
from leaderlock.backends.layout import key_part


class Keys:
    """What the keys and the channel of an election are called."""

    def __init__(self, namespace: str, election: str, slot_of: Callable[[str], int]) -> None:
        self._stem = f"{{{key_part(namespace)}:{key_part(election)}}}"
        self.leader = f"{self._stem}:leader"
        self.fence = f"{self._stem}:fence"
        self.channel = f"{self._stem}:wake"
        self.slot = slot_of(self.leader)

    def retired(self, attempt: Attempt) -> str:
        return f"{self._stem}:retired:{attempt.attempt_id}"


# KEYS leader, fence, retired; ARGV attempt, ttl in ms, payload, channel, ms of quarantine, replicas
# Answers {1, token}: leads; {0, ms}: somebody else does; {2, ms}: in quarantine.
# The start of the server is known to the whole second, so its age is taken for up to 1 s too high.
# WAIT alone decides on the replicas, but what it does not confirm has been seen by then: with too
# few of them, nothing is written. A healthy one is heard of every second.
# PUBLISH comes before the first write: a script that may not publish has to change nothing.
CAMPAIGN = """
local id = redis.call('HGET', KEYS[1], 'id')
if id == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, redis.call('HGET', KEYS[1], 'token')}
end
if id then return {0, redis.call('PTTL', KEYS[1])} end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('WRONGTYPE the hash is not of leaderlock')
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {0, redis.call('PTTL', KEYS[3])} end
local quarantine = tonumber(ARGV[5])
if quarantine > 0 then
  local info = redis.pcall('INFO', 'server')
  if type(info) ~= 'string' then
    return redis.error_reply('NOPERM the user may not run INFO, which tells of restarts: grant it, '
      .. 'or set quarantine=false')
  end
  local seconds = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
  local up = seconds * 1000 + math.floor(redis.call('TIME')[2] / 1000)
  if up < quarantine then return {2, quarantine - up} end
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
local time = redis.call('TIME')
local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[4], 'elected')
redis.call('SET', KEYS[2], token)
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'token', token, 'meta', ARGV[3])
local expires = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(expires) == 'table' then -- an error; without expiry it would block the election for ever
  redis.call('DEL', KEYS[1])
  return expires
end
return {1, token}
"""

# KEYS leader...; ARGV ttl in ms, attempt...
# Answers 1 or 0 for each. A key of another type is a lease that is gone, and no reason to fail the
# other renewals.
RENEW = """
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = 0
  if redis.pcall('HGET', key, 'id') == ARGV[i + 1] then
    answer[i] = redis.call('PEXPIRE', key, ARGV[1])
  end
end
return answer
"""

# KEYS leader[, retired]; ARGV attempt, channel[, ms of retirement]
# Wakes the others also when the key had been deleted under us, or had run out.
RELEASE = """
if KEYS[2] then redis.call('SET', KEYS[2], '', 'PX', ARGV[3]) end
local id = redis.pcall('HGET', KEYS[1], 'id')
if id and id ~= ARGV[1] then return 0 end
redis.call('PUBLISH', ARGV[2], 'free')
if id then redis.call('DEL', KEYS[1]) end
return 1
"""
