import * as snowplow from "@snowplow/browser-tracker";

let tracker;

export function start(collector, { get, anonymous }) {
  const settings = {
    appId: "shop",
    eventMethod: get ? "get" : "post",
    anonymousTracking: anonymous ? { withServerAnonymisation: true } : false,
  };
  tracker = snowplow.newTracker("shop", collector, settings);
}
export const identify = (user) => snowplow.setUserId(user);
export const page = () => snowplow.trackPageView();
export const track = (name, data) =>
  snowplow.trackSelfDescribingEvent({ event: { schema: `iglu:com.acme/${name}/jsonschema/1-0-0`, data } });
export const anonymous = () => tracker.getDomainUserId();
