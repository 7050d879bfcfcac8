-- Fetch the secrets listed in a file, one per line: wrk -s fetch.lua URL -- METHOD PATH BODY FILE [HEADER VALUE]
-- In PATH and BODY, NAME stands for the line.
require "summary"

function init(args)
  local method, path, body = args[1], args[2], args[3]
  local headers = { ["Content-Type"] = "application/json" }
  if args[5] then
    headers[args[5]] = args[6]
  end
  math.randomseed(number + 1)
  requests = {}
  for name in io.lines(args[4]) do
    local filled = body ~= "" and body:gsub("NAME", name) or nil
    requests[#requests + 1] = wrk.format(method, (path:gsub("NAME", name)), headers, filled)
  end
end

function request()
  return requests[math.random(#requests)]
end
