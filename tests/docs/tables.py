"""The tables of settings, metrics and ports in READMEs, made of config.py, metrics.py and local/ports.py."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from local.ports import USES, Ports, option, variable
from services.shared import config
from tests.docs.markers import table
from tests.process import ROOT
from tests.schemas import SCHEMA

SERVICES = ("collector", "processor", "loader", "provision")
METERED = ("collector", "processor", "loader")


def fields(service: str) -> list[dataclasses.Field[Any]]:
    return list(dataclasses.fields(importlib.import_module(f"services.{service}.config").Config))


def settings(service: str) -> str:
    rows = [(f"`{config.name(one)}`", _default(one), one.metadata["help"]) for one in fields(service)]
    return table(("name", "default", "meaning"), rows)


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, Path):
        value = value.relative_to(ROOT)
    if isinstance(value, bool):
        value = str(value).lower()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text}`" if text else "none"


def ports() -> str:
    rows = ((str(getattr(Ports, name)), use, f"`{option(name)}`", f"`{variable(name)}`") for name, use in USES.items())
    return table(("default", "what", "option", "environment"), rows)


def metrics(service: str) -> str:
    registry = CollectorRegistry()
    made = importlib.import_module(f"services.{service}.metrics").Metrics
    made(registry) if service == "collector" else made(registry, SCHEMA.tables)
    rows = []
    for family in registry.collect():
        collector = registry._names_to_collectors.get(family.name)  # none: a collector that is not declared ahead
        labels = ",".join(getattr(collector, "_labelnames", ()))
        if family.type == "info":
            labels = ",".join(next(iter(family.samples)).labels)
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        rows.append((f"`{name}{{{labels}}}`" if labels else f"`{name}`", family.type, family.documentation))
    return table(("name", "type", "meaning"), rows)
