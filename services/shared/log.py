"""Logs: one JSON object per line on stdout, with the field names Cloud Logging reads."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

_SEVERITY = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}
LEVELS = tuple(_SEVERITY)
_SELDOM_SECONDS, _TEXTS = 60.0, 1_000


def _severity(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event["severity"] = _SEVERITY.get(event.pop("level", "info"), "ERROR")
    return event


def _json(event: EventDict, **_options: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a file that is not UTF-8
        return json.dumps(event, default=repr)


class _Seldom(logging.Filter):
    """Lets a library log the same thing, by its logger and its text, once in so many seconds.

    In an outage a client library may log a line, and a traceback, for every call.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        what, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._said.get(what, float("-inf")) + self._seconds:
            return False
        if len(self._said) >= _TEXTS:
            self._said.clear()
        self._said[what] = now
        return True


class _Stdout:
    """Whatever `sys.stdout` is when a line is written: loggers outlive one that was replaced and closed."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def start(service: str, level: str = "info") -> None:
    """Set up structlog and the standard library's loggers, so that a library's line looks like one of ours."""

    def add_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        add_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _severity,
        structlog.processors.EventRenamer("message"),
    ]
    render = structlog.processors.JSONRenderer(serializer=_json)
    stdout = _Stdout()
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stdout)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
        )
    )
    handler.addFilter(_Seldom(_SELDOM_SECONDS))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    # It warns about every attempt to reach a metadata server; the calls' own errors say what came of them.
    logging.getLogger("google.auth").setLevel(logging.ERROR)


def get(name: str) -> FilteringBoundLogger:
    """The logger of one module; `name` is its place in the pipeline, as in 'loader.worker'."""
    logger: FilteringBoundLogger = structlog.get_logger(component=name)
    return logger
