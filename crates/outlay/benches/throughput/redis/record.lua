-- What a good engineer writes by hand in Redis in place of Outlay: records operations, each once, keeps its user's month and
-- the day's breakdown, appends it to a stream, and answers what is used of which limits. A script is one transaction here.
-- What it leaves out of what Outlay does: holds, sessions, alerts, overrides of limits, sums over all users, events, checksums,
-- and whatever the memory does not hold. Costs are nanodollars: Redis's Lua has only doubles.
--
-- ARGV: month, day, time in milliseconds; then of each operation: user, id, type (a or p), feature, provider, model, cost, and
-- 1 if it is a run.
-- Answers how many are new, and of the last one: used cost, AI runs, API runs; their limits, -1 if there is none; 1 if one of them is exceeded.

local month, day, at = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local fresh, used, limits = 0, nil, nil

for first = 4, #ARGV, 8 do
  local user, id, kind, feature, provider, model, cost, runs = unpack(ARGV, first, first + 7)
  local month_key = 'month:' .. month .. ':' .. user
  if call('HSETNX', 'operations:' .. user, id, cost) == 1 then
    fresh = fresh + 1
    call('HINCRBY', month_key, 'cost', cost)
    call('HINCRBY', month_key, kind == 'a' and 'aiRuns' or 'apiRuns', runs)
    call('HINCRBY', month_key, 'operations', 1)
    local day_key = 'day:' .. day .. ':' .. user
    local what = kind .. '|' .. feature .. '|' .. provider .. '|' .. model
    call('HINCRBY', day_key, what .. '|cost', cost)
    call('HINCRBY', day_key, what .. '|operations', 1)
    call('XADD', 'operations', '*', 'user', user, 'id', id, 'at', at, 'type', kind, 'feature', feature, 'provider', provider,
      'model', model, 'cost', cost, 'runs', runs)
  end
  used = call('HMGET', month_key, 'cost', 'aiRuns', 'apiRuns')
  local plan = call('HGET', 'plans', user) or 'base'
  limits = call('HMGET', 'plan:' .. plan, 'cost', 'aiRuns', 'apiRuns')
end

local exceeded = 0
for meter = 1, 3 do
  if limits[meter] and tonumber(used[meter] or 0) > tonumber(limits[meter]) then exceeded = 1 end
end
return { fresh, used[1] or 0, used[2] or 0, used[3] or 0, limits[1] or -1, limits[2] or -1, limits[3] or -1, exceeded }
