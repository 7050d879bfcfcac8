-- Number the threads, and print the figures of a run in one line: requests, microseconds, p50, p99 and p99.9 in
-- microseconds, and errors. wrk itself prints no p99.9.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  for _, thread in ipairs(threads) do
    -- Replies whose status is no error, but whose content is.
    failed = failed + (thread:get("refused") or 0)
  end
  io.write(string.format(
    "figures: %d %d %d %d %d %d\n",
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), failed
  ))
end
