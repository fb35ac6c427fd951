-- One call of one gateway about budgets: it says what it has used and what it holds of each, and gets what is left.
-- Runs on Redis >= 6.2 and Valkey.
--
-- A budget bounds the sum of what all gateways use in a period. Who writes a file of the ledger is a *writer*. Of each
-- writer the store keeps the greatest *total* that anybody has told, so that a total may be lost, late or told twice. A
-- gateway uses only what it *holds*; what a silent one holds counts as spent, until the next process that writes the
-- same file has told all that the file says. All numbers are integers below 2^53. Times are milliseconds of the store's
-- own clock. This is layout 1; gateway/replicas/budget_call.py has the other side of it.
--
-- KEYS, all of one fleet and under one hash tag. Every value is a row of MessagePack values.
--   1 meta      string: generation, seq (number of calls), born (time), store (the server that was asked), expected,
--               {writer -> true} (who was there before the store lost something, as far as is known)
--   2 writers   writer -> boot, incarnation, call, time, told (1: it has said all that it holds)
--   3 budgets   budget -> {writer -> total}, {writer -> boot, incarnation, granted, held, since (seq from which on it
--               waits; 0: it does not)}, scarce (time when somebody lacked some last)
--   4 ends      sorted set: budget -> time after which it is forgotten
--
-- ARGV: writer, boot, incarnation, call, store (the server's run id), a new generation to use if one is needed,
--   generation known (empty: none), seq known, expected gateways, is registering, has told all, is leaving (1 or 0),
--   number of writers known and they, number of rows, and the rows:
--     name, end of the period, amount, granted (as far as the caller has heard), held (with what it had heard), idle
--     (what of it no request has reserved), whole, usual, least (what a waiting request needs idle to run unchanged,
--     with a usual answer, at all; 0: none waits), number of totals and they (writer, total), number of holds of others
--     and they (writer, held)
--
-- Reply: status, generation, seq, now. If the status is OK, further: living gateways, writers that are known, and rows:
--   name, granted, is decided (1: the request that waits may use what is there now, and more does not come), wanted (2:
--   others come first, who lack some; 1: somebody has lacked some lately, 0), free (what nobody holds), to return (what the other living gateways hold), spare (what the
--   caller may keep idle), totals (writer, total, ...), holds of others (writer, held, ...)

local OK, REGISTER, LATE = 0, 1, 2
local LEASE = 2000       -- for so long after a loss nothing is given
local GHOST = 30000      -- a gateway that is silent for longer is not waited for
local SCARCE = 2000      -- for so long after somebody lacked some, nobody gets more than it needs
local FORGET = 86400000  -- a silent writer is forgotten after a day, a budget a day after its period

local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local call, max, min, floor = redis.call, math.max, math.min, math.floor
local META, WRITERS, BUDGETS, ENDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)

local position = 0
local function text()
  position = position + 1
  return ARGV[position]
end
local function number()
  return tonumber(text())
end

local me = {name = text(), boot = text(), incarnation = number(), call = number(), time = now}
local store, new_generation, known_generation, known_seq = text(), text(), text(), number()
local my_expected, is_registering = number(), number() == 1
me.told = number()
local is_leaving = number() == 1

-- generation: a new one begins with an empty store, and with another server, which may have lost calls

local generation, seq, born, expected, known = new_generation, 0, now, 0, {}
local is_new = true
local meta = call('GET', META)
if meta then
  local old, old_store
  old, seq, born, old_store, expected, known = unpack(meta)
  is_new = store ~= old_store or (known_generation == old and known_seq > seq)
  if is_new then seq, born = max(seq, known_seq), now else generation = old end
end
expected = max(expected, my_expected)

local writers, names = {}, {}
local stored = call('HGETALL', WRITERS)
for i = 1, #stored, 2 do
  local w = {name = stored[i]}
  w.boot, w.incarnation, w.call, w.time, w.told = unpack(stored[i + 1])
  if is_new then
    known[w.name] = true
    call('HDEL', WRITERS, w.name)
  elseif w.name ~= me.name and now - w.time > FORGET then
    call('HDEL', WRITERS, w.name)
  else
    writers[w.name] = w
  end
end

local function save_meta()
  call('SET', META, pack(generation, seq, born, store, expected, known))
end

local mine = writers[me.name]
local is_same = mine and mine.boot == me.boot
local is_current = is_same and mine.incarnation == me.incarnation
if is_same and (mine.incarnation > me.incarnation or (is_current and mine.call >= me.call)) then
  return {LATE, generation, seq, now}
end
if not is_registering and not (is_current and known_generation == generation) then
  save_meta()
  return {REGISTER, generation, seq, now}
end
seq = seq + 1
writers[me.name] = me

for _ = 1, number() do known[text()] = true end
local living = 0
for name, w in pairs(writers) do
  names[#names + 1] = name
  if now - w.time <= GHOST then living = living + 1 end
end
table.sort(names)

-- True if the store knows what was used and is held: all have told who were there, or some of them are gone for long.
local function is_settled()
  local age, are_new, have_told = now - born, true, true
  for _, w in pairs(writers) do
    are_new = are_new and w.incarnation == 1
    have_told = have_told and w.told == 1
  end
  for name in pairs(known) do
    if not writers[name] then
      are_new, have_told = false, false
    end
  end
  if age > GHOST then return true end
  return have_told and (age > LEASE or (are_new and living >= expected))
end
local is_giving = is_settled()
if now - born > GHOST then known = {} end

-- budgets

local function load_row(name)
  local row = {name = name, totals = {}, entries = {}, scarce = 0}
  local stored_row = call('HGET', BUDGETS, name)
  if not stored_row then return row end
  local entries
  row.totals, entries, row.scarce = unpack(stored_row)
  for who, e in pairs(entries) do
    local w = writers[who]
    -- A process that has told all it holds, or all that its file says, has nothing of what it does not name.
    local is_over = w and w.told == 1 and (w.boot ~= e[1] or w.incarnation ~= e[2])
    if not is_over then
      row.entries[who] = {boot = e[1], incarnation = e[2], granted = e[3], held = e[4], since = e[5]}
    end
  end
  return row
end

local function save_row(row, period_end)
  local entries, is_empty = {}, next(row.totals) == nil
  for who, e in pairs(row.entries) do
    if (who ~= me.name or not is_leaving) or e.held > 0 then
      entries[who] = {e.boot, e.incarnation, e.granted, e.held, e.since}
      is_empty = false
    end
  end
  if is_empty then
    call('HDEL', BUDGETS, row.name)
    call('ZREM', ENDS, row.name)
  else
    call('HSET', BUDGETS, row.name, pack(row.totals, entries, row.scarce))
    call('ZADD', ENDS, period_end + FORGET, row.name)
  end
end

local function is_living(name)
  return writers[name] and now - writers[name].time <= GHOST
end

-- True if nobody else has waited longer for it.
local function is_first(row, since)
  for who, e in pairs(row.entries) do
    local is_waiting = who ~= me.name and e.since > 0 and writers[who] and now - writers[who].time <= LEASE
    if is_waiting and (since == 0 or e.since < since) then return false end
  end
  return true
end

local function give(entry, amount)
  entry.granted, entry.held = entry.granted + amount, entry.held + amount
end

-- The rule of gateway/accounts/rule.py, over what nobody holds. Returns true if it is decided what the request may use.
local function serve(row, entry, free, idle, to_return, whole, usual, least)
  if entry.since == 0 then entry.since = seq end
  if not is_giving then return false end
  if not is_first(row, entry.since) then return false end
  local there = idle + free
  local part
  if there >= whole then part = whole - idle
  elseif there >= usual then part = usual - idle
  elseif to_return + entry.held - idle <= 0 then part = there >= least and free or 0
  end
  if not part then
    row.scarce = now
    return false
  end
  give(entry, max(0, part))
  entry.since = 0
  return true
end

local function pairs_of(list)
  local found = {}
  for _ = 1, number() do
    local key = text()
    found[key] = number()
  end
  return found
end

local function flat(values, skipped)
  local keys, found = {}, {}
  for key in pairs(values) do
    if key ~= skipped then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local value = values[key]
    found[#found + 1] = key
    found[#found + 1] = type(value) == 'table' and value.held or value
  end
  return found
end

local told = {}
local function take_row()
  local name, period_end, amount, heard, held, idle, whole, usual, least = text(), number(), number(), number(), number(),
    number(), number(), number(), number()
  local row = load_row(name)
  for who, total in pairs(pairs_of()) do row.totals[who] = max(row.totals[who] or 0, total) end
  for who, theirs in pairs(pairs_of()) do  -- told by those who heard of it; who holds it tells it better
    local w = writers[who]
    if who ~= me.name and not row.entries[who] and not (w and w.told == 1) then
      row.entries[who] = {boot = '', incarnation = 0, granted = 0, held = theirs, since = 0}
    end
  end
  local entry = row.entries[me.name]
  if not entry or entry.boot ~= me.boot or entry.incarnation ~= me.incarnation then
    -- One that had nothing left was forgotten: what it has heard of goes on counting.
    entry = {boot = me.boot, incarnation = me.incarnation, granted = heard, held = 0, since = 0}
    row.entries[me.name] = entry
  end
  local unheard = max(0, entry.granted - heard)
  entry.held, idle = held + unheard, idle + unheard
  local free, to_return = amount, 0
  for _, total in pairs(row.totals) do free = free - total end
  for who, e in pairs(row.entries) do
    free = free - e.held
    if who ~= me.name and is_living(who) then to_return = to_return + e.held end
  end
  local before, is_decided = entry.granted, whole <= idle
  if whole > idle then
    is_decided = serve(row, entry, free, idle, to_return, whole, usual, least)
  else
    entry.since = 0
  end
  local given = entry.granted - before
  free, idle = free - given, idle + given
  local wanted = now - row.scarce < SCARCE and 1 or 0
  if not is_first(row, entry.since) then wanted = 2 end
  local spare = 0
  if is_giving and wanted == 0 then
    local beyond = max(0, idle - whole)
    spare = max(0, floor((free + beyond) / (2 * living)))
    if whole > 0 and idle >= whole and spare > beyond then
      give(entry, spare - beyond)
      free = free - (spare - beyond)
    end
  end
  told[#told + 1] = {name, entry.granted, is_decided and 1 or 0, wanted, free, to_return, spare,
    flat(row.totals), flat(row.entries, me.name)}
  if entry.held == 0 and entry.since == 0 then row.entries[me.name] = nil end
  save_row(row, period_end)
end
for _ = 1, number() do take_row() end

for _, name in ipairs(call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 4)) do
  call('HDEL', BUDGETS, name)
  call('ZREM', ENDS, name)
end

if is_leaving then
  call('HDEL', WRITERS, me.name)
  known[me.name] = nil
else
  call('HSET', WRITERS, me.name, pack(me.boot, me.incarnation, me.call, me.time, me.told))
end
save_meta()
return {OK, generation, seq, now, living, names, told}
