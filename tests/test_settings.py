"""A setting exists in the code, in the README of its service, and nowhere under another name."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from services.shared import config
from tests.child import ROOT

SERVICES = ("collector", "processor", "loader", "provision")


def _fields(service: str) -> list[dataclasses.Field[Any]]:
    return list(dataclasses.fields(importlib.import_module(f"services.{service}.config").Config))


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


def _table(service: str, prefix: str) -> list[str]:
    """The lines of the tables of a service's README whose first cell is a name of that prefix."""
    readme = (ROOT / "services" / service / "README.md").read_text()
    return [line for line in readme.splitlines() if line.startswith(f"| `{prefix}")]


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_lists_every_setting_with_its_default_and_meaning(service: str) -> None:
    wanted = [f"| `{config.name(one)}` | {_default(one)} | {one.metadata['help']} |" for one in _fields(service)]
    assert _table(service, "PIPE_") == wanted, "\n" + "\n".join(wanted)


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_says_what_it_means(service: str) -> None:
    for field in _fields(service):
        assert re.fullmatch(r"\S.{9,}", field.metadata["help"]), field.name


def test_a_name_means_the_same_type_in_every_service() -> None:
    seen: dict[str, Any] = {}
    for service in SERVICES:
        for field in _fields(service):
            assert seen.setdefault(field.name, field.type) == field.type, (service, field.name)


METRICS = ("collector", "processor", "loader")


@pytest.mark.parametrize("service", METRICS)
def test_the_readme_lists_every_metric_with_its_labels(service: str) -> None:
    wanted = [f"| `{name}` | {kind} | {text} |" for name, kind, text in _metrics(service)]
    assert _table(service, "pixelpipe_") == wanted, "\n" + "\n".join(wanted)


def _metrics(service: str) -> list[tuple[str, str, str]]:
    from prometheus_client import CollectorRegistry

    from services.shared import schema, schema_file

    registry = CollectorRegistry()
    metrics = importlib.import_module(f"services.{service}.metrics").Metrics
    metrics(registry) if service == "collector" else metrics(registry, schema_file.load(schema.DEFAULT_FILE).tables)
    found = []
    for family in registry.collect():
        collector = registry._names_to_collectors.get(family.name)  # none: a collector that is not declared ahead
        labels = ",".join(getattr(collector, "_labelnames", ()))
        if family.type == "info":
            labels = ",".join(next(iter(family.samples)).labels)
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        found.append((name + (f"{{{labels}}}" if labels else ""), family.type, family.documentation))
    return found
