import posthog from "posthog-js";

let device;

export function start(collector, { plain }) {
  posthog.init("phc_key", {
    api_host: collector,
    disable_compression: plain,
    disable_session_recording: true,
    request_queue_config: { flush_interval_ms: 250 },
  });
  device = posthog.get_property("$device_id");
}
export const identify = (user) => posthog.identify(user, { plan: "pro" });
export const page = () => undefined; // counts page views by itself
export const track = (name, data) => void posthog.capture(name, data);
export const anonymous = () => device;
