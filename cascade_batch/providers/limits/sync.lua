-- One exchange between a worker and the others of its tier: what the worker asks and tells goes in,
-- what it is granted and told comes out, in one step that nothing can interleave.
--
-- KEYS: requests bucket, tokens bucket, workers, pause, breaker (all of one tier)
-- ARGV: the demand as JSON (see shared.py, which writes it)
-- Returns the grant as JSON. Times are microseconds of this server's clock, so that the clocks of
-- the workers' hosts don't matter; units of buckets are requests or tokens.

local REQUESTS, TOKENS, WORKERS, PAUSE, BREAKER = unpack(KEYS)
local ask = cjson.decode(ARGV[1])
local S = 1000000

local now = ask.now_us
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * S + time[2]
end

-- What this script writes lies no further ahead than this. What does was written before the clock was set
-- back: it counts as written now, so that nobody waits for the time that comes a second time.
local function no_later_than(time, ahead_s)
  return math.min(time, now + ahead_s * S)
end

-- The other workers whose lease has not run out. The hash also holds the time until which nobody's
-- share may grow: after a restart that lost everything, shares that workers hold are not known yet.
local function read_workers()
  local others, short, settle_until = {}, 0, nil
  local flat = redis.call('HGETALL', WORKERS)
  for i = 1, #flat, 2 do
    local id, text = flat[i], flat[i + 1]
    if id == '#settle_until' then
      settle_until = tonumber(text)
    elseif id ~= ask.worker then
      local held, wanted, is_short, expires = string.match(text, '(%d+) (%d+) (%d) (%d+)')
      if tonumber(expires) <= now then
        redis.call('HDEL', WORKERS, id)
      else
        if tonumber(expires) > now + 2 * ask.lease_s * S then
          redis.call('HSET', WORKERS, id, string.format('%s %s %s %.0f',
            held, wanted, is_short, now + ask.lease_s * S))
        end
        others[#others + 1] = { id = id, held = tonumber(held), wanted = tonumber(wanted) }
        short = short + tonumber(is_short)
      end
    end
  end
  if settle_until and settle_until > now + ask.settle_s * S then
    settle_until = no_later_than(settle_until, ask.settle_s)
    redis.call('HSET', WORKERS, '#settle_until', string.format('%.0f', settle_until))
  end
  if settle_until == nil then
    local info = redis.pcall('INFO', 'server')
    local uptime = type(info) == 'string' and string.match(info, 'uptime_in_seconds:(%d+)')
    settle_until = now + math.max(0, ask.settle_s - (tonumber(uptime) or ask.settle_s)) * S
    redis.call('HSET', WORKERS, '#settle_until', string.format('%.0f', settle_until))
  end
  return others, short, settle_until
end

-- What a fair division gives this worker. Everybody gets what they want or an equal part of what the
-- modest leave over. Where there are fewer calls than workers, they take turns.
local function fair_share(others, concurrency, wanted)
  if wanted == 0 then
    return 0
  end
  local crowd = { { id = ask.worker, wanted = wanted } }
  for _, other in ipairs(others) do
    if other.wanted > 0 then
      crowd[#crowd + 1] = other
    end
  end
  if concurrency < #crowd then
    table.sort(crowd, function(a, b) return a.id < b.id end)
    local turn = math.floor(now / (ask.turn_s * S))
    for i, worker in ipairs(crowd) do
      if worker.id == ask.worker then
        return (i - 1 - turn) % #crowd < concurrency and 1 or 0
      end
    end
  end
  table.sort(crowd, function(a, b)
    return a.wanted < b.wanted or (a.wanted == b.wanted and a.id < b.id)
  end)
  local left = concurrency
  for i, worker in ipairs(crowd) do
    local part = math.min(worker.wanted, math.floor(left / (#crowd - i + 1)))
    if worker.id == ask.worker then
      return part
    end
    left = left - part
  end
end

-- Grows only into what nobody holds. Shrinks by telling the worker, who then declares less: as long
-- as it may not have heard, the larger share is on record.
local function exchange_share(others, settle_until)
  local target = fair_share(others, ask.concurrency, ask.share_wanted)
  local record = ask.share_held
  if now >= settle_until then
    local free = ask.concurrency
    for _, other in ipairs(others) do
      free = free - other.held
    end
    record = math.max(record, math.min(target, free))
  end
  return record, math.min(record, target)
end

-- A worker whose call needs more than there is claims the bucket: nobody else takes from it until the
-- call was served, or its worker was silent for a while. Without that, the small calls of others would
-- keep the level below what a large one needs for ever.
local function exchange_bucket(key, bucket, sharers)
  local saved = redis.call('HMGET', key, 'level', 'at', 'claimant', 'claim_until')
  local level, at = tonumber(saved[1]), tonumber(saved[2])
  local claimant, claim_until = saved[3] or '', no_later_than(tonumber(saved[4]) or 0, ask.claim_s)
  if claimant == ask.worker or claim_until <= now then
    claimant = ''
  end
  if level == nil or at == nil then
    level, at = ask.has_taken_before and 0 or bucket.capacity, now
  end
  local refill = math.max(0, now - at) / S * bucket.rate
  level = math.min(bucket.capacity, level + refill + bucket.back)
  local granted = 0
  if bucket.wanted > 0 and claimant == '' then
    if level >= math.min(bucket.needed, bucket.capacity) then
      local part = math.min(math.ceil(level / sharers), math.floor(level))
      granted = math.min(bucket.wanted, math.max(bucket.needed, part))
      level = level - granted
    elseif bucket.needed > 1 then
      claimant, claim_until = ask.worker, now + ask.claim_s * S
    end
  end
  redis.call('HSET', key, 'level', string.format('%.17g', level), 'at', string.format('%.0f', now),
    'claimant', claimant, 'claim_until', string.format('%.0f', claim_until))
  redis.call('EXPIRE', key, ask.bucket_ttl_s)
  return granted
end

-- A pause says how long it was asked for, as its end goes by the clock.
local function exchange_pause()
  local left_ms = math.max(0, redis.call('PTTL', PAUSE))
  local asked_ms = tonumber(redis.call('GET', PAUSE) or nil) or left_ms
  local most_ms = math.max(ask.pause_ms, math.min(left_ms, asked_ms))
  if most_ms ~= left_ms then
    redis.call('SET', PAUSE, string.format('%.0f', most_ms), 'PX', most_ms)
  end
  return most_ms
end

local function open_us(step)
  return math.min(ask.open_cap_s, ask.open_base_s * 2 ^ math.min(step - 1, 16)) * S
end

local function exchange_breaker()
  local saved = redis.call('HMGET', BREAKER, 'failures', 'open_until', 'step', 'prober', 'probe_until')
  local failures, open_until = tonumber(saved[1]) or 0, tonumber(saved[2]) or 0
  local step, prober, probe_until = tonumber(saved[3]) or 0, saved[4] or '', tonumber(saved[5]) or 0
  open_until = no_later_than(open_until, ask.open_cap_s)
  probe_until = no_later_than(probe_until, ask.probe_lease_s)
  if ask.succeeded then
    failures, open_until, step, prober = 0, 0, 0, ''
  end
  failures = failures + ask.failures
  if open_until == 0 and failures >= ask.failures_to_open then
    step, prober = 1, ''
    open_until = now + open_us(step)
  elseif open_until > 0 and ask.probe_failed and prober == ask.worker then
    step, prober = step + 1, ''
    open_until = now + open_us(step)
  elseif open_until > 0 and open_until <= now and ask.wants_probe then
    if prober == '' or prober == ask.worker or probe_until <= now then
      prober, probe_until = ask.worker, now + ask.probe_lease_s * S
    end
  end
  if failures == 0 and open_until == 0 then
    if saved[1] then
      redis.call('DEL', BREAKER)
    end
    return 'closed', 0, 0, false
  end
  redis.call('HSET', BREAKER, 'failures', failures, 'open_until', string.format('%.0f', open_until),
    'step', step, 'prober', prober, 'probe_until', string.format('%.0f', probe_until))
  redis.call('EXPIRE', BREAKER, ask.bucket_ttl_s)
  if open_until == 0 then
    return 'closed', 0, 0, false
  elseif open_until > now then
    return 'open', (open_until - now) / S, step, false
  end
  local may_probe = prober == ask.worker
  local busy_s = (prober == '' or may_probe) and 0 or math.max(0, probe_until - now) / S
  return 'half_open', busy_s, step, may_probe
end

local grant = { requests = 0, tokens = 0 }
if ask.requests or ask.tokens or ask.concurrency > 0 then
  local others, short, settle_until = read_workers()
  local sharers = math.max(1, short + (ask.is_short and 1 or 0))
  if ask.requests then
    grant.requests = exchange_bucket(REQUESTS, ask.requests, sharers)
  end
  if ask.tokens then
    grant.tokens = exchange_bucket(TOKENS, ask.tokens, sharers)
  end
  local held = 0
  if ask.concurrency > 0 then
    held, grant.share = exchange_share(others, settle_until)
  end
  if ask.is_leaving and held == 0 then
    redis.call('HDEL', WORKERS, ask.worker)
  else
    redis.call('HSET', WORKERS, ask.worker, string.format('%.0f %.0f %d %.0f',
      held, ask.share_wanted, ask.is_short and 1 or 0, now + ask.lease_s * S))
  end
  redis.call('PEXPIRE', WORKERS, math.ceil(ask.lease_s * 2000))
end
grant.pause_ms = exchange_pause()
grant.breaker, grant.open_for_s, grant.step, grant.may_probe = exchange_breaker()
return cjson.encode(grant)
