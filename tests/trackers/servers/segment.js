import { Analytics } from "@segment/analytics-node";

const [collector, user, data] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: "key", host: collector, flushInterval: 100 });
const context = { page: { url: "https://shop.example/a?b=1", title: "Café 🙂", referrer: "https://news.example/a" } };
analytics.identify({ userId: user, traits: { plan: "pro" } });
analytics.track({ userId: user, anonymousId: "device-1", event: "order_completed", properties: JSON.parse(data), context });
analytics.page({ userId: user, name: "home", context });
await analytics.closeAndFlush();
