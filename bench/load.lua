-- The load that bench/wrk.py gives to wrk: raw requests from a file, sent in turn for ever.
--
-- The file's name is the script's only argument.  The file holds, for each request, its length in decimal, a newline and its bytes.
-- At the end one line "RESULT {...}" is printed: counts, microseconds.

local function read_requests(path)
   local file = assert(io.open(path, "rb"))
   local data = file:read("*a")
   file:close()
   local requests, position = {}, 1
   while position <= #data do
      local newline = data:find("\n", position, true)
      local length = tonumber(data:sub(position, newline - 1))
      requests[#requests + 1] = data:sub(newline + 1, newline + length)
      position = newline + length + 1
   end
   return requests
end

function init(args)
   local requests = read_requests(args[1])
   if #requests == 1 then
      -- A constant request is formatted once by wrk and costs it no call of Lua.
      wrk.format = function() return requests[1] end
      return
   end
   local current = 0
   request = function()
      current = current % #requests + 1
      return requests[current]
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format(
      'RESULT {"requests": %d, "duration": %d, "p50": %d, "p99": %d, '
         .. '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
