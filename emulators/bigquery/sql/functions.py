"""The scalar functions and operators whose arguments are plain values, as one table.

A line says `NAME(TYPES) TYPE = DuckDB text`. `T` is any one type, the same wherever it stands; `T...` repeats the
last. The first line whose types all coerce is taken, exact matches first. What is not here is an error: each line
promises that DuckDB's text gives BigQuery's answer, and tests/emulators/bigquery/test_functions.py holds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import coerce, timestamp_text
from emulators.bigquery.sql.expr import NULL, Expr, coercible, combined, element, is_array, null, signature, supertype

TABLE = """
LOWER(STRING) STRING = lower({0})
UPPER(STRING) STRING = bq_upper({0})
LENGTH(STRING) INT64 = length({0})
LENGTH(BYTES) INT64 = octet_length({0})
CHAR_LENGTH(STRING) INT64 = length({0})
BYTE_LENGTH(STRING) INT64 = strlen({0})
BYTE_LENGTH(BYTES) INT64 = octet_length({0})
TRIM(STRING) STRING = bq_trim({0})
LTRIM(STRING) STRING = bq_ltrim({0})
RTRIM(STRING) STRING = bq_rtrim({0})
TRIM(STRING, STRING) STRING = trim({0}, {1})
LTRIM(STRING, STRING) STRING = ltrim({0}, {1})
RTRIM(STRING, STRING) STRING = rtrim({0}, {1})
REVERSE(STRING) STRING = reverse({0})
REPLACE(STRING, STRING, STRING) STRING = CASE WHEN {1} = '' AND {2} IS NOT NULL THEN {0} ELSE replace({0}, {1}, {2}) END
STARTS_WITH(STRING, STRING) BOOL = starts_with({0}, {1})
ENDS_WITH(STRING, STRING) BOOL = ends_with({0}, {1})
STRPOS(STRING, STRING) INT64 = strpos({0}, {1})
SUBSTR(STRING, INT64) STRING = bq_substr({0}, {1}, 9223372036854775807)
SUBSTR(STRING, INT64, INT64) STRING = bq_substr({0}, {1}, {2})
LEFT(STRING, INT64) STRING = left({0}, bq_size({1}, {0}, 'LEFT: negative length'))
RIGHT(STRING, INT64) STRING = right({0}, bq_size({1}, {0}, 'RIGHT: negative length'))
REPEAT(STRING, INT64) STRING = bq_repeat({0}, {1})
SPLIT(STRING) ARRAY<STRING> = string_split({0}, ',')
SPLIT(STRING, STRING) ARRAY<STRING> = CASE WHEN {1} IS NOT NULL THEN string_split({0}, {1}) END
ARRAY_LENGTH(ARRAY<T>) INT64 = len({0})
ARRAY_REVERSE(ARRAY<T>) ARRAY<T> = list_reverse({0})
ARRAY_TO_STRING(ARRAY<STRING>, STRING) STRING = bq_joined({0}, {1})
TO_HEX(BYTES) STRING = lower(hex({0}))
FROM_HEX(STRING) BYTES = unhex({0})
TO_BASE64(BYTES) STRING = to_base64({0})
FROM_BASE64(STRING) BYTES = from_base64(rpad({0}, CAST((length({0}) + 3) // 4 * 4 AS INTEGER), '='))
MD5(STRING) BYTES = unhex(md5({0}))
SHA256(STRING) BYTES = unhex(sha256({0}))
ABS(INT64) INT64 = abs({0})
ABS(NUMERIC) NUMERIC = abs({0})
ABS(FLOAT64) FLOAT64 = abs({0})
SIGN(INT64) INT64 = CAST(sign({0}) AS BIGINT)
SIGN(FLOAT64) FLOAT64 = CASE WHEN isnan({0}) THEN {0} ELSE CAST(sign({0}) AS DOUBLE) END
MOD(INT64, INT64) INT64 = CASE WHEN {1} = 0 AND {0} IS NOT NULL THEN error('division by zero: MOD') ELSE {0} % {1} END
DIV(INT64, INT64) INT64 = CASE WHEN {1} = 0 AND {0} IS NOT NULL THEN error('division by zero: DIV') ELSE {0} // {1} END
ROUND(NUMERIC) NUMERIC = CAST(round({0}) AS DECIMAL(38,9))
ROUND(FLOAT64) FLOAT64 = round({0})
FLOOR(FLOAT64) FLOAT64 = floor({0})
CEIL(FLOAT64) FLOAT64 = ceil({0})
CEILING(FLOAT64) FLOAT64 = ceil({0})
TRUNC(FLOAT64) FLOAT64 = trunc({0})
SQRT(FLOAT64) FLOAT64 = sqrt({0})
LN(FLOAT64) FLOAT64 = ln({0})
LOG10(FLOAT64) FLOAT64 = log10({0})
EXP(FLOAT64) FLOAT64 = bq_finite(exp({0}), {0}, 0)
POW(FLOAT64, FLOAT64) FLOAT64 = bq_finite(pow({0}, {1}), {0}, {1})
POWER(FLOAT64, FLOAT64) FLOAT64 = bq_finite(pow({0}, {1}), {0}, {1})
ERROR(STRING) INT64 = CAST(error('⟦' || coalesce({0}, '') || '⟧') AS BIGINT)
IS_NAN(FLOAT64) BOOL = isnan({0})
IS_INF(FLOAT64) BOOL = isinf({0})
SAFE_DIVIDE(FLOAT64, FLOAT64) FLOAT64 = CASE WHEN {1} = 0 THEN NULL ELSE bq_safe_finite({0} / {1}, {0}, {1}) END
SAFE_ADD(INT64, INT64) INT64 = TRY_CAST(CAST({0} AS HUGEINT) + {1} AS BIGINT)
SAFE_SUBTRACT(INT64, INT64) INT64 = TRY_CAST(CAST({0} AS HUGEINT) - {1} AS BIGINT)
SAFE_MULTIPLY(INT64, INT64) INT64 = TRY_CAST(CAST({0} AS HUGEINT) * {1} AS BIGINT)
DATE(TIMESTAMP) DATE = CAST({0} AS DATE)
DATE(DATE) DATE = {0}
DATE(INT64, INT64, INT64) DATE = bq_date({0}, {1}, {2})
DATE_FROM_UNIX_DATE(INT64) DATE = bq_date_plus(DATE '1970-01-01', {0})
UNIX_DATE(DATE) INT64 = CAST({0} - DATE '1970-01-01' AS BIGINT)
LAST_DAY(DATE) DATE = last_day({0})
TIMESTAMP(DATE) TIMESTAMP = CAST({0} AS TIMESTAMP WITH TIME ZONE)
TIMESTAMP(TIMESTAMP) TIMESTAMP = {0}
TIMESTAMP_SECONDS(INT64) TIMESTAMP = bq_timestamp_micros({0} * 1000000)
TIMESTAMP_MILLIS(INT64) TIMESTAMP = bq_timestamp_micros({0} * 1000)
TIMESTAMP_MICROS(INT64) TIMESTAMP = bq_timestamp_micros({0})
UNIX_SECONDS(TIMESTAMP) INT64 = bq_floor_div(epoch_us({0}), 1000000)
UNIX_MILLIS(TIMESTAMP) INT64 = bq_floor_div(epoch_us({0}), 1000)
UNIX_MICROS(TIMESTAMP) INT64 = epoch_us({0})
GENERATE_UUID() STRING = CAST(uuid() AS VARCHAR)
GENERATE_ARRAY(INT64, INT64) ARRAY<INT64> = bq_array({0}, {1})
GENERATE_DATE_ARRAY(DATE, DATE) ARRAY<DATE> = bq_date_array({0}, {1})
"""

ORDER_KEEPING = ("DATE(TIMESTAMP)",)  # a condition on the result selects partitions of the argument


@dataclass(frozen=True)
class Signature:
    takes: tuple[str, ...]
    gives: str
    template: str
    keeps_order: bool


def _read(table: str) -> dict[str, list[Signature]]:
    found: dict[str, list[Signature]] = {}
    for line in table.strip().splitlines():
        matched = re.fullmatch(r"(\w+)\((.*?)\) (\S+) = (.*)", line)
        if matched is None:
            raise ValueError(f"not a signature: {line}")
        name, takes, gives, template = matched.groups()
        types = tuple(takes.split(", ")) if takes else ()
        found.setdefault(name, []).append(Signature(types, gives, template, f"{name}({takes})" in ORDER_KEEPING))
    return found


SIGNATURES = _read(TABLE)


def call(name: str, arguments: Sequence[Expr]) -> Expr:
    """The call of a function of the table; ApiError when it is not in it or takes other types."""
    if name in COMPOSED:
        return COMPOSED[name](name, arguments)
    if name not in SIGNATURES:
        raise unsupported(f"the function {name}")
    return _table(name, arguments)


def _bind(candidate: Signature, arguments: Sequence[Expr], *, exact: bool) -> Expr | None:
    if len(candidate.takes) != len(arguments):
        return None
    given: list[Expr] = []
    free: str | None = None
    for wanted, argument in zip(candidate.takes, arguments, strict=True):
        target = wanted
        if wanted == "ARRAY<T>":
            if argument.type == NULL:
                argument = null("ARRAY<INT64>")
            if not is_array(argument.type):
                return None
            free, target = element(argument.type), argument.type
        if argument.type != target if exact else not coercible(argument, target):
            return None
        given.append(coerce(argument, target))
    sql = candidate.template.format(*(argument.sql for argument in given))
    gives = candidate.gives.replace("<T>", f"<{free}>")
    result = combined(f"({sql})", gives, given)
    if candidate.keeps_order and given[0].partition and given[0].probe is not None:
        probe = f"({candidate.template.format(given[0].probe)})"
        return Expr(result.sql, gives, constant=False, reads=result.reads, partition=given[0].partition, probe=probe)
    return result


def _same_type(name: str, arguments: Sequence[Expr]) -> tuple[str, list[Expr]]:
    if not arguments:
        raise invalid_query(f"No matching signature for function {name} for no arguments")
    type_ = supertype(arguments, f"function {name}")
    return type_, [coerce(argument, type_) for argument in arguments]


def _coalesce(name: str, arguments: Sequence[Expr]) -> Expr:
    if name == "IFNULL" and len(arguments) != 2:
        raise invalid_query("Number of arguments does not match for function IFNULL")
    type_, given = _same_type(name, arguments)
    return combined(f"coalesce({', '.join(argument.sql for argument in given)})", type_, given)


def _nullif(name: str, arguments: Sequence[Expr]) -> Expr:
    if len(arguments) != 2:
        raise invalid_query("Number of arguments does not match for function NULLIF")
    type_, given = _same_type(name, arguments)
    if type_ in ("JSON", "FLOAT64") or is_array(type_):
        raise unsupported(f"NULLIF of {type_}")
    return combined(f"nullif({given[0].sql}, {given[1].sql})", type_, given)


def _extreme(name: str, arguments: Sequence[Expr]) -> Expr:
    """GREATEST and LEAST: NULL when any argument is, unlike DuckDB's."""
    type_, given = _same_type(name, arguments)
    if type_ == "JSON" or is_array(type_):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    values = ", ".join(argument.sql for argument in given)
    absent = " OR ".join(f"{argument.sql} IS NULL" for argument in given)
    sql = f"{name.lower()}({values})"
    if type_ == "FLOAT64":
        strange = " OR ".join(f"isnan({argument.sql})" for argument in given)
        sql = f"CASE WHEN {strange} THEN CAST('nan' AS DOUBLE) ELSE {sql} END"
    return combined(f"(CASE WHEN {absent} THEN NULL ELSE {sql} END)", type_, given)


def _concat(name: str, arguments: Sequence[Expr]) -> Expr:
    if arguments and all(argument.type == NULL for argument in arguments):
        return null("STRING")
    type_, given = _same_type(name, arguments)
    if type_ not in ("STRING", "BYTES"):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    return combined(f"({' || '.join(argument.sql for argument in given)})", type_, given)


def _round(name: str, arguments: Sequence[Expr]) -> Expr:
    if len(arguments) == 2:
        value, digits = arguments
        if digits.type == NULL or value.type == NULL:
            return null("NUMERIC" if value.type == "NUMERIC" else "FLOAT64")
        if digits.type != "INT64" or not digits.literal:
            raise unsupported("ROUND with digits that are not an integer literal")
        if value.type not in ("INT64", "FLOAT64", "NUMERIC"):
            raise invalid_query(f"No matching signature for function ROUND for argument types: {signature(arguments)}")
        type_ = "NUMERIC" if value.type == "NUMERIC" else "FLOAT64"
        number = coerce(value, type_)
        # Beyond these there is nothing to round, or nothing left.
        sql = f"round({number.sql}, CAST(least(greatest({digits.sql}, -400), 400) AS INTEGER))"
        return combined(f"CAST({sql} AS {'DECIMAL(38,9)' if type_ == 'NUMERIC' else 'DOUBLE'})", type_, arguments)
    return _table(name, arguments)


def _table(name: str, arguments: Sequence[Expr]) -> Expr:
    for exact in (True, False):
        for candidate in SIGNATURES[name]:
            bound = _bind(candidate, arguments, exact=exact)
            if bound is not None:
                return bound
    raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")


def _string(name: str, arguments: Sequence[Expr]) -> Expr:
    if len(arguments) == 1 and arguments[0].type == NULL:
        return null("STRING")
    if len(arguments) == 1 and arguments[0].type == "TIMESTAMP":
        return combined(timestamp_text(arguments[0].sql), "STRING", arguments)
    if len(arguments) == 1 and arguments[0].type == "JSON":
        return combined(f"bq_json_typed({arguments[0].sql}, ['VARCHAR'], 'a string')", "STRING", arguments)
    raise invalid_query(f"No matching signature for function STRING for argument types: {signature(arguments)}")


COMPOSED = {
    "COALESCE": _coalesce,
    "IFNULL": _coalesce,
    "NULLIF": _nullif,
    "GREATEST": _extreme,
    "LEAST": _extreme,
    "CONCAT": _concat,
    "ROUND": _round,
    "STRING": _string,
}
