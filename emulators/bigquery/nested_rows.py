"""Nested Arrow columns: checked against a table's RECORD and REPEATED columns, and converted to their stored form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from emulators.bigquery.nested_types import arrow_type, element, is_array, is_struct
from emulators.bigquery.table_schema import Column

SAME = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
NO_NULLS = "Field {}: an array cannot have a NULL element"

Found = tuple[int, str]  # index of a row, and what is wrong with it


def mismatch(column: Column, given: pa.DataType, path: str) -> str | None:
    """Why values of this Arrow type cannot go into the column, or None when they can."""
    if given == arrow_type(column.type):
        return None
    if is_array(column.type) and pa.types.is_list(given):
        return mismatch(item_of(column), given.value_type, path)
    if is_struct(column.type) and pa.types.is_struct(given):
        return _struct_mismatch(column, given, path)
    if not is_array(column.type) and SAME.get(given, given) == arrow_type(column.type):
        return None
    return (
        f"Field '{path}' has BigQuery type {column.type}, which takes Arrow type "
        f"{arrow_type(column.type)}, and was sent as {given}"
    )


def _struct_mismatch(column: Column, given: pa.StructType, path: str) -> str | None:
    named = {field.name.lower(): field for field in column.fields}
    seen: set[str] = set()
    for inner in given:
        field = named.get(inner.name.lower())
        if field is None:
            return f"Input schema has more fields than BigQuery schema, extra fields: '{path}.{inner.name}'"
        if field.name in seen:
            return f"Input schema names the field '{path}.{field.name}' twice"
        seen.add(field.name)
        if (found := mismatch(field, inner.type, f"{path}.{field.name}")) is not None:
            return found
    for field in column.fields:
        if field.required and field.name not in seen:
            return f"The required field '{path}.{field.name}' is missing in the input schema"
    return None


def item_of(column: Column) -> Column:
    """The elements of a REPEATED column, as a column."""
    return replace(column, type=element(column.type), required=False)


def errors(column: Column, values: pa.Array, check: Callable[[Column, pa.Array], Iterator[Found]]) -> Iterator[Found]:
    """Every row with something wrong inside; `check` looks at columns without structure."""
    if is_array(column.type):
        items, rows = values.flatten(), pc.list_parent_indices(values).to_pylist()
        for index in pc.indices_nonzero(items.is_null()).to_pylist():
            yield rows[index], NO_NULLS.format(column.name)
        yield from ((rows[index], text) for index, text in errors(item_of(column), items, check))
    elif is_struct(column.type):
        present = values.is_valid()
        for field, part in _parts(column, values):
            inner = replace(field, name=f"{column.name}.{field.name}", required=False)
            if field.required:
                for index in pc.indices_nonzero(pc.and_(present, part.is_null())).to_pylist():
                    yield index, f"Required field {inner.name} cannot be null"
            yield from errors(inner, part, check)
    else:
        yield from check(column, values)


def _parts(column: Column, values: pa.StructArray) -> Iterator[tuple[Column, pa.Array]]:
    """The fields that were given, each NULL where the whole is."""
    named = {field.name.lower(): field for field in column.fields}
    for inner, part in zip(values.type, values.flatten(), strict=True):
        yield named[inner.name.lower()], part


def conformed(column: Column, values: pa.Array) -> pa.Array:
    """The same values in the column's own Arrow type: all of its fields, and no array that is NULL."""
    if is_array(column.type):
        lengths = pc.fill_null(pc.list_value_length(values), 0)
        ends = pc.cumulative_sum(pc.cast(lengths, pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        return pa.ListArray.from_arrays(offsets, conformed(item_of(column), values.flatten()))
    if is_struct(column.type):
        given = {field.name: conformed(field, part) for field, part in _parts(column, values)}
        parts = [
            given[field.name] if field.name in given else _absent(field.type, len(values)) for field in column.fields
        ]
        names = [field.name for field in column.fields]
        return pa.StructArray.from_arrays(parts, names=names, mask=values.is_null())
    return values.cast(arrow_type(column.type)) if values.type in SAME else values


def _absent(type_: str, count: int) -> pa.Array:
    if is_array(type_):
        return pa.array([[]] * count, arrow_type(type_))
    return pa.nulls(count, arrow_type(type_))


def validate(values: pa.Array) -> None:
    """Raise `pa.ArrowInvalid` unless the array is sound; decimals may be out of range, which is an error of the row."""
    if not (pa.types.is_nested(values.type) or pa.types.is_decimal(values.type)):
        values.validate(full=True)
        return
    plain = _without_decimals(values.type)
    (values if plain == values.type else values.view(plain)).validate(full=True)


def _without_decimals(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal128(type_):
        return pa.binary(16)
    if pa.types.is_list(type_):
        return pa.list_(type_.field(0).with_type(_without_decimals(type_.value_type)))
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_without_decimals(field.type)) for field in type_])
    return type_
