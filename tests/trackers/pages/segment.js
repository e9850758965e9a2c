import { AnalyticsBrowser } from "@segment/analytics-next";

let analytics;

export async function start(collector, { batch }) {
  const api = { apiHost: `${new URL(collector).host}/v1`, protocol: "http" };
  const config = batch ? { size: 3, timeout: 300 } : { keepalive: true };
  const delivery = { deliveryStrategy: { strategy: batch ? "batching" : "standard", config } };
  analytics = AnalyticsBrowser.load(
    { writeKey: "key", cdnURL: collector },
    { integrations: { "Segment.io": { ...api, ...delivery } } },
  );
  await analytics.ready();
}
export const identify = (user) => analytics.identify(user, { plan: "pro" });
export const page = () => analytics.page();
export const track = (name, data) => void analytics.track(name, data);
export const anonymous = async () => (await analytics.user()).anonymousId();
