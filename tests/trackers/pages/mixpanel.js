import mixpanel from "mixpanel-browser";

export function start(collector, options) {
  mixpanel.init("token", {
    api_host: collector,
    persistence: "localStorage",
    batch_flush_interval_ms: 250,
    ...options,
  });
}
export const identify = (user) => mixpanel.identify(user);
export const page = () => mixpanel.track_pageview();
export const track = (name, data) => void mixpanel.track(name, data);
export const anonymous = () => mixpanel.get_property("$device_id");
