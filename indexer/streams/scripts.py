"""The Lua scripts of a stream: Redis runs each as a whole, so that a crash never leaves a half of one.

A consumer holds one batch or none: a stretch of the stream, recorded in the hash of batches as
`c:CONSUMER` -> `FIRST LAST SEEN_MS RULES` in the same script that reads it. The stretch is the batch for
ever: a consumer that comes back, or another that takes it over, reads the same messages under the same name
and by the same rules (indexer/streams/reading_rules.py).
"""

from __future__ import annotations

from typing import Final

_SHARED: Final = """
local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
local function message_of(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'message' then return fields[i + 1] end
  end
  if #fields == 2 then return fields[2] end
  return nil
end
local function pending(stream, group, first, last)
  local ids = {}
  for _, one in ipairs(redis.call('XPENDING', stream, group, first, last, 1000)) do ids[#ids + 1] = one[1] end
  return ids
end
"""

#: KEYS: stream, batches. ARGV: group, consumer, max entries, max bytes, rules of a new batch, ms until a
#: silent consumer counts as dead. Returns first, last, ids, sizes (-1: no message; -n - 2: n bytes, too
#: large), all messages in one text, whether the batch was another's, the group's name, and the rules; nil for
#: an empty stream.
NEXT: Final = (
    _SHARED
    + """
local stream, batches, group, me = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local max_entries, max_bytes, rules = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local now, taken, entries, recorded = now_ms(), 0, {}, ''
local first, last = nil, nil
local mine = redis.call('HGET', batches, 'c:' .. me)
if mine then
  first, last, recorded = string.match(mine, '^(%S+) (%S+) %d+ ?(.*)$')
else
  local all = redis.call('HGETALL', batches)
  for i = 1, #all, 2 do
    local from, to, seen, of_batch = string.match(all[i + 1], '^(%S+) (%S+) (%d+) ?(.*)$')
    if from and string.sub(all[i], 1, 2) == 'c:' and now - tonumber(seen) > tonumber(ARGV[6]) then
      first, last, taken, recorded = from, to, 1, of_batch
      redis.call('HDEL', batches, all[i])
      break
    end
  end
end
if first then
  if taken == 1 then
    local from = first
    while true do
      local ids = pending(stream, group, from, last)
      if #ids == 0 then break end
      redis.call('XCLAIM', stream, group, me, 0, unpack(ids))
      from = '(' .. ids[#ids]
    end
  end
  entries = redis.call('XRANGE', stream, first, last)
else
  local bytes, largest, count = 0, 1, 1
  while #entries < max_entries and bytes < max_bytes do
    local read = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', count, 'STREAMS', stream, '>')
    if not read then break end
    for _, entry in ipairs(read[1][2]) do
      entries[#entries + 1] = entry
      local size = #(message_of(entry[2]) or '')
      bytes, largest = bytes + size, math.max(largest, size)
    end
    if #read[1][2] < count then break end
    -- As many as there is room for, if the next ones are no larger.
    count = math.min(2 * count, 100, max_entries - #entries, math.ceil((max_bytes - bytes) / largest))
  end
  if #entries == 0 then return false end
  first, last = entries[1][1], entries[#entries][1]
end
if recorded ~= '' then rules = recorded end
redis.call('HSET', batches, 'c:' .. me, string.format('%s %s %.0f ', first, last, now) .. rules)
local max_entry = cjson.decode(rules).body_bytes
local ids, sizes, messages = {}, {}, {}
for i, entry in ipairs(entries) do
  local message = message_of(entry[2])
  ids[i] = entry[1]
  if not message then
    sizes[i] = '-1'
  elseif #message > max_entry then
    sizes[i] = string.format('%.0f', -2 - #message)
  else
    sizes[i] = string.format('%.0f', #message)
    messages[#messages + 1] = message
  end
end
return {first, last, table.concat(ids, ' '), table.concat(sizes, ' '), table.concat(messages), taken,
  redis.call('HGET', batches, 'name') or '', rules}
"""
)

#: KEYS: stream, batches. ARGV: group, its name. Creates the group, and forgets the batches of an earlier one.
CREATE: Final = """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP') then return 0 end
  return made
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'name', ARGV[2])
return 1
"""

#: KEYS: batches. ARGV: consumer, first, last. Says that the consumer lives; returns 0 if the batch
#: is not its.
KEEP: Final = (
    _SHARED
    + """
local mine = redis.call('HGET', KEYS[1], 'c:' .. ARGV[1]) or ''
local stretch = ARGV[2] .. ' ' .. ARGV[3] .. ' '
if string.sub(mine, 1, #stretch) ~= stretch then return 0 end
local rules = string.match(mine, '^%S+ %S+ %d+ ?(.*)$')
redis.call('HSET', KEYS[1], 'c:' .. ARGV[1], stretch .. string.format('%.0f ', now_ms()) .. rules)
return 1
"""
)

#: KEYS: stream, batches, dead letters, commit log, parked frames. ARGV: group, consumer, first, last, max
#: dead letters, max entries of the log, messages, rows, whether to delete the entries, the number of parked
#: frames, these, then id, reason and text of each dead letter (no text: that of the stream). Returns 0, and
#: does nothing, if the batch is not the consumer's.
COMMIT: Final = (
    _SHARED
    + """
local stream, batches, group = KEYS[1], KEYS[2], ARGV[1]
local first, last = ARGV[3], ARGV[4]
local mine = redis.call('HGET', batches, 'c:' .. ARGV[2]) or ''
local stretch = first .. ' ' .. last .. ' '
if string.sub(mine, 1, #stretch) ~= stretch then return 0 end
local dead, parked = 0, tonumber(ARGV[10])
for i = 11, 10 + parked do redis.call('XADD', KEYS[5], '*', 'message', ARGV[i]) end
for i = 11 + parked, #ARGV, 3 do
  local text = ARGV[i + 2]
  if text == '' then
    local entry = redis.call('XRANGE', stream, ARGV[i], ARGV[i])[1]
    text = entry and message_of(entry[2]) or ''
  end
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'id', ARGV[i], 'reason',
    ARGV[i + 1], 'message', text)
  dead = dead + 1
end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', 'stream', stream, 'partition', '0', 'from', first,
  'to', last, 'messages', ARGV[7], 'rows', ARGV[8], 'dead_letters', string.format('%.0f', dead),
  'parked', ARGV[10], 'stored_ms', string.format('%.0f', now_ms()))
while true do
  local ids = pending(stream, group, first, last)
  if #ids == 0 then break end
  redis.call('XACK', stream, group, unpack(ids))
  if ARGV[9] == '1' then redis.call('XDEL', stream, unpack(ids)) end
end
redis.call('HDEL', batches, 'c:' .. ARGV[2])
return 1
"""
)
