-- wrk's side: every request is put together from the parts given as arguments, with values drawn anew.
--
--   wrk ... -s ask.lua URL -- SEED PART PART ...
--
--   =text        the text as it is; \r \n \\ stand for themselves
--   int:LOW:HIGH a whole number, uniform, both ends included
--   of:a,b,c     one of the words
--   seq:FIRST    FIRST, FIRST + 1, ...
--
-- At the end one line "RESULT {json}" with what wrk counted, times in seconds and milliseconds.

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
      for word in rest:gmatch("[^,]+") do words[#words + 1] = word end
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

local parts, pieces = {}, {}

function init(arguments)
   math.randomseed(tonumber(arguments[1]))
   for place = 2, #arguments do parts[place - 1] = part(arguments[place]) end
end

function request()
   for place = 1, #parts do pieces[place] = parts[place]() end
   return table.concat(pieces)
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests":%d,"seconds":%.6f,"bytes":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,'
         .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
