"""What the shared gate runs in Redis: three scripts, each all or nothing.

All keys of a demand have one hash tag, its root (the installation), so that they lie in one slot:

    ph:{root}:epoch         a word that is gone when Redis has forgotten everything
    ph:{root}:s:SUBJECT     hash: rm rh tm im, when the bucket of requests per minute and hour, of tokens and of images
                            per minute is empty again (microseconds of Redis's clock)
    ph:{root}:d:SUBJECT:DAY hash: r t i, requests, tokens and images of a day
    ph:{root}:p:SUBJECT     sorted set: requests that have a place, by when the place is given up
    ph:{root}:b:PURSE       hash: n, what a budget's period has committed in nano-units: spent and held
    ph:{root}:h:PURSE       hash: open holds, each "amount:when it is overdue" (milliseconds)
    ph:{root}:t:PURSE       hash: ends that came while the purse was not loaded, with their charges

Lua's numbers are doubles: whole up to 2^53, which is 9 million units of a currency in nano-units. What is larger is
summed by Redis itself, exactly; only a comparison can be off, by the last of its 16 digits.

A bucket is kept as the moment at which it is empty (GCRA). Tokens that were charged ahead and not used are given back
less what leaked since the charge: had they never been charged, the bucket would stand at that or lower. So a refund can
give back too little, and never too much.
"""

from typing import Final

from posthouse.storage.redis import Script

TAKEN: Final = 0
REFUSED: Final = 1
UNKNOWN_PURSE: Final = 2
NOT_COVERED: Final = 3
OTHER_EPOCH: Final = 4

MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE

_COMMON: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number) return string.format('%.0f', number) end
local function keep(key, microseconds)
  local wanted = math.ceil(microseconds / 1000) + 1000
  if redis.call('PTTL', key) < wanted then redis.call('PEXPIRE', key, whole(wanted)) end
end
"""

# KEYS: epoch; of each subject s, d, p; of each purse b, h.
# ARGV: epoch, request, tokens, images, subjects, purses, milliseconds that a place is kept, milliseconds until a hold
# is       overdue; of each subject rpm rph rpd tpm tpd ipm ipd concurrency (-1: none) and milliseconds to the day's
# end;       of each purse limit, amount, least (-1: all of it), milliseconds that it is kept. Returns {TAKEN, now, six
# of the standing, the amount}, {REFUSED, now, six of the standing, subject, dimension, span, limit,       wanted,
# microseconds}, {UNKNOWN_PURSE, now, purse...}, {NOT_COVERED, now, purse, left}, {OTHER_EPOCH, now, epoch}.
TAKE: Final = Script(
    _COMMON
    + """
local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {4, now, epoch or ''} end
local request, tokens, images = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local subjects, purses = tonumber(ARGV[5]), tonumber(ARGV[6])
local place, overdue = tonumber(ARGV[7]), tonumber(ARGV[8])
local minute, hour = 60000000, 3600000000

-- The purses: what is not known here must be loaded first.
local unknown, known = {2, now}, {}
local key, argument = 1 + 3 * subjects, 8 + 9 * subjects
for index = 1, purses do
  known[index] = redis.call('HGET', KEYS[key + 2 * index - 1], 'n')
  if not known[index] then unknown[#unknown + 1] = index - 1 end
end
if #unknown > 2 then return unknown end

-- The limits: all are looked at, since the answer's head tells of the tightest.
local buckets, tallies, worst = {}, {}, nil
local tightest = {-1, -1, -1, -1, -1, -1}
local function stands(kind, limit, left, reset)
  local at = kind == 1 and 1 or 4
  if kind ~= 3 and (tightest[at] < 0 or left < tightest[at + 1]) then
    tightest[at], tightest[at + 1], tightest[at + 2] = limit, math.max(left, 0), math.max(reset, 0)
  end
end
local function refuse(subject, kind, span, limit, wanted, wait)
  if not worst or (wait < 0 and worst[6] >= 0) or (worst[6] >= 0 and wait > worst[6]) then
    worst = {subject, kind, span, limit, wanted, wait}
  end
end
for index = 1, subjects do
  local state, day = KEYS[3 * index - 1], KEYS[3 * index]
  local at = 8 + 9 * (index - 1)
  local function bucket(field, kind, span, limit, amount, window)
    if limit < 0 or (kind == 3 and amount == 0) then return end
    local empty = math.max(tonumber(redis.call('HGET', state, field) or 0), now)
    local cost = limit > 0 and amount * window / limit or window + 1
    if cost > window then
      refuse(index - 1, kind, span, limit, amount, -1)
    elseif empty + cost - window > now then
      refuse(index - 1, kind, span, limit, amount, math.ceil(empty + cost - window - now))
    end
    stands(kind, limit, math.floor((now + window - empty - cost) * limit / window), empty + cost - now)
    buckets[#buckets + 1] = {state, field, empty + cost, window}
  end
  local function tally(field, kind, limit, amount)
    if limit < 0 or (kind == 3 and amount == 0) then return end
    local used, left = tonumber(redis.call('HGET', day, field) or 0), tonumber(ARGV[at + 9]) * 1000
    if amount > 0 and used + amount > limit then
      refuse(index - 1, kind, 2, limit, amount, amount > limit and -1 or left)
    end
    stands(kind, limit, limit - used - amount, left)
    tallies[#tallies + 1] = {day, field, amount, left}
  end
  bucket('rm', 1, 0, tonumber(ARGV[at + 1]), 1, minute)
  bucket('rh', 1, 1, tonumber(ARGV[at + 2]), 1, hour)
  tally('r', 1, tonumber(ARGV[at + 3]), 1)
  bucket('tm', 2, 0, tonumber(ARGV[at + 4]), tokens, minute)
  tally('t', 2, tonumber(ARGV[at + 5]), tokens)
  bucket('im', 3, 0, tonumber(ARGV[at + 6]), images, minute)
  tally('i', 3, tonumber(ARGV[at + 7]), images)
  local places = tonumber(ARGV[at + 8])
  if places >= 0 then
    local key = KEYS[3 * index + 1]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now / 1000))
    if redis.call('ZCARD', key) >= places then
      refuse(index - 1, 4, 0, places, 1, places == 0 and -1 or 1000000)
    end
  end
end
if worst then
  return {1, now, tightest[1], tightest[2], tightest[3], tightest[4], tightest[5], tightest[6], unpack(worst)}
end

-- The budgets: the least of what they cover is what all of them hold.
local granted = -1
for index = 1, purses do
  local at = argument + 4 * (index - 1)
  local limit, amount, least = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local left = limit - tonumber(known[index])
  if amount > left then
    if least < 0 or left <= 0 or least > left then return {3, now, index - 1, whole(left)} end
    amount = left
  end
  if granted < 0 or amount < granted then granted = amount end
end

-- From here on it is taken.
for _, one in ipairs(buckets) do
  redis.call('HSET', one[1], one[2], whole(one[3]))
  keep(one[1], one[3] - now)
end
for _, one in ipairs(tallies) do
  redis.call('HINCRBY', one[1], one[2], whole(one[3]))
  keep(one[1], one[4] + hour)
end
for index = 1, subjects do
  if tonumber(ARGV[8 + 9 * (index - 1) + 8]) >= 0 then
    redis.call('ZADD', KEYS[3 * index + 1], whole(now / 1000 + place), request)
    keep(KEYS[3 * index + 1], place * 1000)
  end
end
for index = 1, purses do
  local purse, holds = KEYS[key + 2 * index - 1], KEYS[key + 2 * index]
  local kept = tonumber(ARGV[argument + 4 * index])
  redis.call('HINCRBY', purse, 'n', whole(granted))
  redis.call('HSET', holds, request, whole(granted) .. ':' .. whole(now / 1000 + overdue))
  keep(purse, kept * 1000)
  keep(holds, kept * 1000)
end
return {0, now, tightest[1], tightest[2], tightest[3], tightest[4], tightest[5], tightest[6], whole(granted)}
"""
)

# KEYS: of each subject s, d, p; of each purse b, h, t.
# ARGV: request, when it was taken (microseconds), tokens too many, images too many, charge, subjects, purses,
# milliseconds       that the end of an unloaded purse's hold is remembered; of each subject tpm tpd ipm ipd (-1: none).
# Returns how many of the purses knew the hold.
END: Final = Script(
    _COMMON
    + """
local request, since = ARGV[1], tonumber(ARGV[2])
local tokens, images, charge = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local subjects, purses = tonumber(ARGV[6]), tonumber(ARGV[7])
local minute = 60000000
for index = 1, subjects do
  local state, day, at = KEYS[3 * index - 2], KEYS[3 * index - 1], 8 + 4 * (index - 1)
  local function bucket(field, limit, excess)
    if limit <= 0 or excess == 0 then return end
    local empty = tonumber(redis.call('HGET', state, field) or 0)
    local cost = excess * minute / limit
    if cost > 0 then
      cost = cost - (now - since)
      if cost <= 0 or empty <= now then return end
      empty = empty - cost
    else
      empty = math.max(empty, now) - cost
    end
    redis.call('HSET', state, field, whole(empty))
    keep(state, math.max(empty - now, 0))
  end
  local function tally(field, limit, excess)
    if limit < 0 or excess == 0 then return end
    -- What is forgotten cannot be given back; but who asked for nothing may have used something.
    if excess > 0 and redis.call('EXISTS', day) == 0 then return end
    redis.call('HINCRBY', day, field, whole(-excess))
    if redis.call('PTTL', day) < 0 then keep(day, 26 * 60 * minute) end
  end
  bucket('tm', tonumber(ARGV[at + 1]), tokens)
  tally('t', tonumber(ARGV[at + 2]), tokens)
  bucket('im', tonumber(ARGV[at + 3]), images)
  tally('i', tonumber(ARGV[at + 4]), images)
  redis.call('ZREM', KEYS[3 * index], request)
end
local found = 0
for index = 1, purses do
  local at = 3 * subjects + 3 * index
  local purse, holds, ended = KEYS[at - 2], KEYS[at - 1], KEYS[at]
  local held = redis.call('HGET', holds, request)
  if held then
    redis.call('HDEL', holds, request)
    redis.call('HINCRBY', purse, 'n', '-' .. string.match(held, '^%d+'))
    redis.call('HINCRBY', purse, 'n', charge)
    found = found + 1
  elseif redis.call('HEXISTS', purse, 'n') == 0 then
    redis.call('HSET', ended, request, charge)
    redis.call('PEXPIRE', ended, ARGV[8])
  end
end
return found
"""
)

# KEYS: epoch, b, h, t. ARGV: epoch, nano-units spent, milliseconds that the purse is kept, milliseconds until a hold is
#       overdue, then of each open hold its request and amount.
# Returns 1 where the purse was not known, 0 where it was (then nothing is changed), -1 in another epoch.
LOAD: Final = Script(
    _COMMON
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local purse, holds, ended = KEYS[2], KEYS[3], KEYS[4]
if redis.call('HEXISTS', purse, 'n') == 1 then return 0 end
redis.call('HSET', purse, 'n', ARGV[2])
for index = 5, #ARGV, 2 do
  local request, amount = ARGV[index], ARGV[index + 1]
  local charge = redis.call('HGET', ended, request)
  redis.call('HINCRBY', purse, 'n', charge or amount)
  if not charge then
    redis.call('HSET', holds, request, amount .. ':' .. whole(now / 1000 + tonumber(ARGV[4])))
  end
end
redis.call('PEXPIRE', purse, ARGV[3])
if redis.call('EXISTS', holds) == 1 then redis.call('PEXPIRE', holds, ARGV[3]) end
return 1
"""
)

# KEYS: h. ARGV: milliseconds until a hold is overdue, then requests.
# Returns those that are not held here.
RENEW: Final = Script(
    _COMMON
    + """
local gone = {}
for index = 2, #ARGV do
  local held = redis.call('HGET', KEYS[1], ARGV[index])
  if held then
    local due = whole(now / 1000 + tonumber(ARGV[1]))
    redis.call('HSET', KEYS[1], ARGV[index], string.match(held, '^%d+') .. ':' .. due)
  else
    gone[#gone + 1] = ARGV[index]
  end
end
return gone
"""
)

# KEYS: b, h. ARGV: request, amount, milliseconds until the hold is overdue.
# A hold that was taken while Redis was away. Returns 1 where it is held now; a purse that is not loaded will load it.
ADOPT: Final = Script(
    _COMMON
    + """
if redis.call('HEXISTS', KEYS[1], 'n') == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2] .. ':' .. whole(now / 1000 + tonumber(ARGV[3]))) == 1 then
  redis.call('HINCRBY', KEYS[1], 'n', ARGV[2])
end
return 1
"""
)

# KEYS: epoch. ARGV: a word of its own.
# Returns the epoch, and 1 where it begins now: the word and the moment (seconds of Redis's clock), in one step, so that
# nothing was taken in a former epoch after it.
MEET: Final = Script(
    """
local found = redis.call('GET', KEYS[1])
if found then return {found, 0} end
local time = redis.call('TIME')
local epoch = ARGV[1] .. ':' .. time[1] .. '.' .. string.format('%06d', tonumber(time[2]))
redis.call('SET', KEYS[1], epoch)
return {epoch, 1}
"""
)
