-- Fetch the batches listed in a file, as fetch.lua fetches secrets. A batch that holds a problem is an error.
require "fetch"

refused = 0

function response(status, _, body)
  if status == 200 and body:find('"problem"', 1, true) then
    refused = refused + 1
  end
end
