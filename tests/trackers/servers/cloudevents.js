import { CloudEvent, emitterFor, httpTransport, HTTP, Mode } from "cloudevents";

const [collector, user, data] = process.argv.slice(2);
const source = "https://shop.example/a?b=1";
for (const [type, mode] of [["order_completed", Mode.BINARY], ["order_shipped", Mode.STRUCTURED]]) {
  const emit = emitterFor(httpTransport(`${collector}/events`), { binding: HTTP, mode });
  await emit(new CloudEvent({ type, source, subject: user, data: JSON.parse(data) }));
}
