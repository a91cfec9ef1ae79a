-- Publishes replies that differ in id and body only, and acknowledges their requests: what `settle.lua` does, for less.
-- KEYS: requests, replies.
-- ARGV: group, the number of fields and values that all replies have, these; then for each message its id, the id that its
-- reply is told by, and the reply's body. Ids ascend.
local group, n = ARGV[1], tonumber(ARGV[2])
local same = {}
for i = 1, n do
  same[i] = ARGV[2 + i]
end
local done = {}
for at = 3 + n, #ARGV, 3 do
  if redis.call('XACK', KEYS[1], group, ARGV[at]) == 1 then
    done[#done + 1] = ARGV[at]
    redis.call('XADD', KEYS[2], '*', 'correlation-id', ARGV[at + 1], 'body', ARGV[at + 2], unpack(same))
  end
end
