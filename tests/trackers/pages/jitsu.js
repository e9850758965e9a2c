import { jitsuAnalytics } from "@jitsu/js";

let analytics;

export function start(collector) {
  analytics = jitsuAnalytics({ host: collector, writeKey: "id:secret" });
}
export const identify = (user) => analytics.identify(user, { plan: "pro" });
export const page = () => analytics.page();
export const track = (name, data) => void analytics.track(name, data);
export const anonymous = () => analytics.user().anonymousId;
