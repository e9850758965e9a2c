"""The JSON schema of the schema file, for editors: docs/schema.schema.json, with the keys and choices of the code.

It knows what a file's structure can be: keys, types, choices, sources, steps, limits. What needs the whole file, such
as whether a column is there that `cluster` names, only `python -m services.ops check` knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.shared import (
    privacy,
    schema,
    schema_columns,
    schema_expressions,
    schema_lookups,
    schema_privacy,
    schema_sources,
    schema_tenants,
    schema_transforms,
    tenants,
)
from services.shared import schema_file as code
from tests.docs import schema_file
from tests.docs import schema_privacy as privacy_words
from tests.docs import tenants as tenant_words

PATH = "docs/schema.schema.json"

Node = dict[str, Any]
# YAML has numbers, booleans and texts, where the reader sees the text as it is written.
TEXT: Node = {"type": ["string", "number", "boolean"], "minLength": 1}
BOOL: Node = {"enum": [True, False, "true", "false"]}


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def document() -> Node:
    tables = {
        "type": "object",
        "description": "Every table, by the name of its view. Tables are tried in this order",
        "propertyNames": {"allOf": [_pattern(r"([A-Za-z0-9_]|\{tenant\})+"), _no_reserved(), _not_provisioned()]},
        "properties": {schema.REJECTS: _ref("rejects")},
        "additionalProperties": _ref("table"),
        "required": [schema.REJECTS],
        "minProperties": 2,
    }
    views = {"anyOf": [{"const": code.NO_VIEWS}, _texts({"enum": list(schema.VIEWS)})]}
    values = {
        "expire_days": _days(),
        "privacy": _privacy(),
        "tenants": _tenants(),
        "views": views,
        "lookups": _lookups(),
        "tables": tables,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "pixelpipe's schema file",
        "description": "Written by `make docs`. The reference is docs/schema.md; `pixelpipe check` says more",
        **_object(code.FILE_KEYS, values, {}, ("tables",)),
        "definitions": {
            "table": _table(of_rejects=False),
            "rejects": _table(of_rejects=True),
            "column": _column(of_rejects=False),
            "rejects_column": _column(of_rejects=True),
            "field": _field(),
            "step": _step(),
            "source": _source(),
            "rejects_source": {"anyOf": [_source(), {"enum": _fixed(("reject",))}]},
        },
    }


def _table(*, of_rejects: bool) -> Node:
    column = _ref("rejects_column" if of_rejects else "column")
    values = {
        "description": {**TEXT, "maxLength": code.TABLE_DESCRIPTION},
        "when": _when(),
        "copy": BOOL,
        "sample": {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, _pattern(r"0?\.[0-9]{1,9}")]
        },
        "labels": _labels(),
        "tenants": _texts(_pattern(r"[A-Za-z0-9_]{1,100}")),
        "partition": TEXT,
        "require_partition_filter": BOOL,
        "expire_days": _days(),
        "cluster": _texts(TEXT, most=code.MOST_CLUSTERED),
        "unique": _texts(TEXT),
        "require_any": {"type": "array", "items": TEXT, "minItems": 2, "uniqueItems": True},
        "write": False,  # gone
        "columns": {
            "type": "object",
            "propertyNames": _column_name(),
            "additionalProperties": column,
            "minProperties": 1,
            "maxProperties": schema_columns.MOST_COLUMNS,
        },
    }
    not_of_rejects = ("when", "require_any", "copy", "sample")
    keys = [key for key in code.TABLE_KEYS if not (of_rejects and key in not_of_rejects)]
    return _object(keys, values, schema_file.TABLE_KEYS, ("partition", "columns"))


def _labels() -> Node:
    ours = {"not": {"enum": list(schema.OWN_LABELS)}}
    return {
        "type": "object",
        "propertyNames": {"allOf": [{"type": "string", "pattern": r"^[^\W\dA-Z_][^\sA-Z]{0,62}$"}, ours]},
        "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[^\sA-Z]{0,63}$"}]},
        "maxProperties": code.MOST_LABELS - len(schema.OWN_LABELS),
    }


def _known_to_conditions() -> list[str]:
    spaces = [space for space in schema.FIXED_SOURCES if space not in ("event", "reject")]
    return [name for name in _fixed(spaces) if name != "hit.received_at"]


def _when() -> Node:
    known = _known_to_conditions()
    booleans = [name for name in known if _type(name) == "BOOL"]
    return {
        "type": "object",
        "propertyNames": {"anyOf": [{"enum": known}, _open_source()]},
        "properties": {name: _texts(BOOL) for name in booleans},
        "additionalProperties": _texts(TEXT),
    }


def _lookups() -> Node:
    values = {
        "file": _pattern(rf".*({'|'.join(map(re.escape, schema_lookups.FILES))})"),
        "key": TEXT,
        "by": _texts({"anyOf": [{"enum": _known_to_conditions()}, _sent_source()]}),
    }
    return {
        "type": "object",
        "description": "Files that events are joined with, by the name that sources have for them",
        "propertyNames": _pattern(schema_lookups._NAME.pattern),
        "additionalProperties": _object(
            schema_lookups.LOOKUP_KEYS, values, schema_file.LOOKUP_KEYS, schema_lookups.LOOKUP_KEYS
        ),
        "minProperties": 1,
        "maxProperties": schema_lookups.MOST_LOOKUPS,
    }


def _column(*, of_rejects: bool) -> Node:
    values = _column_values()
    values["from"] = _texts(_ref("rejects_source" if of_rejects else "source"))
    values["required_if"] = False if of_rejects else {**_when(), "minProperties": 1}
    values["time_zone"] = {"type": "string", "minLength": 1}
    values["expression"] = {**TEXT, "maxLength": schema_expressions.MOST}
    others = [key for key in schema_columns.COLUMN_KEYS if key not in schema_columns.EXPRESSION_KEYS]
    computed = {
        "properties": {**dict.fromkeys(others, False), "type": {"not": {"const": schema.STRUCT}}},
    }
    rules = [
        _if({"required": ["expression"]}, computed, {"required": ["from"]}),
        _if({"required": ["time_zone"]}, _from(list(schema.IN_A_ZONE))),
        _if(_is("mode", ["REQUIRED"]), {"properties": {"required_if": False}}),
        *_rules(),
        *_source_rules(("reject",) if of_rejects else ()),
    ]
    return _object(schema_columns.COLUMN_KEYS, values, schema_file.COLUMN_KEYS, ("type",)) | {"allOf": rules}


def _field() -> Node:
    values = _column_values() | {"from": _texts(TEXT)}
    return _object(schema_columns.FIELD_KEYS, values, schema_file.COLUMN_KEYS, ("type",)) | {"allOf": _rules()}


def _column_values() -> Node:
    return {
        "type": {"enum": list(schema.TYPES)},
        "mode": {"enum": list(schema.MODES)},
        "fields": {
            "type": "object",
            "propertyNames": _column_name(),
            "additionalProperties": _ref("field"),
            "minProperties": 1,
        },
        "transform": {
            "anyOf": [
                _ref("step"),
                {"type": "array", "items": _ref("step"), "maxItems": schema_transforms.MOST_TRANSFORMS},
            ]
        },
        "on_error": {"enum": [None, *schema.ON_ERROR]},  # YAML's null is the choice of that name
        "policy_tags": _texts(_pattern(schema_columns._POLICY_TAG.pattern), most=1),
        "description": {**TEXT, "maxLength": schema_columns.COLUMN_DESCRIPTION},
    }


def _rules() -> list[Node]:
    """What one key of a column makes of the others."""
    numbers = list(schema_transforms.NUMBERS)
    on_value = {"type": "object", "anyOf": [{"required": [name]} for name in schema_transforms.VALUE_STEPS]}
    return [
        _if(
            _is("type", [schema.STRUCT]),
            {"required": ["fields"], "properties": {"policy_tags": False}},
            {"properties": {"fields": False}},
        ),
        _if(_is("mode", ["REQUIRED"]), {"properties": {"on_error": {"not": {"enum": [None, schema.SET_NULL]}}}}),
        _if(_is("type", [schema.STRUCT, "JSON"]), {"properties": {"transform": False}}),
        _if(_steps_hold(on_value), _is("type", numbers)),
        _if(_steps_hold({"type": "object", "required": ["split"]}), _is("mode", ["REPEATED"])),
        _if(_steps_hold({"type": "object", "required": ["time_zone"]}), _is("type", ["TIMESTAMP"])),
    ]


def _source_rules(more: tuple[str, ...]) -> list[Node]:
    """The type that a column has for its sources."""
    spaces = [space for space in schema.FIXED_SOURCES if space != "reject" or space in more]
    single = {"properties": {"mode": {"enum": ["NULLABLE", "REQUIRED"]}}}
    alone = {"properties": {"mode": {"const": "NULLABLE"}, "from": {"type": ["string", "array"], "maxItems": 1}}}
    rules = []
    for kind in dict.fromkeys(_type(name) for name in _fixed(spaces)):
        names = [name for name in _fixed(spaces) if _type(name) == kind]
        rules.append(_if(_from(names), {"allOf": [_is("type", [kind]), single]}))
    rest = {"allOf": [_is("type", ["JSON"]), alone, {"properties": {"transform": False}}]}
    return [*rules, _if(_from(["event.problems"]), alone), _if(_from(["param.*"]), rest)]


def _source() -> Node:
    return {
        "anyOf": [
            {"enum": ["param.*", *_fixed(space for space in schema.FIXED_SOURCES if space != "reject")]},
            _open_source(),
        ]
    }


def _open_source() -> Node:
    """A parameter or a header of any name, or a column of a lookup."""
    lookup = _pattern(rf"{schema.LOOKUP}\.{schema_lookups._NAME.pattern}\..+")
    return {"anyOf": [_sent_source(), lookup]}


def _sent_source() -> Node:
    """A parameter or a header of any name."""
    return _pattern(rf"param\.(?!\*$).+|header\.{schema_sources.HEADER.pattern}")


def _step() -> Node:
    takes = {**schema_transforms.TEXT_STEPS, **schema_transforms.VALUE_STEPS}
    plain = [name for name, what in takes.items() if what is None and "NAME" not in name]
    given = {name: {**_argument(what), "description": schema_file.STEPS[name]} for name, what in takes.items() if what}
    return {
        "anyOf": [
            {"enum": plain},
            {**_pattern(r"url\.query\..+"), "not": {"const": "url.query.NAME"}},
            {
                "type": "object",
                "properties": given,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def _number(low: int, high: int) -> Node:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _pattern("[0-9]{1,7}")]}


def _argument(takes: str) -> Node:
    return {
        "text": TEXT,
        "map": {"type": "object", "additionalProperties": TEXT, "minProperties": 1},
        "pattern": TEXT,
        "count": _number(1, 1_048_576),
        "decimals": _number(0, 38),
        "number": {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^({schema_transforms.NUMBER.pattern})$"}]
        },
        "zone": {"type": "string", "minLength": 1},
    }[takes]


def _privacy() -> Node:
    name = {
        "type": "string",
        "minLength": 2,
        "maxLength": schema_privacy.LONGEST_NAME,
        "pattern": r"^[^*?\[\]%&=\\/]+$",
    }
    names = _texts(name, most=schema_privacy.MOST_NAMES)
    step = {"enum": list(schema_privacy.STEPS)}
    values = {
        "ip": {"enum": list(privacy.IP_CHOICES)},
        "signals": {
            "type": "object",
            "propertyNames": {"enum": list(privacy.SIGNALS)},
            "additionalProperties": {"enum": list(privacy.ACTIONS)},
        },
        "secrets": names,
        "ids": names,
        "hash": {
            "type": "object",
            "propertyNames": name,
            "additionalProperties": {"anyOf": [step, {"type": "array", "items": step, "uniqueItems": True}]},
            "maxProperties": schema_privacy.MOST_NAMES,
        },
        "cookie": _object(schema_privacy.COOKIE_KEYS, _cookie(), privacy_words.COOKIE_KEYS, ("origins",)),
    }
    return _object(schema_privacy.KEYS, values, privacy_words.KEYS, ())


def _cookie() -> Node:
    host = schema_privacy._HOST.pattern
    origin = rf"({schema_privacy._ORIGIN.pattern})|({schema_privacy._LOCAL.pattern})|(\*\.{host})"
    return {
        "origins": _texts(_pattern(origin), most=schema_privacy.MOST_NAMES),
        "name": _pattern(schema_privacy._COOKIE_NAME.pattern),
        "domain": _pattern(host),
        "days": _whole(privacy.MAX_COOKIE_DAYS),
        "renew": BOOL,
        "same_site": {"enum": list(schema_privacy.SAME_SITE)},
    }


def _tenants() -> Node:
    members = _texts(_pattern(schema_tenants._MEMBER.pattern))
    rate = {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": schema_tenants.MOST_RATE},
            _pattern(schema_tenants._RATE.pattern),
        ]
    }
    tenant = {
        "keys": _texts(_pattern(schema_tenants._HASH.pattern)),
        "hosts": _texts({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"}),
        "paths": _texts(_pattern(schema_tenants._PATH.pattern)),
        "rate": {"anyOf": [rate, _pattern(schema_tenants._RATE.pattern)]},
        "burst": _whole(schema_tenants.MOST_BURST),
        "expire_days": _whole(schema_tenants.MOST_DAYS),
        "consent": {"enum": [tenants.DENIED]},
        "readers": members,
    }
    values = {
        "parameter": _pattern(schema_tenants._PARAMETER.pattern),
        "unknown": {"enum": list(tenants.UNKNOWN_CHOICES)},
        "limited": {"enum": list(tenants.LIMITED_CHOICES)},
        "admins": members,
        "list": {
            "type": "object",
            "propertyNames": _pattern(schema_tenants._NAME.pattern),
            "additionalProperties": _object(schema_tenants.TENANT_KEYS, tenant, tenant_words.TENANT_KEYS, ()),
            "minProperties": 1,
            "maxProperties": schema_tenants.MOST_TENANTS,
        },
    }
    return _object(schema_tenants.KEYS, values, tenant_words.KEYS, ("list",))


def _object(
    keys: Iterable[str], values: Mapping[str, Any], words: Mapping[str, tuple[str, str, str]], required: tuple[str, ...]
) -> Node:
    """An object of these keys; a key of the code that has no value here is a KeyError."""
    properties = {}
    for key in keys:
        properties[key] = values[key]
        if isinstance(values[key], dict) and key in words:
            properties[key] = {"description": _plain(words[key][2]), **values[key]}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", markdown)


def _texts(item: Node, most: int | None = None) -> Node:
    """One, or a list of different ones."""
    listed: Node = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
    return {"anyOf": [item, listed | ({"maxItems": most} if most else {})]}


def _pattern(pattern: str) -> Node:
    return {"type": "string", "pattern": f"^({pattern})$"}


def _whole(most: int) -> Node:
    return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": most}, _pattern("[1-9][0-9]{0,8}")]}


def _days() -> Node:
    return {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 99_999},
            _pattern("[1-9][0-9]{0,4}"),
            {"const": code.NEVER},
        ]
    }


def _column_name() -> Node:
    return {"allOf": [_pattern("[A-Za-z_][A-Za-z0-9_]{0,299}"), _no_reserved()]}


def _no_reserved() -> Node:
    said = schema.valid_name("_TABLE_x") or ""
    reserved = re.findall(r"_[A-Z_]+", said)
    whole = f"{_any_case(schema.MARK)}$"
    return {"not": {"type": "string", "pattern": f"^({'|'.join([*map(_any_case, reserved), whole])})"}}


def _not_provisioned() -> Node:
    names = "|".join(map(_any_case, schema.RESERVED))
    return {"not": {"type": "string", "pattern": f"^({names})({_any_case(schema.LOG_SUFFIX)})?$"}}


def _any_case(word: str) -> str:
    return "".join(f"[{char.upper()}{char.lower()}]" if char.isalpha() else char for char in word)


def _fixed(spaces: Iterable[str]) -> list[str]:
    return [f"{space}.{name}" for space in spaces for name in schema.FIXED_SOURCES[space]]


def _type(source: str) -> str:
    space, _, name = source.partition(".")
    return schema.FIXED_SOURCES[space][name]


def _ref(name: str) -> Node:
    return {"$ref": f"#/definitions/{name}"}


def _if(condition: Node, then: Node, otherwise: Node | None = None) -> Node:
    return {"if": condition, "then": then} | ({"else": otherwise} if otherwise else {})


def _is(key: str, values: list[str]) -> Node:
    return {"properties": {key: {"enum": values}}, "required": [key]}


def _from(names: list[str]) -> Node:
    """Whether a column has one of these sources."""
    one = {"enum": names}
    return {"properties": {"from": {"anyOf": [one, {"type": "array", "contains": one}]}}, "required": ["from"]}


def _steps_hold(step: Node) -> Node:
    return {
        "properties": {"transform": {"anyOf": [step, {"type": "array", "contains": step}]}},
        "required": ["transform"],
    }
