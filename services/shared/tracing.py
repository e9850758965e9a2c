"""Traces: which way one pack went, and where its time was. Off unless OpenTelemetry's variables name a receiver.

A span is one step of a pack. The steps of three services are one trace because messages carry the attribute
`traceparent`. The SDK and its exporter are imported only where tracing is on, and `on` guards what would cost a
request anything.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind

from services import __version__
from services.shared import log
from services.shared.config import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

MAX_LINKS = 32  # of a span, besides its parent
HEADER = "traceparent"  # of a request, and the attribute of a message
_QUEUE = 2_048  # spans that wait to be sent; more are dropped
_STOP_SECONDS = 2.0  # for what waits when the process ends
_URLS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_KINDS = ("always_on", "always_off", "traceidratio")
_SAMPLERS = (*_KINDS, *(f"parentbased_{kind}" for kind in _KINDS))
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Trace = SpanContext  # of a step: which trace it is part of, and which step
Kind = SpanKind

on = False  # set by start() and stop() alone
_tracer: trace.Tracer | None = None
_provider: TracerProvider | None = None
_project = ""

_log = log.get("tracing")


class Span:
    """One step. Where tracing is off, or the trace is not sampled, it is NONE and keeps nothing."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.context: SpanContext | None = context if context.is_valid and context.trace_flags.sampled else None

    def note(self, **values: str | int) -> None:
        for name, value in values.items():
            self._span.set_attribute(f"pixelpipe.{name}", value)

    def fail(self, text: str) -> None:
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, text[:1_000]))

    def end(self) -> None:
        self._span.end()


NONE = Span(trace.INVALID_SPAN)
_NOTHING: AbstractContextManager[Span] = nullcontext(NONE)
_current: ContextVar[Span] = ContextVar("span", default=NONE)


def start(service: str, project: str, environ: Mapping[str, str]) -> None:
    """Turn tracing on if the environment says so. Raises ConfigError naming every setting that is wrong."""
    global on, _tracer, _provider, _project
    url = _endpoint(environ)
    if url is None or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if errors := [*wrong(environ)]:
        raise ConfigError("\n".join(errors))
    _provider = _started(service, url, environ)
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
    found = _PARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(flags, 16) & trace.TraceFlags.SAMPLED:
        return None
    context = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    return context if context.is_valid else None


def carried(attributes: Mapping[str, str]) -> list[SpanContext]:
    """The span that published a message, as parent of the next step; nothing where its trace is not sampled."""
    header = attributes.get(HEADER) if on else None
    context = parse(header) if header else None
    return [] if context is None else [context]


def carry() -> dict[str, str]:
    """The attributes that make a message go on with the trace of this step."""
    context = _current.get().context
    if context is None:
        return {}
    return {HEADER: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


def together(spans: Iterable[Span]) -> list[SpanContext]:
    """What a step has before it that is done for many at once: each of the spans once, as many as it can name."""
    found: dict[int, SpanContext] = {}
    for one in spans:
        if one.context is not None:
            found[one.context.span_id] = one.context
            if len(found) > MAX_LINKS:
                break
    return list(found.values())


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
    context = Context()
    if before:
        context = trace.set_span_in_context(trace.NonRecordingSpan(before[0]), context)
    links = [trace.Link(other) for other in before[1 : 1 + MAX_LINKS]]
    span = Span(
        _tracer.start_span(name, context, kind=kind, links=links, start_time=time.time_ns() - int(age * 1_000_000_000))
    )
    return span if span.context is not None else NONE


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
    context = _current.get().context
    return _NOTHING if context is None else span(name, [context], kind=kind)


def within(span: Span) -> AbstractContextManager[Span]:
    """Go on with a step that began elsewhere, without ending it."""
    return _NOTHING if span.context is None else _inside(span, span.context)


@contextmanager
def _inside(span: Span, context: SpanContext) -> Iterator[Span]:
    token = _current.set(span)
    fields: dict[str, Any] = {
        "logging.googleapis.com/trace": f"projects/{_project}/traces/{context.trace_id:032x}",
        "logging.googleapis.com/spanId": f"{context.span_id:016x}",
        "logging.googleapis.com/trace_sampled": True,
    }
    try:
        with structlog.contextvars.bound_contextvars(**fields):
            yield span
    finally:
        _current.reset(token)


@contextmanager
def _whole(span: Span) -> Iterator[Span]:
    try:
        with within(span):
            yield span
    except BaseException as error:
        span.fail(repr(error))
        raise
    finally:
        span.end()


def _endpoint(environ: Mapping[str, str]) -> str | None:
    """Where spans are posted to; the general variable names what `/v1/traces` is under."""
    own, general = (environ.get(name, "").strip() for name in _URLS)
    return own or (f"{general.rstrip('/')}/v1/traces" if general else None)


def wrong(environ: Mapping[str, str]) -> Iterator[str]:
    """One line for each setting that is."""
    for name in _URLS:
        if (url := environ.get(name, "").strip()) and not _is_url(url):
            yield f"{name}={url!r}: use the URL of an OTLP receiver, such as http://collector.tracing:4318"
    for name in _PROTOCOLS:
        if (protocol := environ.get(name, "").strip()) not in ("", _PROTOCOL):
            yield f"{name}={protocol!r}: only {_PROTOCOL} is spoken; unset it and name the receiver's HTTP port"
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if sampler and sampler not in _SAMPLERS:
        yield f"OTEL_TRACES_SAMPLER={sampler!r}: use one of {', '.join(_SAMPLERS)}"
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if argument and sampler.endswith("traceidratio") and not _is_ratio(argument):
        yield f"OTEL_TRACES_SAMPLER_ARG={argument!r}: use a number from 0 to 1, the part of packs that is traced"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        return False


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _sampler(environ: Mapping[str, str]) -> Sampler:
    from opentelemetry.sdk.trace import sampling

    name = environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    kind = name.removeprefix("parentbased_")
    sampler: Sampler
    if kind == "traceidratio":
        sampler = sampling.TraceIdRatioBased(float(environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or 1))
    else:
        sampler = sampling.ALWAYS_ON if kind == "always_on" else sampling.ALWAYS_OFF
    return sampling.ParentBased(sampler) if name != kind else sampler


def _started(service: str, url: str, environ: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.name": environ.get("OTEL_SERVICE_NAME", "").strip() or f"pixelpipe-{service}"}
    said = _Said()
    try:
        exporter = _telling(OTLPSpanExporter(endpoint=url), said, urlsplit(url).netloc.rpartition("@")[2])
        processor = BatchSpanProcessor(exporter, max_queue_size=_QUEUE, max_export_batch_size=_QUEUE // 4)
    except (ValueError, OSError) as error:  # of variables that are read there, such as timeouts and certificates
        raise ConfigError(f"OTEL_EXPORTER_OTLP_*, OTEL_BSP_*: {error}; correct or unset it") from error
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [said], False
    provider = TracerProvider(
        _sampler(environ),
        Resource.create({**named, "service.version": __version__}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return provider


class _Said(logging.Handler):
    """What the libraries say while spans are sent, instead of a line of the log each: the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()


def _telling(exporter: SpanExporter, said: _Said, receiver: str) -> SpanExporter:
    """The exporter, with a line in the log when spans cannot be sent any more, and when they can again."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Telling(SpanExporter):
        works = True

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            said.first = ""
            try:
                result = exporter.export(spans)
            except Exception as error:  # noqa: BLE001 - traces must not end anything; the line below says it
                said.first, result = repr(error), SpanExportResult.FAILURE
            works = result is SpanExportResult.SUCCESS
            if self.works and not works:
                _log.warning("traces cannot be sent and are dropped", receiver=receiver, error=said.first[:500])
            elif works and not self.works:
                _log.info("traces are sent again", receiver=receiver)
            self.works = works
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Telling()
