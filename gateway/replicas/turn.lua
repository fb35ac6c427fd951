-- One call of one replica: it says what it has, and the store hands out what is free. Runs on Redis >= 6.2 and Valkey.
--
-- The script compares candidates, counts room and keeps counters at their floors; it decides nothing else. All numbers
-- are integers below 2^53, because Lua's numbers are doubles. Times are milliseconds of the store's own clock. This is
-- layout 1; gateway/replicas/call.py has the other side of it. Gateways of two releases may use one store, each with its
-- own script. So a layout only grows, by what an older script may leave unread; any other change makes another layout.
--
-- KEYS, all of one pool and under one hash tag. Every value is a row of MessagePack values.
--   1 meta      string: generation, seq (number of calls), born (time), vt, grants (number of them), recalled (time),
--               store (the server that was asked)
--   2 flows     flow -> sum, floor, level, touched (time), {boot -> the total that it reported last}
--   3 changed   sorted set: flow -> seq of its last change
--   4 replicas  replica -> boot, incarnation, call, time, lease, spare, settings, granted (number of its last grant),
--               more, named (counter of the first candidate of its last call, or false), tail (the candidate that was
--               granted last since then, or false), its figures, then its candidates one by one
--   5 held      replica -> {worker -> granted, returned, unread, kv, idle, metered, open (false: the replica cannot use
--               the worker), ended}
--   6 room      worker -> sequences, prompt tokens, kv (the window; 0 prompt tokens or kv: no limit), reading (time),
--               strangers (room left to sequences that no living replica uses), state (the tuner's own), tuner (the
--               boot that said all this), held, unread, kv, idle (sums over the living), metered (sum over all, dead
--               ones too), credit, {ghosts: time, sequences, boot}, ended (sum over all)
--   7 unused    string: is there if no gateway has used the account before, in this store or in another; whoever starts
--               the store sets it. Only the first call finds it
--
-- ARGV: name, boot, incarnation, call, settings, lease (a replica that is silent for longer is taken for dead), store
--   (the server's run id, which the caller asked for when it connected), a new generation to use if one is needed,
--   generation known (empty: none), seq known, changes known, is registering, is leaving (1 or 0), vt, spare, more (1 if
--   more requests wait than candidates are named), figures (exposure, refundable, unreported, unheard, greatest, least:
--   what the bound of docs/fairness.md needs); then four lists, each after its length:
--   flows       name, total, acknowledged (the total that the store has confirmed), floor, base (the counter is at least
--               total + base), level (of its keys; -1: it is a key itself), is gone (1 or 0)
--   workers     name, granted (as far as the caller has heard; held, if registering), returned, idle (held and
--               not in use), unread, kv, metered (output tokens) and ended (sequences whose requests ended), totals
--               that never fall, open (1; 0: the caller cannot use the worker and gets no room there)
--   readings    name, sequences, prompt tokens, kv, reading (time), strangers, is blind (1 or 0), state
--   candidates  each as one JSON list, which is read only if it is compared: counter, tenant, key counter, sequences,
--               prompt tokens, kv, preferred worker (empty: none)
--
-- Reply: status, generation, seq, now. If the status is OK, further: vt, living replicas, the caller's place among them
--   by name (the first is 0), living replicas with other settings, the least counter that waits elsewhere (-1: none),
--   its tenant, the least counter of that tenant's keys there, figures of all living replicas,
--   the earliest of their last calls (time), changes told, are there more (1 or 0), and three lists:
--   grants      worker, granted
--   workers     name, sequences, prompt tokens, kv, reading, held, unread, kv, idle, metered, ended, ghosts (sequences),
--               strangers, is uncounted (1 or 0), the state if another boot said it and the replica has rank 0 (else empty)
--   flows       name, sum, floor, level
--
-- Message to another replica, on the channel "<meta>:<name>", as JSON: generation, incarnation, seq, recall (1: somebody
-- waits elsewhere: give spare room back, and call if that is news), ask (1: call, your candidates are used up),
-- [worker, granted, ...].

local OK, REGISTER, LATE = 0, 1, 2
local FRESH = 150        -- a replica's candidates count for so long after its call
local RECALL = 20        -- least time between two recalls of spare room
local UNHEARD = 60       -- a replica that knows of somebody who waits calls every 50 ms: one silent for longer does not
local BLIND = 60000      -- so long after its death a replica's requests have ended, if the engine says nothing
local IDLE = 600000      -- a flow that did not change for longer is forgotten
local LOOKS = 16         -- calls between two looks for such a flow
local PAGE = 256         -- changed flows in a reply
local MOST_SPARE = 16    -- sequences that one replica may hold unused
local MOST_BOOTS = 64    -- totals kept for a flow, before those of dead replicas are dropped
local HEADER = 17        -- values before the candidates

local pack, unpack_one, unpack_limit = cmsgpack.pack, cmsgpack.unpack_one, cmsgpack.unpack_limit
local call, max, min, floor = redis.call, math.max, math.min, math.floor
local META, FLOWS, CHANGED, REPLICAS, HELD, ROOM, UNUSED = unpack(KEYS)

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
local function list(read)
  local rows = {}
  for i = 1, number() do rows[i] = read() end
  return rows
end

local me = {name = text(), boot = text(), incarnation = number(), call = number(), settings = text(),
  lease = number()}
local store, new_generation, known_generation, known_seq, known_changes = text(), text(), text(), number(), number()
local is_registering, is_leaving, my_vt = number() == 1, number() == 1, number()
me.spare, me.more = number(), number() == 1
me.exposure, me.refundable, me.unreported, me.unheard, me.greatest, me.least =
  number(), number(), number(), number(), number(), number()

-- generation: a new one begins with an empty store, and with another server, which may have lost calls

local generation, seq, born, vt, grants, recalled, last_store = new_generation, 0, now, 0, 0, 0, store
local meta = call('GET', META)
if meta then
  generation, seq, born, vt, grants, recalled, last_store = cmsgpack.unpack(meta)
else
  call('DEL', FLOWS, CHANGED, REPLICAS, HELD, ROOM)
  if call('DEL', UNUSED) == 1 then born = 0 end  -- nobody holds anything that would have to come back first
end
if store ~= last_store or (known_generation == generation and known_seq > seq) then
  call('DEL', REPLICAS, HELD, ROOM)  -- counters stay: they went back together with what was reported last
  generation, seq, born = new_generation, max(seq, known_seq), now
end

local function save_meta()
  call('SET', META, pack(generation, seq, born, vt, grants, recalled, store))
end

-- replicas

local replicas, names = {}, {}
local function load_replicas()
  local stored = call('HGETALL', REPLICAS)
  for i = 1, #stored, 2 do
    local r = {name = stored[i], row = stored[i + 1]}
    r.place, r.boot, r.incarnation, r.call, r.time, r.lease, r.spare, r.settings, r.granted, r.more, r.named,
      r.tail, r.exposure, r.refundable, r.unreported, r.unheard, r.greatest, r.least = unpack_limit(r.row, HEADER, 0)
    replicas[r.name] = r
    names[#names + 1] = r.name
  end
  table.sort(names)
end

local function save_replica(r)
  local rest = r.place >= 0 and string.sub(r.row, r.place + 1) or ''
  call('HSET', REPLICAS, r.name, pack(r.boot, r.incarnation, r.call, r.time, r.lease, r.spare, r.settings, r.granted,
    r.more, r.named, r.tail, r.exposure, r.refundable, r.unreported, r.unheard, r.greatest, r.least) .. rest)
end

-- The candidate of `r` that goes next; its last one, which was granted, if more requests wait than it named; else nil.
local function head(r)
  if now - r.time >= FRESH then return nil end
  if r.head == nil then
    r.head = false
    if r.place >= 0 then
      local row
      r.after, row = unpack_one(r.row, r.place)
      r.head = cjson.decode(row)
    end
  end
  return r.head or (r.more and r.tail) or nil
end

local function pop(r)
  r.tail, r.place, r.head = r.head, r.after, nil
end

-- room

local room, workers = {}, {}
local function load_room()
  local stored = call('HGETALL', ROOM)
  for i = 1, #stored, 2 do
    local w = {name = stored[i]}
    w.sequences, w.prompt_tokens, w.kv, w.reading, w.strangers, w.state, w.tuner, w.held, w.unread, w.held_kv, w.idle,
      w.metered, w.credit, w.ghosts, w.ended = cmsgpack.unpack(stored[i + 1])
    w.ended = w.ended or 0  -- an older script does not know it
    room[w.name] = w
    workers[#workers + 1] = w
  end
end

local function worker(name)
  local w = room[name]
  if not w then
    w = {name = name, sequences = 0, prompt_tokens = 0, kv = 0, reading = 0, strangers = 0, state = '', tuner = '',
      held = 0, unread = 0, held_kv = 0, idle = 0, metered = 0, credit = 0, ghosts = {}, ended = 0}
    room[name] = w
    workers[#workers + 1] = w
  end
  w.is_changed = true
  return w
end

local function save_room()
  for _, w in ipairs(workers) do
    if w.is_changed then
      call('HSET', ROOM, w.name, pack(w.sequences, w.prompt_tokens, w.kv, w.reading, w.strangers, w.state, w.tuner,
        w.held, w.unread, w.held_kv, w.idle, w.metered, w.credit, w.ghosts, w.ended))
    end
  end
end

local function ghosts(w)
  local sequences = 0
  for _, ghost in ipairs(w.ghosts) do sequences = sequences + ghost[2] end
  return sequences
end

-- A store that began anew does not know who else uses a worker: for a lease, and until a reading has shown what is there,
-- it gives out nothing but what comes back.
local function free(w)
  local left = w.sequences - w.strangers - w.held - ghosts(w)
  if now - born < me.lease or w.reading < born then left = min(left, w.credit) end
  return left
end

local function fits(w, c)
  return free(w) > 0
    and (w.prompt_tokens == 0 or w.unread == 0 or w.unread + c[5] <= w.prompt_tokens)
    and (w.kv == 0 or w.held_kv == 0 or w.held_kv + c[6] <= w.kv)
end

local holdings = {}
local function holding(name)
  local h = holdings[name]
  if not h then
    local row = call('HGET', HELD, name)
    h = row and cmsgpack.unpack(row) or {}
    holdings[name] = h
  end
  return h
end

local function is_open(r, w)
  local entry = holding(r.name)[w.name]
  return not entry or entry[7]
end

-- The worker with the most room where `r` can use it, for the candidate `c` or (nil) as spare; else nil, and whether
-- there would be one for others.
local function freest(r, c)
  local best, most, is_closed
  for _, w in ipairs(workers) do
    if c == nil or fits(w, c) then
      local left = free(w)
      if left > 0 and not is_open(r, w) then
        is_closed = true
      elseif left > 0 and (not best or left > most or (left == most and w.name < best.name)) then
        best, most = w, left
      end
    end
  end
  return best, is_closed
end

local function add(w, sequences, unread, kv, idle)
  w.held, w.unread, w.held_kv, w.idle = w.held + sequences, w.unread + unread, w.held_kv + kv, w.idle + idle
end

-- Take the room of `r` out of the sums. A ghost stands for it until a reading of the engine that was asked for later.
local function drop_holding(r, is_ghost)
  for name, entry in pairs(holding(r.name)) do
    local w, sequences = worker(name), entry[1] - entry[2]
    add(w, -sequences, -entry[3], -entry[4], -entry[5])
    if is_ghost and sequences > 0 then w.ghosts[#w.ghosts + 1] = {now, sequences, r.boot} end
  end
  holdings[r.name] = {}
  call('HDEL', HELD, r.name)
end

local function bury(r)
  drop_holding(r, true)
  call('HDEL', REPLICAS, r.name)
  replicas[r.name] = nil
end

local function revive(boot)
  for _, w in ipairs(workers) do
    local left = {}
    for _, ghost in ipairs(w.ghosts) do
      if ghost[3] ~= boot then left[#left + 1] = ghost end
    end
    if #left < #w.ghosts then w.ghosts, w.is_changed = left, true end
  end
end

load_replicas()
local stored = replicas[me.name]
local is_same = stored and stored.boot == me.boot
local is_known = is_same and stored.incarnation == me.incarnation
if is_same and (stored.incarnation > me.incarnation or (is_known and stored.call >= me.call)) then
  return {LATE, generation, seq, now}
end
if not is_known and not is_registering then
  save_meta()
  return {REGISTER, generation, seq, now}
end
seq = seq + 1
load_room()

-- Nobody was heard for a lease: all went on without the store, and hold what it does not know. Until all have come back,
-- for two leases, it gives out nothing but what comes back.
local function heard_last()
  local time = now
  for i, name in ipairs(names) do time = i == 1 and replicas[name].time or max(time, replicas[name].time) end
  return time
end
if now - heard_last() > me.lease then
  born = now + me.lease
  for _, w in ipairs(workers) do w.credit, w.is_changed = 0, true end
end

for _, name in ipairs(names) do
  if name ~= me.name and now - replicas[name].time > replicas[name].lease then bury(replicas[name]) end
end
local before = is_same and holding(me.name) or {}  -- its totals go on when it registers anew
if not is_known then
  if is_same then
    drop_holding(stored, false)
  elseif stored then
    bury(stored)
  else
    names[#names + 1] = me.name
    table.sort(names)
  end
  revive(me.boot)
end
me.time, me.granted, me.named, me.tail, me.place = now, stored and stored.granted or 0, false, false, -1
replicas[me.name] = me

-- flows

local function drop_dead_boots(last)
  local count, living = 0, {}
  for _ in pairs(last) do count = count + 1 end
  if count <= MOST_BOOTS then return end
  for _, r in pairs(replicas) do living[r.boot] = true end
  for boot in pairs(last) do
    if not living[boot] then last[boot] = nil end
  end
end

local flow_rows, flow_changes, flow_seqs = {}, {}, {}
local function save_flow(name, ...)
  local row = pack(...)
  flow_rows[name] = row
  flow_changes[#flow_changes + 1], flow_changes[#flow_changes + 2] = name, row
  flow_seqs[#flow_seqs + 1], flow_seqs[#flow_seqs + 2] = seq, name
end

local function take_flow()
  local name, total, acknowledged, least, base, level, gone =
    text(), number(), number(), number(), number(), number(), number()
  local row = flow_rows[name] or call('HGET', FLOWS, name)
  local sum, lifted, known_level, touched, last = 0, 0, -1, 0, {}
  if row then sum, lifted, known_level, touched, last = cmsgpack.unpack(row) end
  lifted = max(lifted, least)
  sum = max(sum + total - (last[me.boot] or acknowledged), lifted, total + base)
  last[me.boot] = gone == 0 and total or nil
  drop_dead_boots(last)
  save_flow(name, sum, lifted, max(known_level, level), now, last)
end
list(take_flow)
if #flow_changes > 0 then
  call('HSET', FLOWS, unpack(flow_changes))
  call('ZADD', CHANGED, unpack(flow_seqs))
end

-- Now and then look at the flow that has not changed for longest: forget it, unless it is a tenant ahead of the others.
local function forget_idle()
  if seq % LOOKS > 0 then return end
  local name = call('ZRANGE', CHANGED, 0, 0)[1]
  if not name then return end
  local sum, lifted, level, touched, last = cmsgpack.unpack(call('HGET', FLOWS, name))
  if now - touched <= IDLE then return end
  if level >= 0 and sum > vt then
    call('HSET', FLOWS, name, pack(sum, lifted, level, now, last))
    call('ZADD', CHANGED, seq, name)
  else
    call('HDEL', FLOWS, name)
    call('ZREM', CHANGED, name)
  end
end

-- what the caller holds, what was read of the engines, who waits with it

local mine, heard = holding(me.name), {}
list(function()
  local name, granted, returned, idle, unread, kv, metered, ended, open =
    text(), number(), number(), number(), number(), number(), number(), number(), number()
  local w, known = worker(name), before[name] or {}
  local entry = mine[name] or {0, 0, 0, 0, 0, known[6] or metered}
  local ended_before = entry[8] or known[8] or ended
  entry[7] = open == 1
  if not is_known then
    entry[1] = granted
    add(w, granted, 0, 0, 0)
  end
  local back = returned - entry[2]
  if back > 0 then
    entry[2], w.credit = returned, w.credit + back
    add(w, -back, 0, 0, 0)
  end
  heard[name] = granted
  idle = idle + max(0, entry[1] - granted)  -- what it has not heard of it does not use
  add(w, 0, unread - entry[3], kv - entry[4], idle - entry[5])
  w.metered, w.ended = w.metered + max(0, metered - entry[6]), w.ended + max(0, ended - ended_before)
  entry[3], entry[4], entry[5] = unread, kv, idle
  entry[6], entry[8] = max(metered, entry[6]), max(ended, ended_before)
  mine[name] = entry
end)

list(function()
  local name, sequences, prompt_tokens, kv, reading, strangers, is_blind, state =
    text(), number(), number(), number(), number(), number(), number(), text()
  local w = worker(name)
  if reading < w.reading then return end
  w.sequences, w.prompt_tokens, w.kv, w.reading, w.strangers = sequences, prompt_tokens, kv, reading, strangers
  w.state, w.tuner = state, me.boot
  local ended = reading - is_blind * BLIND
  local left = {}
  for _, ghost in ipairs(w.ghosts) do
    if ghost[1] >= ended then left[#left + 1] = ghost end
  end
  w.ghosts = left
end)

local candidates = number()
if candidates > 0 then
  me.row, me.place = pack(unpack(ARGV, position + 1, position + candidates)), 0
  me.named = head(me)[1]
end

-- The caller named its candidates before it heard of its latest grants: those will take the first of them.
local unheard = 0
for name, entry in pairs(mine) do unheard = unheard + entry[1] - (heard[name] or 0) end
while unheard > 0 and me.place >= 0 do
  unheard = unheard - head(me)[4]
  pop(me)
end

-- A leaver gets nothing more. What it has not given back still runs at the engine, so a ghost stands for it.
if is_leaving then
  bury(me)
  mine = {}
end

-- Forget the workers without a window that no replica reports any more. A replica registers anew to report fewer.
local function is_reported(w)
  for _, name in ipairs(names) do
    if holding(name)[w.name] then return true end
  end
  return false
end

local function forget_gone()
  for i = #workers, 1, -1 do
    local w = workers[i]
    if w.sequences == 0 and #w.ghosts == 0 and not is_reported(w) then
      call('HDEL', ROOM, w.name)
      room[w.name] = nil
      table.remove(workers, i)
    end
  end
end
if is_registering then forget_gone() end

-- Who goes next, not counting `without`: the tenant with the least counter; of its heads the one with the least key
-- counter, and of equal ones that of the replica that was granted longest ago. Returns replica, head, least counter.
local function first(without)
  local least
  for _, name in ipairs(names) do
    local r = replicas[name]
    local c = r and r ~= without and not r.is_passed and head(r)
    if c and (not least or c[1] < least[1] or (c[1] == least[1] and c[2] < least[2])) then least = c end
  end
  if not least then return nil end
  local best, its
  for _, name in ipairs(names) do
    local r = replicas[name]
    local c = r and r ~= without and not r.is_passed and head(r)
    if c and c[2] == least[2]
      and (not best or c[3] < its[3] or (c[3] == its[3] and r.granted < best.granted)) then best, its = r, c end
  end
  return best, its, least[1]
end

-- grants

local messages = {}
local function message(r)
  local m = messages[r.name]
  if not m then
    m = {recall = 0, ask = 0, workers = {}}
    messages[r.name] = m
  end
  return m
end

local function grant(r, w, sequences, unread, kv)
  local h = holding(r.name)
  local entry = h[w.name] or {0, 0, 0, 0, 0, 0, true}
  entry[1], entry[3], entry[4], entry[5] = entry[1] + sequences, entry[3] + unread, entry[4] + kv, entry[5] + sequences
  h[w.name] = entry
  add(w, sequences, unread, kv, sequences)
  w.credit, w.is_changed = w.credit - sequences, true
  r.is_granted = true
  if r ~= me then message(r).workers[w.name] = entry[1] end
end

local function serve()
  local is_one_passed = false
  while true do
    local r = first(nil)
    if not r then return is_one_passed end
    local c = r.head
    if not c then
      if r ~= me then message(r).ask = 1 end
      return true
    end
    local w, is_closed = room[c[7]], false
    if not (w and fits(w, c) and is_open(r, w)) then w, is_closed = freest(r, c) end
    if w then
      grant(r, w, c[4], c[5], c[6])
      grants = grants + 1
      r.granted = grants
      pop(r)
    elseif is_closed then
      r.is_passed, is_one_passed = true, true  -- there is room, but not for it: the next replica has its turn
    else
      return true
    end
  end
end

local function living()
  local count, rank, others = 0, 0, 0
  for _, name in ipairs(names) do
    local r = replicas[name]
    if r == me then rank = count end
    if r then
      count = count + 1
      if r.settings ~= me.settings then others = others + 1 end
    end
  end
  return count, rank, others
end
local count, rank, others = living()

local function give_spare()
  if is_leaving then return end
  local left = 0
  for _, w in ipairs(workers) do left = left + max(0, free(w)) end
  for _ = me.spare + 1, min(MOST_SPARE, floor(left / (1.5 * count))) do
    local w = freest(me, nil)
    if not w then return end
    grant(me, w, 1, 0, 0)
    me.spare = me.spare + 1
  end
end

local function recall_spare()
  if now - recalled < RECALL then return end
  for name, r in pairs(replicas) do
    if r ~= me and (r.spare > 0 or now - r.time >= UNHEARD) then
      message(r).recall = 1
      recalled = now
    end
  end
end

-- No flow that waits where a replica has said so is below `vt`: what was granted and may not have arrived counts still.
-- If nobody waits anywhere, it is the level of who left last.
local function least_named()
  local least
  for _, r in pairs(replicas) do
    if r.named and now - r.time < FRESH and (not least or r.named < least) then least = r.named end
  end
  return least
end
vt = max(vt, least_named() or my_vt)

-- The figures of all that live; counters count only where they are fresh.
local function figures()
  local exposure, refundable, unreported, unheard, greatest, least = 0, 0, 0, 0, -1, -1
  for _, r in pairs(replicas) do
    exposure, refundable, unreported = exposure + r.exposure, refundable + r.refundable, unreported + r.unreported
    unheard = max(unheard, r.unheard)
    if now - r.time < FRESH then
      greatest = max(greatest, r.greatest)
      if r.least >= 0 and (least < 0 or r.least < least) then least = r.least end
    end
  end
  return {exposure, refundable, unreported, unheard, greatest, least}
end
local told_figures = figures()

local function oldest()
  local time = now
  for _, r in pairs(replicas) do time = min(time, r.time) end
  return time
end

if serve() then recall_spare() else give_spare() end
forget_idle()

-- the end: save, tell the others, answer

for _, r in pairs(replicas) do
  if r == me or r.is_granted then
    save_replica(r)
    call('HSET', HELD, r.name, pack(holding(r.name)))
  end
end
save_room()
save_meta()
for name, m in pairs(messages) do
  local flat = {}
  for w, granted in pairs(m.workers) do
    flat[#flat + 1], flat[#flat + 2] = w, granted
  end
  local r = replicas[name]
  call('PUBLISH', META .. ':' .. name, cjson.encode({generation, r.incarnation, seq, m.recall, m.ask, flat}))
end

local told_grants, told_workers, told_flows = {}, {}, {}
for name, entry in pairs(mine) do
  if entry[1] > (heard[name] or 0) then told_grants[#told_grants + 1] = {name, entry[1]} end
end
for i, w in ipairs(workers) do
  told_workers[i] = {w.name, w.sequences, w.prompt_tokens, w.kv, w.reading, w.held, w.unread, w.held_kv,
    w.idle, w.metered, w.ended, ghosts(w), w.strangers, w.reading < born and 1 or 0,
    rank == 0 and w.tuner ~= me.boot and w.state or ''}
end
local changed = call('ZRANGEBYSCORE', CHANGED, known_changes + 1, '+inf', 'WITHSCORES', 'LIMIT', 0, PAGE + 1)
local upto, more = seq, 0
if #changed > 2 * PAGE then upto, more = changed[2 * PAGE + 2] - 1, 1 end
local told_names = {}
for i = 1, min(#changed, 2 * PAGE), 2 do told_names[#told_names + 1] = changed[i] end
local told_rows = #told_names > 0 and call('HMGET', FLOWS, unpack(told_names)) or {}
for i, name in ipairs(told_names) do
  local _, sum, lifted, level = unpack_limit(told_rows[i], 3, 0)
  told_flows[i] = {name, sum, lifted, level}
end
for _, r in pairs(replicas) do r.is_passed = nil end
local waiting, its, least_elsewhere = first(me)
return {OK, generation, seq, now, vt, count, rank, others, waiting and least_elsewhere or -1,
  waiting and its[2] or '', waiting and its[3] or 0, told_figures, oldest(), upto, more,
  told_grants, told_workers, told_flows}
