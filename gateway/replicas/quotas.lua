-- One call of one replica about the limits of tenants: it says what it holds of each, and gets what is left. Runs on
-- Redis >= 6.2 and Valkey.
--
-- A limit bounds the sum over all replicas. It is either a number of *places* (in flight, queued), or a *rate*: an
-- amount that refills by the store's clock within a minute. A replica uses only what it *holds*. What all hold together
-- is never more than the limit, so nothing that is lost, late or repeated can break it. All numbers are integers below
-- 2^53. Times are milliseconds of the store's own clock. This is layout 1; gateway/replicas/quota_call.py has the other
-- side of it.
--
-- KEYS, all of one fleet and under one hash tag. Every value is a row of MessagePack values.
--   1 meta      string: generation, seq (number of calls), born (time), at (time of the last call), filled (thousandths
--               of a millisecond for which the store has refilled the rates), store (the server that was asked), expected
--   2 replicas  replica -> boot, incarnation, call, time, told (1: it has said all that it holds)
--   3 limits    limit -> most, is a rate (1 or 0), level (of a rate, 60,000 to one), filled (whole milliseconds, up to
--               which the level is refilled), charged (what was spent while the store was young), touched, wanted,
--               recalled (times), {replica -> boot, incarnation, granted, held, used, spent, need,
--               since (seq)}, left (60,000 to one: what nobody held before the store was emptied, as far as is known
--               and until something is given; else false)
--   4 claimed   sorted set: limit -> seq of the call that made it
--
-- ARGV: name, boot, incarnation, call, store (the server's run id, which the caller asked for when it connected), a new
--   generation to use if one is needed, generation known (empty: none), seq known, claims known (seq), expected
--   replicas, is registering, has told all, is leaving (1 or 0), number of rows, and the rows:
--     name, most, is a rate, granted (as far as the caller has heard; -1: the store has not confirmed this limit to it
--     yet), held (with what it had heard), used (of these; places only), spent (of a rate: a total that only the caller
--     moves), confirmed (as much of it as the store has confirmed), known (the level of a rate as it was last told, and
--     refilled since; -1: never told), left (what nobody held of it, likewise), need (the least that is of use to who
--     waits; the store keeps it until it is there), want (all that could be used)
--
-- Reply: status, generation, seq, now. If the status is OK, further: replicas, is settled (0: the store does not know
--   yet what the others hold, and gives nothing), claims told (seq), are there more (1 or 0), and two lists:
--   rows        name, granted, given (as much of it as the caller had not heard of), left, level (whole), wanted (2:
--               others wait for places, 1: somebody has lacked some lately, 0), is gone (1: nobody holds any; the row is
--               forgotten)
--   claims      name of a limit that is in use somewhere
--
-- Message to another replica, on the channel "<meta>:<name>", as JSON: generation, incarnation,
--   [name, granted, ...], [names of which others lack some], [names that are in use from now on].

local OK, REGISTER, LATE = 0, 1, 2
local LEASE = 2000       -- a replica that is silent for longer refills its part of the rates itself
local GHOST = 30000      -- for so long what a silent replica holds stays its own
local RECALL = 20        -- least time between two recalls
local WANTED = 2000      -- for so long after somebody lacked some, nobody gets more than it can use
local IDLE = 600000      -- a limit that nobody named for longer is forgotten
local LOOKS = 16         -- calls between two looks for such a limit
local PAGE = 64          -- claims in a reply
local PART = 200         -- of a number of places every replica has one in so many without asking
local MINUTE = 60000
local EXACT = 1000       -- parts of a millisecond that are counted

local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local call, max, min, floor = redis.call, math.max, math.min, math.floor
local META, REPLICAS, LIMITS, CLAIMED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)

-- what the caller says

local position = 0
local function text()
  position = position + 1
  return ARGV[position]
end
local function number()
  return tonumber(text())
end

local me = {name = text(), boot = text(), incarnation = number(), call = number()}
local store, new_generation, known_generation, known_seq, known_claims = text(), text(), text(), number(), number()
local my_expected, is_registering = number(), number() == 1
me.told = number()
local is_leaving = number() == 1

-- generation: a new one begins with an empty store, and with another server, which may have lost calls

local generation, seq, born, at, filled, expected = new_generation, 0, now, now, 0, 0
local meta = call('GET', META)
if meta then
  local last_store
  generation, seq, born, at, filled, last_store, expected = unpack(meta)
  if store ~= last_store or (known_generation == generation and known_seq > seq) then
    generation, seq, born, at, filled, expected = new_generation, max(seq, known_seq), now, now, 0, 0
    meta = nil
  end
end
if not meta then call('DEL', REPLICAS, LIMITS, CLAIMED) end
expected = max(expected, my_expected)

local function save_meta()
  call('SET', META, pack(generation, seq, born, at, filled, store, expected))
end

-- replicas

local replicas, names = {}, {}
local stored = call('HGETALL', REPLICAS)
for i = 1, #stored, 2 do
  local r = {name = stored[i]}
  r.boot, r.incarnation, r.call, r.time, r.told = unpack(stored[i + 1])
  replicas[r.name] = r
  names[#names + 1] = r.name
end
table.sort(names)

local mine = replicas[me.name]
local is_same = mine and mine.boot == me.boot
local is_known = is_same and mine.incarnation == me.incarnation
if is_same and (mine.incarnation > me.incarnation or (is_known and mine.call >= me.call)) then
  return {LATE, generation, seq, now}
end
if not is_registering and not (is_known and known_generation == generation) then
  save_meta()
  return {REGISTER, generation, seq, now}
end
seq = seq + 1

-- The rates refill for each replica's part of the time in which the store hears of it: a silent one refills its own.
local since, count = 0, 0
for _, r in pairs(replicas) do
  count = count + 1
  since = since + max(0, min(now, r.time + LEASE) - at)
end
if count > 0 then filled = filled + floor(since * EXACT / count) else filled = filled + max(0, now - at) * EXACT end
at = max(at, now)
local filled_to = floor(filled / EXACT)

for i = #names, 1, -1 do
  if names[i] ~= me.name and now - replicas[names[i]].time > GHOST then
    call('HDEL', REPLICAS, names[i])
    replicas[names[i]] = nil
    table.remove(names, i)
  end
end
if not mine then
  names[#names + 1] = me.name
  table.sort(names)
end
me.time = now
replicas[me.name] = me
count = #names

local is_young = now - born < LEASE
local is_settled = not is_young
if is_young and count >= expected then
  is_settled = true
  for _, name in ipairs(names) do is_settled = is_settled and replicas[name].told == 1 end
end

-- True if everybody is here who was there before the store was emptied, as far as is known.
local is_whole = count >= expected
for _, name in ipairs(names) do is_whole = is_whole and replicas[name].incarnation > 1 end

-- messages

local messages = {}
local function message(name)
  local m = messages[name]
  if not m then
    m = {grants = {}, wanted = {}, claimed = {}}
    messages[name] = m
  end
  return m
end

-- limits

local function level_of(row)
  return floor(row.level / MINUTE)
end

local function free(row)
  local left = row.is_rate == 1 and level_of(row) or row.most - count * floor(row.most / PART)
  for _, name in ipairs(names) do
    local entry = row.entries[name]
    if entry then left = left - entry.held end
  end
  return max(0, left)
end

local function load_row(name)
  local stored_row = call('HGET', LIMITS, name)
  if not stored_row then return nil end
  local row = {name = name}
  row.most, row.is_rate, row.level, row.filled, row.charged, row.touched, row.wanted, row.recalled, row.entries,
    row.left = unpack(stored_row)
  for who, e in pairs(row.entries) do
    local r = replicas[who]
    if r and r.boot == e[1] then
      row.entries[who] = {boot = e[1], incarnation = e[2], granted = e[3], held = e[4], used = e[5], spent = e[6],
        need = e[7], since = e[8]}
    else  -- it died: what it held of a rate it may have spent
      if row.is_rate == 1 then row.level = row.level - e[4] * MINUTE end
      row.entries[who] = nil
    end
  end
  return row
end

local function make_row(name, most)
  call('ZADD', CLAIMED, seq, name)
  for _, who in ipairs(names) do
    if who ~= me.name then table.insert(message(who).claimed, name) end
  end
  return {name = name, most = most, level = most * MINUTE, filled = filled_to, charged = 0, wanted = 0,
    recalled = 0, entries = {}}
end

local function save_row(row)
  local entries = {}
  for who, e in pairs(row.entries) do
    entries[who] = {e.boot, e.incarnation, e.granted, e.held, e.used, e.spent, e.need, e.since}
  end
  call('HSET', LIMITS, row.name, pack(row.most, row.is_rate, row.level, row.filled, row.charged, row.touched,
    row.wanted, row.recalled, entries, row.left or false))
end

local function forget_row(name)
  call('HDEL', LIMITS, name)
  call('ZREM', CLAIMED, name)
end

local function is_unused(row)
  if row.left or (row.is_rate == 1 and row.level < row.most * MINUTE) then return false end
  for _, e in pairs(row.entries) do
    if e.held > 0 or e.need > 0 then return false end
  end
  return true
end

local function give(entry, amount)
  entry.granted, entry.held = entry.granted + amount, entry.held + amount
end

-- Who waits gets what it needs, who has waited longest first; nobody is passed by. Returns false if somebody still lacks.
local function serve(row)
  while true do
    local first
    for _, who in ipairs(names) do
      local e = row.entries[who]
      if e and e.need > 0 and (not first or e.since < row.entries[first].since) then first = who end
    end
    if not first then return true end
    local e = row.entries[first]
    if e.need > free(row) then return false end
    give(e, e.need)
    e.need = 0
    if first ~= me.name then
      local grants = message(first).grants
      grants[#grants + 1], grants[#grants + 2] = row.name, e.granted
    end
  end
end

local function recall(row)
  row.wanted = now
  if now - row.recalled < RECALL then return end
  row.recalled = now
  for _, who in ipairs(names) do
    local e = row.entries[who]
    if who ~= me.name and e and e.held > 0 then table.insert(message(who).wanted, row.name) end
  end
end

-- Something is given for the first time since the store was emptied. What a replica held that died meanwhile nobody
-- tells: it counts as spent.
local function begin(row)
  if not is_whole then
    local there = row.left
    for _, e in pairs(row.entries) do there = there + e.held * MINUTE end
    row.level = min(row.level, there)
  end
  row.left = false
end

local function hand_out(row, entry, want)
  if not is_settled then return end
  if row.left then begin(row) end
  local before = entry.held
  if not serve(row) then
    recall(row)
    return
  end
  local rest = want - (entry.held - before)
  local amount = max(0, min(rest, free(row)))
  give(entry, amount)
  if amount < rest then recall(row) end
  if now - row.wanted < WANTED then return end
  local idle = max(0, entry.held - entry.used - max(0, want))
  give(entry, max(0, floor((free(row) + idle) / (2 * count)) - idle))
end

local function wanted(row)
  for who, e in pairs(row.entries) do
    if who ~= me.name and e.need > 0 then return 2 end
  end
  return now - row.wanted < WANTED and 1 or 0
end

local told = {}
local function take_row()
  local name, most, is_rate, heard, held, used, spent, confirmed, known, left, need, want = text(), number(), number(),
    number(), number(), number(), number(), number(), number(), number(), number(), number()
  local row = load_row(name)
  if not row then
    if held == 0 and need == 0 and want == 0 and spent == confirmed and (known < 0 or left >= most) then
      told[#told + 1] = {name, 0, 0, most, most, 0, 1}
      return
    end
    row = make_row(name, most)
  end
  row.most, row.is_rate, row.touched = most, is_rate, now
  local refill = min(MINUTE, filled_to - row.filled) * most
  row.level = min(row.level + refill, most * MINUTE)
  if row.left then row.left = row.left + refill end
  row.filled = filled_to
  local entry = row.entries[me.name]
  if heard < 0 or not entry or entry.incarnation ~= me.incarnation then
    -- A store that lost everything learns the level from the replicas: the least that one of them knows, less what the
    -- others had spent and the store had not confirmed.
    if known >= 0 and is_young then
      row.level = min(row.level, (known - row.charged) * MINUTE)
      row.left = min(row.left or left * MINUTE, left * MINUTE)
    end
    entry = {boot = me.boot, incarnation = me.incarnation, granted = entry and entry.granted or 0, spent = confirmed,
      need = 0, since = 0}
    heard = entry.granted
    row.entries[me.name] = entry
  end
  row.level = min(row.level - (spent - entry.spent) * MINUTE, most * MINUTE)
  if is_young then row.charged = row.charged + spent - entry.spent end
  local unheard = entry.granted - heard
  entry.held, entry.used, entry.spent = held + unheard, used, spent
  need, want = max(0, need - unheard), max(0, want - unheard)
  if need > 0 and entry.need == 0 then entry.since = seq end
  entry.need = need
  hand_out(row, entry, want)
  local is_gone = is_unused(row)
  told[#told + 1] = {name, entry.granted, entry.granted - heard, free(row), level_of(row), wanted(row),
    is_gone and 1 or 0}
  if is_gone then forget_row(name) else save_row(row) end
end
for _ = 1, number() do take_row() end

-- Now and then look at one limit after the other: forget it if nobody has named it for long.
local function forget_idle()
  local place = seq / LOOKS
  if place > floor(place) then return end
  local claims = call('ZCARD', CLAIMED)
  if claims == 0 then return end
  local name = call('ZRANGE', CLAIMED, place % claims, place % claims)[1]
  if now - load_row(name).touched > IDLE then forget_row(name) end
end
forget_idle()

-- the end: save, tell the others, answer

if is_leaving then
  call('HDEL', REPLICAS, me.name)
else
  call('HSET', REPLICAS, me.name, pack(me.boot, me.incarnation, me.call, me.time, me.told))
end
save_meta()
for name, m in pairs(messages) do
  local r = replicas[name]
  call('PUBLISH', META .. ':' .. name, cjson.encode({generation, r.incarnation, m.grants, m.wanted, m.claimed}))
end
local claims = call('ZRANGEBYSCORE', CLAIMED, known_claims + 1, '+inf', 'WITHSCORES', 'LIMIT', 0, PAGE + 1)
local upto, more, told_claims = seq, 0, {}
if #claims > 2 * PAGE then upto, more = claims[2 * PAGE + 2] - 1, 1 end
for i = 1, min(#claims, 2 * PAGE), 2 do told_claims[#told_claims + 1] = claims[i] end
return {OK, generation, seq, now, count, is_settled and 1 or 0, upto, more, told, told_claims}
