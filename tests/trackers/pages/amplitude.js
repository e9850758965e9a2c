import * as amplitude from "@amplitude/analytics-browser";

export async function start(collector, options) {
  const quiet = { sessions: false, formInteractions: false, fileDownloads: false, elementInteractions: false };
  await amplitude.init("key", {
    serverUrl: `${collector}/2/httpapi`,
    flushIntervalMillis: 100,
    ...options,
    fetchRemoteConfig: false,
    autocapture: { ...quiet, attribution: false, pageViews: true },
  }).promise;
}
export const identify = (user) => {
  amplitude.setUserId(user);
  amplitude.identify(new amplitude.Identify().set("plan", "pro"));
};
export const page = () => undefined; // counts page views by itself
export const track = (name, data) => void amplitude.track(name, data);
export const anonymous = () => amplitude.getDeviceId();
