-- Pixels as browsers fire them: 20,000 different ones in turn, made before the first is sent, about 500 bytes each.

local COUNT = 20000
local hits = {}
local at = 0

local function hex(bytes)
  local parts = {}
  for n = 1, bytes do parts[n] = string.format("%02x", math.random(0, 255)) end
  return table.concat(parts)
end

local function pick(list) return list[math.random(#list)] end

local agents = {
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
  "Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36",
  "Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/140.0",
}

function init(args)
  math.randomseed(7)
  for n = 1, COUNT do
    local query = string.format(
      "user_id=%s&order_id=%s&type=%s&tenant=shop%d&url=https%%3A%%2F%%2Fshop.example.com%%2Fp%%2F%d&screen=%s&n=%d",
      hex(12), hex(5), pick({"view", "view", "click", "order"}), math.random(20), math.random(5000),
      pick({"1920x1080", "390x844"}), math.random(1000))
    hits[n] = wrk.format("GET", "/pixel.gif?" .. query, {
      ["User-Agent"] = string.format(pick(agents), math.random(100, 142)),
      ["Referer"] = "https://shop.example.com/products/" .. math.random(5000),
      ["Accept-Language"] = "en-GB,en;q=0.9",
    })
  end
end

function request()
  at = at % COUNT + 1
  return hits[at]
end
