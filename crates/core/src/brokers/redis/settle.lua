-- Publishes replies and dead letters and acknowledges their requests, all at once.
-- KEYS: requests, replies, unprocessable, failed, then names that requests asked for.
-- ARGV: group, prefix of the keys of chosen ids, their time to live in ms; then for each message its id, the id its sender
-- chose or nothing, the place of its reply in KEYS, the number of the reply's fields and values, these, and the same
-- three for a dead letter, whose place is 0 where there is none. Ids ascend.
local group, prefix, ttl = ARGV[1], ARGV[2], ARGV[3]
-- What asks for a name that holds something else is answered where all replies are.
local place = {}
for k = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[k]).ok
  place[k] = (kind == 'none' or kind == 'stream') and KEYS[k] or KEYS[2]
end
local is_alone = #redis.call('XINFO', 'GROUPS', KEYS[1]) == 1
local done = {}
local at = 4
while at <= #ARGV do
  local id, chosen, to, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local dead, m = tonumber(ARGV[at + 4 + n]), tonumber(ARGV[at + 5 + n])
  -- Whoever acknowledges answers: what another server has answered is not pending any more.
  if redis.call('XACK', KEYS[1], group, id) == 1 then
    done[#done + 1] = id
    if chosen == '' or redis.call('SET', prefix .. chosen, id, 'NX', 'PX', ttl) then
      redis.call('XADD', place[to], '*', unpack(ARGV, at + 4, at + 3 + n))
      if dead > 0 then
        redis.call('XADD', place[dead], '*', unpack(ARGV, at + 6 + n, at + 5 + n + m))
      end
    end
  end
  at = at + 6 + n + m
end
