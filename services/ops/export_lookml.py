"""A LookML project: a view for each table and view, and a model with an explore for each. Pure.

https://cloud.google.com/looker/docs/reference/lookml-quick-reference. Columns become dimensions, days and times
dimension groups, numbers measures too; a REPEATED column is a view of its own that its explore joins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from services.ops.exported import Exported, Field
from services.shared.schema import STRUCT

HEAD = "# Written by `pixelpipe export lookml` from the schema file.\n"
_DAYS = ("date", "day_of_week", "week", "month", "quarter", "year")
_TIMES = ("raw", "time", "hour", "hour_of_day", *_DAYS)
_NUMBERS = ("INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64")
_AS_TEXT = {
    "JSON": "TO_JSON_STRING({})",
    "BYTES": "TO_BASE64({})",
    "TIME": "CAST({} AS STRING)",
}
# Numbers of the views for analysts that no sum makes sense of: a person of two days is in both.
_AVERAGED = ("seconds", "days", "visitors", "users", "days_later", "cohort_visitors")


def files(views: Sequence[Exported], project: str, dataset: str, connection: str) -> dict[str, str]:
    """The files of the project, by path."""
    model = [f"connection: {_quoted(connection)}", 'include: "views/*.view.lkml"', ""]
    found = {}
    for view in views:
        arrays = list(_arrays(view.name.lower(), view.fields))
        text = _view(view, f"{project}.{dataset}.{view.name}") + "".join(_array_view(*one) for one in arrays)
        found[f"views/{view.name.lower()}.view.lkml"] = HEAD + text
        model += _explore(view, arrays)
    return {"pixelpipe.model.lkml": HEAD + "\n".join(model), **found}


def _view(view: Exported, path: str) -> str:
    taken = {field.name.lower() for field in view.fields}
    lines = [f"sql_table_name: `{path}` ;;"]
    if view.key:
        whole = ", ".join(f"${{TABLE}}.`{name}`" for name in view.key)
        name = "row_key" if "row_key" not in taken else "row_key_"
        lines += _block(
            f"dimension: {name}", "hidden: yes", "primary_key: yes", f"sql: TO_JSON_STRING(STRUCT({whole})) ;;"
        )
    for field in view.fields:
        lines += _dimensions(field, "", "${TABLE}.", taken)
    lines += _block(f"measure: {'count' if 'count' not in taken else 'row_count'}", "type: count")
    for field in view.fields:
        lines += _measures(field, view, taken)
    return _nested(f"view: {view.name.lower()}", lines)


def _dimensions(field: Field, prefix: str, place: str, taken: set[str]) -> Iterator[str]:
    """Of a column: a dimension, a group of them, or those of its fields."""
    name, sql = f"{prefix}{field.name.lower()}", f"{place}`{field.name}`"
    if field.repeated:
        yield from _block(f"dimension: {name}", "hidden: yes", f"sql: {sql} ;;")
    elif field.type == STRUCT:
        for inner in field.fields:
            yield from _dimensions(inner, f"{name}__", f"{sql}.", taken)
    else:
        yield from _dimension(name, field, sql, taken)


def _dimension(name: str, field: Field, sql: str, taken: set[str]) -> Iterator[str]:
    said = [f"description: {_quoted(field.description)}"] if field.description else []
    if field.type in ("DATE", "DATETIME", "TIMESTAMP"):
        frames = [one for one in (_DAYS if field.type == "DATE" else _TIMES) if f"{name}_{one}" not in taken]
        zone = [] if field.type == "TIMESTAMP" else ["convert_tz: no"]
        more = ["type: time", f"timeframes: [{', '.join(frames)}]", f"datatype: {field.type.lower()}", *zone]
        yield from _block(f"dimension_group: {name}", *said, *more, f"sql: {sql} ;;")
        return
    kind = "number" if field.type in _NUMBERS else "yesno" if field.type == "BOOL" else "string"
    written = _AS_TEXT.get(field.type, "{}").format(sql)
    yield from _block(f"dimension: {name}", *said, f"type: {kind}", f"sql: {written} ;;")


def _measures(field: Field, view: Exported, taken: set[str]) -> Iterator[str]:
    """Sums and averages of numbers that are amounts, and how many different people there are."""
    name = field.name.lower()
    if field.repeated or field.type == STRUCT:
        return
    amount = field.type in _NUMBERS and (view.analyst or field.type != "INT64")
    kind, start = ("average", "average") if view.analyst and name in _AVERAGED else ("sum", "sum_of")
    if not amount and name in ("user_id", "visitor"):
        amount, kind, start = True, "count_distinct", "number_of"
    measure = f"{start}_{name}"
    if amount and measure not in taken:
        said = [f"description: {_quoted(field.description)}"] if field.description else []
        yield from _block(f"measure: {measure}", *said, f"type: {kind}", f"sql: ${{{name}}} ;;")


def _arrays(parent: str, fields: Sequence[Field], place: str = "") -> Iterator[tuple[str, str, Field, str]]:
    """The REPEATED columns, also inside others: the name of its view, that of the one above, and where it is there."""
    for field in fields:
        name = f"{place}{field.name.lower()}"
        if field.repeated:
            own = f"{parent}__{name}"
            yield own, parent, field, f"${{{parent}.{name}}}"
            yield from _arrays(own, field.fields)
        elif field.type == STRUCT:
            yield from _arrays(parent, field.fields, f"{name}__")


def _array_view(name: str, parent: str, field: Field, place: str) -> str:
    """The elements of a REPEATED column: of a STRUCT its fields, else the value itself."""
    if field.type == STRUCT:
        lines = [line for inner in field.fields for line in _dimensions(inner, "", "${TABLE}.", set())]
    else:
        element = Field("value", field.type, field.description)
        lines = list(_dimension("value", element, name, set()))
    return "\n" + _nested(f"view: {name}", lines)


def _explore(view: Exported, arrays: Sequence[tuple[str, str, Field, str]]) -> Iterator[str]:
    name = view.name.lower()
    lines = [f"description: {_quoted(view.description)}"] if view.description else []
    if view.day is not None:
        lines += _block("always_filter:", f'filters: [{name}.{view.day.lower()}_date: "7 days"]')
    for own, _, _, place in arrays:
        lines += _block(f"join: {own}", "relationship: one_to_many", f"sql: LEFT JOIN UNNEST({place}) AS {own} ;;")
    yield _nested(f"explore: {name}", lines)


def _nested(head: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{head} {{", *(f"  {line}".rstrip() for line in lines), "}", ""])


def _block(head: str, *lines: str) -> list[str]:
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"]


def _quoted(text: str) -> str:
    """A string of LookML, where Liquid is a template's language."""
    return json.dumps(text.replace("{{", "{ {").replace("{%", "{ %"), ensure_ascii=False)
