-- Posts made beforehand, each a line of the file given, in turn: wrk … -- PATH CONTENT-TYPE FILE

local posts = {}
local at = 0

function init(args)
  for body in io.lines(args[3]) do
    posts[#posts + 1] = wrk.format("POST", args[1], {
      ["User-Agent"] = "shop-server/4.2 (+https://shop.example.com/about) okhttp/4.12.0",
      ["Content-Type"] = args[2],
    }, body)
  end
end

function request()
  at = at % #posts + 1
  return posts[at]
end
