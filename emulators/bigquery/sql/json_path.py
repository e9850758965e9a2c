"""Functions of JSON: paths as BigQuery writes them, and scalars as BigQuery distinguishes them."""

from __future__ import annotations

import math
import re

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.expr import NULL, Expr, combined, null, text

STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_\-]*)|\."(?P<quoted>(?:[^"\\]|\\.)*)"|\[(?P<index>\d+)\]|\['(?P<key>(?:[^'\\]|\\.)*)'\]"""
)
NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|(-?\d[\d.]*[eE][+-]?\d+)')
# Legacy functions quote keys with brackets only, the standard ones with double quotes only.
SCALARS = {"JSON_VALUE": "key", "JSON_EXTRACT_SCALAR": "quoted"}
QUERIES = {"JSON_QUERY": "key", "JSON_EXTRACT": "quoted"}
LAX = ("LAX_STRING",)
TYPED = {
    "BOOL": ("['BOOLEAN']", "a boolean", "BOOLEAN"),
    "FLOAT64": ("['BIGINT', 'UBIGINT', 'DOUBLE']", "a number", "DOUBLE"),
}
NAMES = (*SCALARS, *QUERIES, *LAX, *TYPED, "INT64", "PARSE_JSON", "JSON_REMOVE", "JSON_TYPE")
KINDS = {
    "OBJECT": "object",
    "ARRAY": "array",
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
    "NULL": "null",
    "BIGINT": "number",
    "UBIGINT": "number",
    "DOUBLE": "number",
}


def duckdb_path(steps: list[str | int]) -> str:
    written = "$"
    for step in steps:
        if isinstance(step, int):
            written += f"[{step}]"
        elif '"' in step:
            raise unsupported('a JSON key that contains "')
        else:
            written += f'."{step}"'
    return text(written)


def read_path(path: Expr, name: str, forbidden: str) -> str:
    """The DuckDB path literal of a BigQuery path literal."""
    if path.type != "STRING" or not path.literal:
        raise unsupported(f"{name} with a path that is not a string literal")
    given = path.sql[1:-1].replace("''", "'")
    if not given.startswith("$"):
        raise invalid_query(f"JSONPath must start with '$': {given}")
    steps: list[str | int] = []
    position = 1
    while position < len(given):
        matched = STEP.match(given, position)
        if matched is None or matched[forbidden] is not None:
            raise unsupported(f"the JSONPath {given} in {name}")
        position = matched.end()
        if matched["index"] is not None:
            steps.append(int(matched["index"]))
        else:
            key = matched["name"] or matched["quoted"] or matched["key"] or ""
            if "\\" in key or not key:
                raise unsupported(f"the JSONPath {given} in {name}: an escaped or empty key")
            steps.append(key)
    return duckdb_path(steps)


def call(name: str, arguments: list[Expr]) -> Expr:
    if name == "JSON_REMOVE" and len(arguments) > 2:
        raise unsupported("JSON_REMOVE of several paths")
    if not arguments or len(arguments) > (2 if name in SCALARS or name in QUERIES or name == "JSON_REMOVE" else 1):
        raise invalid_query(f"Number of arguments does not match for function {name}")
    value = arguments[0]
    if value.type == NULL or (len(arguments) == 2 and arguments[1].type == NULL and name != "JSON_REMOVE"):
        return null(_gives(name))
    if name == "PARSE_JSON" and value.type == "STRING" and value.literal and value.sql.startswith("'"):
        _check_numbers(value.sql[1:-1].replace("''", "'"))
    if name == "PARSE_JSON":
        if value.type != "STRING":
            raise _mismatch(name, value)
        strict = f"regexp_matches({value.sql}, '(?i)nan|inf|,\\s*[]}}]')"
        refused = f"error('The local BigQuery emulator cannot be sure that this is JSON: ' || {value.sql})"
        return combined(f"(CASE WHEN {strict} THEN {refused} ELSE CAST({value.sql} AS JSON) END)", "JSON", [value])
    if value.type not in (("JSON", "STRING") if name in SCALARS or name in QUERIES else ("JSON",)):
        raise _mismatch(name, value)
    if name == "INT64":
        return combined(f"bq_json_integer({value.sql})", name, [value])
    if name in TYPED:
        kinds, wanted, type_ = TYPED[name]
        sql = f"CAST(bq_json_typed({value.sql}, {kinds}, '{wanted}') AS {type_})"
        return combined(sql, name, [value])
    if name == "JSON_TYPE":
        cases = " ".join(f"WHEN '{kind}' THEN '{word}'" for kind, word in KINDS.items())
        return combined(f"(CASE json_type({value.sql}) {cases} END)", "STRING", [value])
    if name == "JSON_REMOVE":
        if len(arguments) != 2:
            raise unsupported("JSON_REMOVE of several paths")
        if arguments[1].sql == "'$'":
            raise invalid_query("The JSONPath cannot be '$'")
        return combined(f"json_remove({value.sql}, {read_path(arguments[1], name, 'key')})", "JSON", arguments)
    path = "'$'"
    if len(arguments) == 2:
        path = read_path(arguments[1], name, SCALARS.get(name) or QUERIES[name])
    if name in LAX:
        return combined(f"bq_json_lax({value.sql})", "STRING", [value])
    if name in SCALARS:
        macro = "bq_json_scalar" if value.type == "JSON" else "bq_json_text_scalar"
        return combined(f"{macro}({value.sql}, {path})", "STRING", [value])
    if value.type == "JSON":
        return combined(f"json_extract({value.sql}, {path})", "JSON", [value])
    return combined(f"bq_json_text_query({value.sql}, {path})", "STRING", [value])


def _check_numbers(text: str) -> None:
    """A literal's numbers must fit into a double; whether it is JSON at all, DuckDB says."""
    for number in filter(None, NUMBER.findall(text)):
        if math.isinf(float(number)):
            raise invalid_query(f"Invalid JSON literal: number overflow parsing '{number}'")


def _gives(name: str) -> str:
    """The type of the call with a bare NULL in it."""
    if name in ("PARSE_JSON", "JSON_REMOVE"):
        return "JSON"
    return name if name in (*TYPED, "INT64") else "STRING"


def field(value: Expr, key: str | int) -> Expr:
    """`value.key` or `value[0]` of a JSON value: JSON, or NULL where there is none."""
    return combined(f"json_extract({value.sql}, {duckdb_path([key])})", "JSON", [value])


def _mismatch(name: str, value: Expr) -> Exception:
    return invalid_query(f"No matching signature for function {name} for argument types: {value.type}")
