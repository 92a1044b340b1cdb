-- wrk script: requests whose seeds never repeat, and a summary as one line of JSON.
--
--   wrk ... -s load.lua URL -- HEAD BODY COUNT FIRST
--
-- HEAD and BODY: templates as in http_client.py. COUNT: seeds in a request. FIRST: the first seed.

local head, body, count, seed

function init(args)
  head, body, count, seed = args[1], args[2], tonumber(args[3]), tonumber(args[4])
end

function request()
  local numbers = {}
  for i = 1, count do
    numbers[i] = string.format("%d", seed)
    seed = seed + 1
  end
  local list = table.concat(numbers, ",")
  local first_lines = string.gsub(head, "SEEDS", list)
  if body == "" then
    return first_lines .. "\r\n"
  end
  local content = string.gsub(body, "SEEDS", list)
  return first_lines .. "Content-Length: " .. #content .. "\r\n\r\n" .. content
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "error_status": %d, "broken": %d}\n',
    summary.requests,
    summary.duration / 1e6,
    latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
