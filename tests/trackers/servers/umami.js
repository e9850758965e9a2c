import { Umami } from "@umami/node";

const [collector, user, data] = process.argv.slice(2);
const umami = new Umami({ hostUrl: collector, websiteId: "site" });
const page = { id: user, hostname: "shop.example", url: "/a?b=1", title: "Café 🙂", referrer: "https://news.example/a" };
await umami.track({ ...page });
await umami.track({ ...page, name: "order_completed", data: JSON.parse(data) });
