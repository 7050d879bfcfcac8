-- Create the same secret repeatedly: wrk -s create.lua URL -- PATH BODY [HEADER VALUE]
require "summary"

local counter = 0

function init(args)
  path, body = args[1], args[2]
  headers = { ["Content-Type"] = "application/json" }
  if args[3] then
    headers[args[3]] = args[4]
  end
  prefix = number .. "-" .. os.time() .. "-" .. math.floor(os.clock() * 1000000)
end

function request()
  counter = counter + 1
  -- For services where the caller chooses the name.
  local target = path:gsub("NAME", prefix .. "-" .. counter)
  return wrk.format("POST", target, headers, body)
end
