-- Send the requests of a file, in its order and again from its beginning: wrk -s replay.lua URL -- FILE THREADS
-- A line is METHOD, PATH, HEADER ("Name: value" or nothing) and BODY, separated by tabs. Threads share the lines.
require "summary"

function init(args)
  local threads = tonumber(args[2])
  local line_number = 0
  requests, sent = {}, 0
  for line in io.lines(args[1]) do
    if line_number % threads == number then
      local method, path, header, body = line:match("^(%S+)\t(%S+)\t([^\t]*)\t(.*)$")
      local name, value = header:match("^(%S+): (.+)$")
      local headers = name and { [name] = value } or {}
      if body ~= "" then
        headers["Content-Type"] = "application/json"
      end
      requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
    end
    line_number = line_number + 1
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end
