-- Deletes names of consumers that have nothing to their account: those of servers that ended, and with an idle time of 0 one's own.
-- A living server whose name goes, since nothing came for long, gets it again with its next message.
-- KEYS: requests. ARGV: group, how a name must begin, idle time in ms from which a name is not used any more.
local deleted = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local fields = {}
  for i = 1, #info, 2 do
    fields[info[i]] = info[i + 1]
  end
  local ours = string.sub(fields.name, 1, #ARGV[2]) == ARGV[2]
  if ours and fields.pending == 0 and fields.idle >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fields.name)
    deleted = deleted + 1
  end
end
return deleted
