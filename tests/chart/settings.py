"""The settings of the services as the chart has them: in values.yaml, in values.schema.json. Pure."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import textwrap
from typing import Any

SERVICES = ("collector", "processor", "loader", "provision")
# What the chart decides, or has once for several services: no key of `settings`.
DERIVED = {
    "project",
    "host",
    "port",
    "admin_port",
    "schema",
    "privacy",
    "hash_key_file",
    "spool",
    "dataset",
    "hits_topic",
    "hits_subscription",
    "rows_topic",
    "rows_subscription",
    "dead_topic",
    "dead_subscription",
}
WIDTH = 115


def type_of(service: str) -> type[Any]:
    config: type[Any] = importlib.import_module(f"services.{service}.config").Config
    return config


def every(service: str) -> list[dataclasses.Field[Any]]:
    return list(dataclasses.fields(type_of(service)))


def own(service: str) -> list[dataclasses.Field[Any]]:
    """The fields that are keys of the service's `settings`."""
    return [field for field in every(service) if field.name not in DERIVED]


def key(field: dataclasses.Field[Any]) -> str:
    """publish_timeout_seconds → publishTimeoutSeconds"""
    first, *rest = field.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def default(field: dataclasses.Field[Any]) -> Any:
    return list(field.default) if isinstance(field.default, tuple) else field.default


def put_values(text: str) -> str:
    """values.yaml with the block `settings` of each service as the code has it."""
    for service in SERVICES:
        block = ["  settings:"]
        for field in own(service):
            words = field.metadata["help"]
            comment = textwrap.wrap(words[0].upper() + words[1:], WIDTH - 6, break_on_hyphens=False)
            block += [f"    # {line}" for line in comment]
            block.append(f"    {key(field)}: {json.dumps(default(field))}")
        pattern = re.compile(rf"(^{service}:\n(?:(?:  .*)?\n)*?)  settings:.*\n(?:    .*\n)*", re.MULTILINE)
        text, count = pattern.subn(lambda found, block=block: found[1] + "\n".join(block) + "\n", text)  # type: ignore[misc]
        assert count == 1, f"values.yaml: no `settings` of {service}"
    return text


def put_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """values.schema.json with a definition of each service's settings as the code has them."""
    for service in SERVICES:
        schema["definitions"][f"{service}Settings"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key(field): _type(field) for field in own(service)},
        }
    return schema


def _type(field: dataclasses.Field[Any]) -> dict[str, Any]:
    types = {"bool": "boolean", "int": "integer", "float": "number", "tuple[str, ...]": "array"}
    found: dict[str, Any] = {"type": types.get(str(field.type), "string")}
    if found["type"] == "array":
        found["items"] = {"type": "string", "pattern": "^[^,]+$"}
    if field.metadata["choices"]:
        found["enum"] = list(field.metadata["choices"])
    for word in ("minimum", "maximum"):
        if field.metadata[word] is not None:
            found[word] = field.metadata[word]
    return found


def dumps(value: Any, indent: str = "") -> str:
    """JSON on as few lines as fit the width."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, dict):
        lines = [f"{deeper}{json.dumps(name)}: {dumps(part, deeper)}" for name, part in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + dumps(part, deeper) for part in value) + f"\n{indent}]"
