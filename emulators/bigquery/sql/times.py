"""Functions of dates and timestamps whose arguments are parts, intervals or formats."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.expr import NULL, Expr, coercible, combined, null, text

MICROS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
}
DATE_PARTS = {"DAY": "DAY", "WEEK": "WEEK", "MONTH": "MONTH", "QUARTER": "QUARTER", "YEAR": "YEAR"}
TRUNC_PARTS = ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "QUARTER", "YEAR")
_UTC = "'UTC'"
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")

EXTRACTS = {
    "YEAR": "year({0})",
    "QUARTER": "quarter({0})",
    "MONTH": "month({0})",
    "DAY": "day({0})",
    "DAYOFWEEK": "dayofweek({0}) + 1",
    "DAYOFYEAR": "dayofyear({0})",
    "ISOWEEK": "week({0})",
    "ISOYEAR": "isoyear({0})",
    "WEEK": "CAST(strftime({0}, '%U') AS BIGINT)",
}
CLOCK_EXTRACTS = {
    "HOUR": "hour({0})",
    "MINUTE": "minute({0})",
    "SECOND": "second({0})",
    "MILLISECOND": "millisecond({0}) % 1000",
    "MICROSECOND": "microsecond({0}) % 1000000",
}

# Format elements that mean the same to both, or have one DuckDB text.
FORMATS = {letter: f"%{letter}" for letter in "YmdHMSyjAaBbpIUuwG%"} | {"F": "%Y-%m-%d", "T": "%H:%M:%S", "V": "%V"}
YEAR = "\ue001"  # stands for the year; a private character no format has a use for
FORMATS["Y"] = YEAR
DATE_FORMATS = {letter: FORMATS[letter] for letter in "YmdyjAaBbUuwG%FV"}
PARSE_FORMATS = {letter: FORMATS[letter] for letter in "mdHMS%FT"} | {"Y": "%Y"}


def part_of(node: exp.Expression) -> str:
    """DAY, WEEK, WEEK(MONDAY) … from the syntax tree."""
    if isinstance(node, exp.Column) and not node.table:
        return node.name.upper()
    if isinstance(node, exp.Var):
        return node.name.upper()
    if isinstance(node, exp.Anonymous) and len(node.expressions) == 1:
        return f"{node.name.upper()}({part_of(node.expressions[0])})"
    raise invalid_query(f"Syntax error: a date part is expected, not {node.sql(dialect='bigquery')}")


def zoned(value: Expr, zone: Expr | None) -> str:
    """The wall clock of a timestamp in a zone, UTC unless given, as DuckDB's zoneless timestamp."""
    return f"({value.sql} AT TIME ZONE {_UTC if zone is None else _zone(zone)})"


def shift(name: str, value: Expr, amount: Expr, part: str) -> Expr:
    """DATE_ADD, DATE_SUB, TIMESTAMP_ADD and TIMESTAMP_SUB."""
    if not coercible(amount, "INT64"):
        raise invalid_query(f"Interval value must be coercible to INT64 type, not {amount.type}")
    type_ = "DATE" if name.startswith("DATE") else "TIMESTAMP"
    if not coercible(value, type_):
        raise invalid_query(f"No matching signature for function {name} for argument types: {value.type}, INTERVAL")
    value, amount = coerce(value, type_), coerce(amount, "INT64")
    steps = f"(-{amount.sql})" if name.endswith("SUB") else amount.sql
    if type_ == "DATE":
        if part not in DATE_PARTS:
            raise invalid_query(f"{name} does not support the {part} date part")
        sql = _shifted(value.sql, steps, part)
    else:
        if part not in MICROS:
            raise invalid_query(f"{name} does not support the {part} date part")
        sql = f"bq_timestamp_micros(epoch_us({value.sql}) + {steps} * {MICROS[part]})"
    result = combined(sql, type_, [value, amount])
    if type_ == "DATE" and amount.constant and value.partition and value.probe is not None:
        # A condition on it picks partitions too, as long as nothing else of the row is in it:
        # https://cloud.google.com/bigquery/docs/querying-partitioned-tables#isolate_the_partition_column_in_your_filter
        probe = _shifted(value.probe, steps, part)
        return Expr(sql, type_, constant=False, reads=result.reads, partition=value.partition, probe=probe)
    return result


def _shifted(value: str, steps: str, part: str) -> str:
    unit, times = ("months", " * 3") if part == "QUARTER" else (f"{part.lower()}s", "")
    return f"bq_date_range(CAST({value} + to_{unit}(CAST({steps}{times} AS INTEGER)) AS DATE))"


def difference(name: str, left: Expr, right: Expr, part: str) -> Expr:
    """TIMESTAMP_DIFF counts whole parts between, DATE_DIFF counts the borders crossed."""
    type_ = "DATE" if name.startswith("DATE") else "TIMESTAMP"
    if not coercible(left, type_) or not coercible(right, type_):
        raise unsupported(f"{name} of {left.type} and {right.type}")
    left, right = coerce(left, type_), coerce(right, type_)
    if type_ == "TIMESTAMP":
        if part not in MICROS:
            raise invalid_query(f"{name} does not support the {part} date part")
        sql = f"((epoch_us({left.sql}) - epoch_us({right.sql})) // {MICROS[part]})"
    elif part in ("DAY", "MONTH", "QUARTER", "YEAR"):
        sql = f"date_diff('{part.lower()}', {right.sql}, {left.sql})"
    else:
        sql = f"(({week_start(left.sql, part)} - {week_start(right.sql, part)}) // 7)"
    return combined(f"CAST({sql} AS BIGINT)", "INT64", [left, right])


def week_start(value: str, part: str) -> str:
    """The first day of the week of a DuckDB date."""
    offset = _week_offset(part)
    if offset is None:
        raise unsupported(f"the date part {part}")
    return f"(CAST(date_trunc('week', {value} - {offset}) AS DATE) + {offset})"


def _week_offset(part: str) -> int | None:
    """Days from Monday to the day on which the weeks of this part begin."""
    if part == "WEEK":
        return -1
    if part == "ISOWEEK":
        return 0
    for index, day in enumerate(WEEKDAYS):
        if part == f"WEEK({day})":
            return index if index < 6 else -1
    return None


def truncate(name: str, value: Expr, part: str, zone: Expr | None) -> Expr:
    """DATE_TRUNC and TIMESTAMP_TRUNC; they keep the order, so a condition on the result selects partitions."""
    type_ = "DATE" if name.startswith("DATE") and value.type != "TIMESTAMP" else "TIMESTAMP"
    if not coercible(value, type_):
        raise invalid_query(f"No matching signature for function {name} for argument types: {value.type}, DATE_PART")
    value = coerce(value, type_)
    sql = _truncated(type_, value.sql, part, zone)
    result = combined(sql, type_, [value])
    if value.partition and value.probe is not None and zone is None:
        probe = _truncated(type_, value.probe, part, None)
        return Expr(sql, type_, constant=False, reads=result.reads, partition=value.partition, probe=probe)
    return result


def _truncated(type_: str, value: str, part: str, zone: Expr | None) -> str:
    weekly = _week_offset(part) is not None
    if type_ == "DATE":
        if weekly:
            return f"bq_date_range({week_start(value, part)})"
        if part not in DATE_PARTS:
            raise unsupported(f"DATE_TRUNC to {part}")
        return f"CAST(date_trunc('{part.lower()}', {value}) AS DATE)"
    name = _UTC if zone is None else _zone(zone)
    wall = f"({value} AT TIME ZONE {name})"
    if weekly:
        start = f"CAST({week_start(f'CAST({wall} AS DATE)', part)} AS TIMESTAMP)"
        return f"bq_timestamp_range({start} AT TIME ZONE {name})"
    if part not in TRUNC_PARTS:
        raise unsupported(f"TIMESTAMP_TRUNC to {part}")
    if zone is not None and part in ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"):
        raise unsupported(f"TIMESTAMP_TRUNC to {part} with a time zone")
    return f"bq_timestamp_range(date_trunc('{part.lower()}', {wall}) AT TIME ZONE {name})"


def _zone(zone: Expr) -> str:
    if zone.type == NULL:
        return "CAST(NULL AS VARCHAR)"
    if zone.type != "STRING" or not zone.literal:
        raise unsupported("a time zone that is not a string literal")
    return zone.sql


def extract(value: Expr, part: str, zone: Expr | None) -> Expr:
    if value.type == NULL:
        return null("DATE" if part == "DATE" else "INT64")
    if value.type not in ("DATE", "TIMESTAMP"):
        raise unsupported(f"EXTRACT from {value.type}")
    wall = zoned(value, zone) if value.type == "TIMESTAMP" else value.sql
    if part == "DATE" and value.type == "TIMESTAMP":
        return combined(f"bq_date_range(CAST({wall} AS DATE))", "DATE", [value])
    known = EXTRACTS | (CLOCK_EXTRACTS if value.type == "TIMESTAMP" else {})
    if part not in known:
        raise unsupported(f"EXTRACT of {part} from {value.type}")
    return combined(f"CAST({known[part].format(wall)} AS BIGINT)", "INT64", [value])


def date_of(value: Expr, zone: Expr) -> Expr:
    """DATE(timestamp, zone)"""
    if value.type == NULL:
        return null("DATE")
    if value.type != "TIMESTAMP":
        raise invalid_query(f"No matching signature for function DATE for argument types: {value.type}, {zone.type}")
    return combined(f"bq_date_range(CAST({zoned(value, zone)} AS DATE))", "DATE", [value])


def format_time(name: str, pattern: Expr, value: Expr, zone: Expr | None) -> Expr:
    type_ = "DATE" if name == "FORMAT_DATE" else "TIMESTAMP"
    if not coercible(value, type_):
        raise invalid_query(f"No matching signature for function {name} for argument types: STRING, {value.type}")
    if pattern.type == NULL or value.type == NULL:
        return null("STRING")
    value = coerce(value, type_)
    layout = _layout(name, pattern, DATE_FORMATS if type_ == "DATE" else FORMATS)
    wall = value.sql if type_ == "DATE" else zoned(value, zone)
    if zone is not None:
        wall = f"bq_wall({wall})"
    if not layout:
        return combined(f"left(CAST({wall} AS VARCHAR), 0)", "STRING", [value])
    # BigQuery writes the years before 1000 without leading zeros, but in %F.
    parts = [f"strftime({wall}, {text(part)})" if part else "''" for part in layout.split(YEAR)]
    return combined("(" + f" || CAST(year({wall}) AS VARCHAR) || ".join(parts) + ")", "STRING", [value])


def parse_time(name: str, pattern: Expr, value: Expr) -> Expr:
    if not coercible(value, "STRING"):
        raise invalid_query(f"No matching signature for function {name} for argument types: STRING, {value.type}")
    type_ = "DATE" if name == "PARSE_DATE" else "TIMESTAMP"
    if pattern.type == NULL or value.type == NULL:
        return null(type_)
    value = coerce(value, "STRING")
    layout = _layout(name, pattern, PARSE_FORMATS)
    if "%Y" not in layout:
        raise unsupported(f"{name} with a format that has no year")
    parsed = f"strptime({value.sql}, {text(layout)})"
    if name == "PARSE_DATE":
        return combined(f"bq_date_range(CAST({parsed} AS DATE))", "DATE", [value])
    return combined(f"bq_timestamp_range({parsed} AT TIME ZONE 'UTC')", "TIMESTAMP", [value])


def _layout(name: str, pattern: Expr, known: dict[str, str]) -> str:
    """The format in DuckDB's spelling; ApiError naming the element that has no exact equal."""
    if pattern.type != "STRING" or not pattern.literal:
        raise unsupported(f"{name} with a format that is not a string literal")
    given = pattern.sql[1:-1].replace("''", "'")
    written: list[str] = []
    position = 0
    while position < len(given):
        if given[position] != "%":
            written.append(given[position])
            position += 1
            continue
        letter = given[position + 1 : position + 2]
        if letter not in known:
            raise unsupported(f"the format element %{letter} in {name}")
        written.append(known[letter])
        position += 2
    return "".join(written)
