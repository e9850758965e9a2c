-- Batches as servers post them: 100 events a request, one a line; 200 different ones in turn, made before the first.

local COUNT, EVENTS = 200, 100
local posts = {}
local at = 0

local function hex(bytes)
  local parts = {}
  for n = 1, bytes do parts[n] = string.format("%02x", math.random(0, 255)) end
  return table.concat(parts)
end

local function event()
  return string.format(
    '{"user_id":"%s","order_id":"%s","type":"view","tenant":"shop%d","url":"https://shop.example.com/p/%d",'
    .. '"session":"%s","screen":"1920x1080","price":%d.%02d,"note":"caf\195\169 au lait","n":%d}',
    hex(12), hex(5), math.random(20), math.random(5000), hex(8), math.random(500), math.random(0, 99), math.random(1000))
end

function init(args)
  math.randomseed(7)
  for n = 1, COUNT do
    local events = {}
    for m = 1, EVENTS do events[m] = event() end
    posts[n] = wrk.format("POST", "/events", {
      ["User-Agent"] = "shop-server/4.2 (+https://shop.example.com/about) okhttp/4.12.0",
      ["Content-Type"] = "application/x-ndjson",
    }, table.concat(events, "\n"))
  end
end

function request()
  at = at % COUNT + 1
  return posts[at]
end
