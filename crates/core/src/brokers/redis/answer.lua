-- Publishes replies that differ in id and body only, and acknowledges their requests: what `settle.lua` does, for less.
-- KEYS: requests, replies.
-- ARGV: group, the number of fields and values that all replies have, these; then MessagePack lists, which cost less than as
-- many arguments: the requests' ids, what their replies are told by (empty where that is the ids), and the replies' bodies.
-- Ids ascend.
local group, n = ARGV[1], tonumber(ARGV[2])
local same = {}
for i = 1, n do
  same[i] = ARGV[2 + i]
end
local ids, told, bodies = cmsgpack.unpack(ARGV[3 + n]), cmsgpack.unpack(ARGV[4 + n]), cmsgpack.unpack(ARGV[5 + n])
if #told == 0 then
  told = ids
end
local is_alone = #redis.call('XINFO', 'GROUPS', KEYS[1]) == 1
local are_ours = is_alone and redis.call('XACK', KEYS[1], group, unpack(ids)) == #ids
-- Whoever acknowledges answers. What another server has answered is not pending any more, and gone where it could be deleted.
local function is_ours(id)
  if is_alone then
    return #redis.call('XRANGE', KEYS[1], id, id) == 1
  end
  return redis.call('XACK', KEYS[1], group, id) == 1
end
local done = {}
for i, id in ipairs(ids) do
  if are_ours or is_ours(id) then
    done[#done + 1] = id
    redis.call('XADD', KEYS[2], '*', 'correlation-id', told[i], 'body', bodies[i], unpack(same))
  end
end
