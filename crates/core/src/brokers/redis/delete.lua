-- Deletes what is answered, so that the stream's length is what is left to do. Where other groups read it too, it is
-- theirs to cut. To cut off its beginning costs Redis far less than to delete entry by entry; that is done where the
-- first entry is ours, and all up to our last one is answered.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  a_ms, a_seq, b_ms, b_seq = tonumber(a_ms), tonumber(a_seq), tonumber(b_ms), tonumber(b_seq)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end
if #done > 0 and is_alone then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  local pending = redis.call('XPENDING', KEYS[1], group)[2]
  local last = done[#done]
  if first and first[1] == done[1] and (not pending or is_before(last, pending)) then
    redis.call('XTRIM', KEYS[1], 'MINID', '=', last)
    redis.call('XDEL', KEYS[1], last)
  else
    redis.call('XDEL', KEYS[1], unpack(done))
  end
end
return #done
