-- wrk's side: every request is put together from the parts given as arguments, with values drawn anew.
--
--   wrk ... -s ask.lua URL -- SEED WARM_UP_S PART PART ...
--
--   =text        the text as it is; \r \n \\ stand for themselves
--   int:LOW:HIGH a whole number, uniform, both ends included
--   of:a;b;c     one of the words
--   seq:FIRST    FIRST, FIRST + 1, ...
--
-- At the end one line "RESULT {json}" with what wrk counted, times in seconds and milliseconds. "counted" are the
-- requests sent after the warm-up, "window_s" the time they had: each connection has one request under way before
-- and after, so as many were answered as were sent.

local ffi = require "ffi"
ffi.cdef [[
typedef struct { long tv_sec; long tv_nsec; } loadtest_time;
int clock_gettime(int clock, loadtest_time *time);
]]
local monotonic = 1
local read_time = ffi.new("loadtest_time")

local function now()
   ffi.C.clock_gettime(monotonic, read_time)
   return tonumber(read_time.tv_sec) + tonumber(read_time.tv_nsec) / 1e9
end

local escapes = { r = "\r", n = "\n", ["\\"] = "\\" }

local function part(text)
   local kind, rest = text:match("^(%a*)[:=](.*)$")
   if kind == "" then
      local literal = rest:gsub("\\(.)", escapes)
      return function() return literal end
   elseif kind == "int" then
      local low, high = rest:match("^(%d+):(%d+)$")
      low, high = tonumber(low), tonumber(high)
      return function() return math.random(low, high) end
   elseif kind == "of" then
      local words = {}
      for word in rest:gmatch("[^;]+") do words[#words + 1] = word end
      return function() return words[math.random(#words)] end
   elseif kind == "seq" then
      local following = tonumber(rest) - 1
      return function()
         following = following + 1
         return string.format("%d", following)
      end
   end
   error("no such part: " .. text)
end

local threads = {}

function setup(thread)
   threads[#threads + 1] = thread
end

local parts, pieces = {}, {}
-- globals of the thread, which done() reads from outside
counted, begin = 0, 0

function init(arguments)
   math.randomseed(tonumber(arguments[1]))
   for place = 3, #arguments do parts[place - 2] = part(arguments[place]) end
   begin = now() + tonumber(arguments[2])
end

function request()
   if now() >= begin then counted = counted + 1 end
   for place = 1, #parts do pieces[place] = parts[place]() end
   return table.concat(pieces)
end

function done(summary, latency, _)
   local errors, all, begun = summary.errors, 0, 0
   for _, thread in ipairs(threads) do
      all = all + thread:get("counted")
      begun = thread:get("begin")
   end
   io.write(string.format(
      'RESULT {"requests":%d,"seconds":%.6f,"counted":%d,"window_s":%.6f,"bytes":%d,'
         .. '"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,'
         .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
      summary.requests, summary.duration / 1e6, all, now() - begun, summary.bytes,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
