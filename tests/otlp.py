"""A receiver of OTLP over HTTP, as a trace backend is one, on a free port of the loopback interface."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from services.shared import tracing
from tests.process import wait_for


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]  # ids of spans
    attributes: dict[str, str]
    failed: str
    seconds: float


@dataclass
class Receiver:
    port: int
    spans: list[Span] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]

    def wait_for(self, trace: str, *names: str) -> None:
        """Return when the trace has spans of all these names."""
        wait_for(
            lambda: set(names) <= {span.name for span in self.of(trace)}, 30, f"the spans {names} of the trace {trace}"
        )

    def wait(self, trace: str, *names: str) -> dict[str, Span]:
        """The spans of a trace by name, once each name has come; a repeated one is an error."""
        self.wait_for(trace, *names)
        found = {span.name: span for span in self.of(trace)}
        assert len(found) == len(self.of(trace)), self.of(trace)
        return found


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            receiver.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Requests are looked at, not printed."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="otlp", daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def traced(service: str, **environ: str) -> Iterator[Receiver]:
    """Tracing is on in this process, with these variables, and sent to the receiver given."""
    with receiving() as receiver, pytest.MonkeyPatch.context() as patch:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **environ}
        for name, value in variables.items():
            patch.setenv(name, value)
        tracing.start(service, "a-project")
        try:
            yield receiver
        finally:
            tracing.stop()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        named = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for one in scope.spans:
                yield Span(
                    named["service.name"],
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    tuple(link.span_id.hex() for link in one.links),
                    {item.key: item.value.string_value or str(item.value.int_value) for item in one.attributes},
                    one.status.message,
                    (one.end_time_unix_nano - one.start_time_unix_nano) / 1e9,
                )
