"""Sends spans to the receiver that OpenTelemetry's variables name. Imported only where tracing is on."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from services import __version__
from services.shared import log
from services.shared.config import ConfigError

_log = log.get("tracing")


def provider(service: str, receiver: str) -> TracerProvider:
    """What the variables say; the log calls the host that spans go to `receiver`. Raises ConfigError."""
    name = os.environ.get("OTEL_SERVICE_NAME") or f"pixelpipe-{service}"
    found = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__}), shutdown_on_exit=False
    )
    try:
        found.add_span_processor(BatchSpanProcessor(_Exporter(receiver)))
    except (ValueError, OSError) as error:  # such as a timeout, or a certificate's file
        raise ConfigError(f"OTEL_EXPORTER_OTLP_*, OTEL_BSP_*: {error}; correct or unset it") from error
    return found


class _Exporter(OTLPSpanExporter):
    """Logs when spans can no longer be sent, and when they can again."""

    def __init__(self, receiver: str) -> None:
        super().__init__()
        self._receiver, self._works, self._said = receiver, True, _Said()
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [self._said], False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._said.first = ""
        try:
            result = super().export(spans)
        except Exception as error:  # noqa: BLE001 - traces must not end anything; the line below says it
            self._said.first, result = repr(error), SpanExportResult.FAILURE
        works = result is SpanExportResult.SUCCESS
        if self._works and not works:
            why = self._said.first[:500]
            _log.warning("traces cannot be sent and are dropped", receiver=self._receiver, error=why)
        elif works and not self._works:
            _log.info("traces are sent again", receiver=self._receiver)
        self._works = works
        return result


class _Said(logging.Handler):
    """What the libraries say while spans are sent, instead of a line of the log each: the first of it."""

    first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()
