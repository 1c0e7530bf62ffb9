-- The four queries as a careful team would write them on Redis. Keys:
--
--   p:ID       a row as JSON
--   u:UID      sorted set of the user's ids, by id
--   k:IDTYPE   sorted set of the type's ids, by dateline; members have ten digits, so that rows of one second are
--              in the order of their keys
--
-- One round trip a request: a plain command where one is enough, else a script that is kept by Redis (EVALSHA) and
-- returns rows joined already. Connections are pooled; when all are taken a request waits for one instead of
-- opening another. The order by dateline equals the order by key because dates rise with keys in these rows; where they
-- do not, Redis would need another set for each order.

local redis = require "nginx.redis"

local lists = {}
-- 16, 64, 256 and 1,000 were tried: more than this gain nothing, since Redis is one thread on the same core
local pool = { pool_size = 64, backlog = 100000 }
local keep_ms = 60000
local timeout_ms = 60000

local function script(text)
   local digest = ngx.sha1_bin(text)
   local hex = digest:gsub(".", function(byte) return string.format("%02x", string.byte(byte)) end)
   return { text = text, sha = hex }
end

local newest_of_user = script [[
local ids = redis.call('ZREVRANGE', KEYS[1], 0, 0)
if #ids == 0 then return '' end
return redis.call('GET', 'p:' .. ids[1])
]]

local compound = script [[
local ids = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[1], 'LIMIT', 0, 10)
if #ids == 0 then return '' end
for place = 1, #ids do ids[place] = string.format('p:%d', ids[place]) end
return table.concat(redis.call('MGET', unpack(ids)), ',')
]]

local function fail(what)
   ngx.status = 503
   ngx.log(ngx.ERR, what)
   return ngx.exit(503)
end

local function connected()
   local client = redis:new()
   client:set_timeout(timeout_ms)
   local ok, problem = client:connect(lists.socket, pool)
   if not ok then return nil, problem end
   return client
end

local function send(body)
   ngx.header.content_length = #body
   ngx.print(body)
end

local function run(client, code, key, value)
   local found, problem = client:evalsha(code.sha, 1, key, value or "")
   if found == false and problem:find("NOSCRIPT", 1, true) then
      found, problem = client:eval(code.text, 1, key, value or "")
   end
   return found, problem
end

local function answer(ask, wrap)
   local client, problem = connected()
   if not client then return fail(problem) end
   local found
   found, problem = ask(client)
   if not found then
      client:close()
      return fail(problem)
   end
   client:set_keepalive(keep_ms)
   if found == ngx.null then found = "" end
   send(wrap(found))
end

local function rows(text) return '{"rows":[' .. text .. "]}" end
local function count(number) return '{"count":' .. number .. "}" end

function lists.by_key()
   local id = ngx.var.arg_id
   return answer(function(client) return client:get("p:" .. id) end, rows)
end

function lists.newest_of_user()
   local key = "u:" .. ngx.var.arg_uid
   return answer(function(client) return run(client, newest_of_user, key) end, rows)
end

function lists.compound()
   local key, since = "k:" .. ngx.var.arg_idtype, ngx.var.arg_since
   return answer(function(client) return run(client, compound, key, since) end, rows)
end

function lists.count()
   local key, since = "k:" .. ngx.var.arg_idtype, ngx.var.arg_since
   return answer(function(client) return client:zcount(key, since, "+inf") end, count)
end

return lists
