"""Traces: the path one pack took, and where its time went. Off unless OpenTelemetry's variables name a receiver.

A span is one step of a pack. The steps of three services are one trace because messages carry the attribute
`traceparent`. What the variables say is read by OpenTelemetry's SDK, which is imported only where tracing is on; what
the SDK would silently replace by a default is refused here.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services import __version__
from services.shared.config import ConfigError, shown

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MAX_LINKS = 32  # of a span, besides its parent
HEADER = "traceparent"  # of a request, and the attribute of a message
_STOP_SECONDS = 2.0  # for what waits when the process ends
_URL = (
    r"https?://([^\s/@]+@)?([\w.-]+|\[[\da-fA-F:]+\])(:[1-6]?\d{1,4})?(/\S*)?",
    "use the URL of an OTLP receiver, such as http://collector.tracing:4318",
)
_PROTOCOL = "http/protobuf", "only http/protobuf is spoken; unset it and name the receiver's HTTP port"
_CHECKS = {
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _URL,
    "OTEL_EXPORTER_OTLP_ENDPOINT": _URL,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _PROTOCOL,
    "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOL,
    "OTEL_TRACES_SAMPLER": (
        "(parentbased_)?(always_on|always_off|traceidratio)",
        "use one of always_on, always_off, traceidratio, or of these with parentbased_ before it",
    ),
    "OTEL_TRACES_SAMPLER_ARG": (
        r"[01](\.0*)?|0?\.\d+|\d(\.\d+)?e-\d+",
        "use a number from 0 to 1, the part of packs that is traced",
    ),
}
_W3C = TraceContextTextMapPropagator()

Trace = SpanContext  # of a step: which trace it is part of, and which step
Kind = SpanKind

on = False  # set by start() and stop() alone
_tracer: trace.Tracer | None = None
_provider: TracerProvider | None = None
_project = ""


class Span:
    """One step. If tracing is off or the trace is not sampled, it is NONE and records nothing."""

    __slots__ = ("context", "span")

    def __init__(self, span: trace.Span) -> None:
        self.span, self.context = span, span.get_span_context()

    def note(self, **values: str | int) -> None:
        for name, value in values.items():
            self.span.set_attribute(f"pixelpipe.{name}", value)

    def fail(self, text: str) -> None:
        self.span.set_status(trace.Status(trace.StatusCode.ERROR, text[:1_000]))

    def end(self) -> None:
        self.span.end()


NONE = Span(trace.INVALID_SPAN)
_NOTHING: AbstractContextManager[Span] = nullcontext(NONE)


def start(service: str, project: str) -> None:
    """Turn tracing on if the environment says so. Raises ConfigError naming every setting that is wrong."""
    global on, _tracer, _provider, _project
    values = {name: value for name in _CHECKS if (value := os.environ.get(name))}
    url = next((values[name] for name in _CHECKS if name.endswith("_ENDPOINT") and name in values), None)
    if url is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    wrong = {name: value for name, value in values.items() if not re.fullmatch(_CHECKS[name][0], value)}
    if wrong:
        raise ConfigError("\n".join(f"{name}={shown(value)}: {_CHECKS[name][1]}" for name, value in wrong.items()))
    from services.shared import trace_export

    _provider = trace_export.provider(service, urlsplit(url).netloc.rpartition("@")[2])
    _tracer = _provider.get_tracer("pixelpipe", __version__)
    _project = project
    on = True


def stop() -> None:
    """Send what waits, as far as the receiver takes it in time, and turn tracing off."""
    global on, _tracer, _provider
    if _provider is None:
        return
    # The SDK itself would wait for half a minute. What is not sent by then is lost: traces are worth no more.
    ending = threading.Thread(target=_provider.shutdown, name="tracing", daemon=True)
    ending.start()
    ending.join(_STOP_SECONDS)
    on, _tracer, _provider = False, None, None


def parse(header: str) -> SpanContext | None:
    """The span a W3C `traceparent` names if its trace is sampled; None for any other, and for what is malformed."""
    context = trace.get_current_span(_W3C.extract({HEADER: header}, Context())).get_span_context()
    return context if context.trace_flags.sampled else None


def carried(attributes: Mapping[str, str]) -> list[SpanContext]:
    """The span that published a message, as parent of the next step; nothing where its trace is not sampled."""
    context = parse(attributes[HEADER]) if on and HEADER in attributes else None
    return [] if context is None else [context]


def carry() -> dict[str, str]:
    """The attributes that make a message go on with the trace of this step."""
    attributes: dict[str, str] = {}
    if on:
        _W3C.inject(attributes)
    return attributes


def together(spans: Iterable[Span]) -> list[SpanContext]:
    """What a step has before it that is done for many at once: each of the spans once, as many as it can name."""
    found = {one.context.span_id: one.context for one in spans if one is not NONE}
    return list(found.values())[: 1 + MAX_LINKS]


def begin(
    name: str,
    before: Sequence[SpanContext],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    age: float = 0.0,
    root: bool = False,
) -> Span:
    """A step that began `age` seconds ago: child of the first span before it, linked to the others; `end()` it.

    Without one it is NONE, unless it may be the first of a trace, for the sampler to decide.
    """
    if _tracer is None or not (before or root):
        return NONE
    context = trace.set_span_in_context(trace.NonRecordingSpan(before[0]) if before else trace.INVALID_SPAN, Context())
    links = [trace.Link(other) for other in before[1 : 1 + MAX_LINKS]]
    began = time.time_ns() - int(age * 1_000_000_000)
    span = Span(_tracer.start_span(name, context, kind=kind, links=links, start_time=began))
    return span if span.context.trace_flags.sampled else NONE


def span(
    name: str,
    before: Sequence[SpanContext],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    age: float = 0.0,
    root: bool = False,
) -> AbstractContextManager[Span]:
    """The same as a context, in which log lines name the trace and messages carry it on."""
    begun = begin(name, before, kind=kind, age=age, root=root)
    return _NOTHING if begun is NONE else _whole(begun)


def step(name: str, *, kind: SpanKind = SpanKind.INTERNAL) -> AbstractContextManager[Span]:
    """A part of the step this is called in."""
    if not on:
        return _NOTHING
    context = trace.get_current_span().get_span_context()
    return span(name, [context] if context.is_valid else [], kind=kind)


def within(span: Span) -> AbstractContextManager[Span]:
    """Go on with a step that began elsewhere, without ending it."""
    return _NOTHING if span is NONE else _inside(span)


@contextmanager
def _whole(span: Span) -> Iterator[Span]:
    with _inside(span):
        try:
            yield span
        except BaseException as error:
            span.fail(repr(error))
            raise
        finally:
            span.end()


@contextmanager
def _inside(span: Span) -> Iterator[Span]:
    fields = {
        "logging.googleapis.com/trace": f"projects/{_project}/traces/{span.context.trace_id:032x}",
        "logging.googleapis.com/spanId": f"{span.context.span_id:016x}",
        "logging.googleapis.com/trace_sampled": True,
    }
    current = trace.use_span(span.span, record_exception=False, set_status_on_exception=False)
    with current, structlog.contextvars.bound_contextvars(**fields):
        yield span
