import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";

const analytics = new RudderAnalytics();

export async function start(collector, { beacon, batch }) {
  const queueOptions = batch && { batch: { enabled: true, maxItems: 3, flushInterval: 300 } };
  const queues = { queueOptions, beaconQueueOptions: { flushQueueInterval: 250 } };
  analytics.load("key", collector, { configUrl: collector, useBeacon: beacon, sendAdblockPage: false, ...queues });
  await new Promise((ready) => analytics.ready(ready));
}
export const identify = (user) => analytics.identify(user, { plan: "pro" });
export const page = () => analytics.page();
export const track = (name, data) => analytics.track(name, data);
export const anonymous = () => analytics.getAnonymousId();
