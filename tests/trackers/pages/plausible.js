import * as plausible from "@plausible-analytics/tracker";

export function start(collector) {
  plausible.init({
    domain: "shop.example",
    endpoint: `${collector}/api/event`,
    captureOnLocalhost: true,
    autoCapturePageviews: true,
  });
}
export const identify = () => undefined;
export const page = () => undefined; // counts page views by itself
export const track = (name, props) => plausible.track(name, { props });
export const anonymous = () => null;
