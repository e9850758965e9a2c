"""Statements that nobody wrote, asked of the emulator and of GoogleSQL, which must agree.

    make fuzz-sql [SECONDS=300] [SEED=1]            as many as fit into the time
    python -m tests.emulators.bigquery.sql_fuzz --replay 1:4711  one of them again

A statement depends on nothing but its name, SEED:NUMBER. It is one of the expressions of `ANSWERS` with its values
replaced by stranger ones and parts put into one another, or a small query over a small table that it brings along.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from tests import process
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery.sql_agreement import Google, Ours, Verdict, judge
from tests.emulators.bigquery.test_functions import ANSWERS

# Values that stand at an end of some range, or mean something to one of the two.
VALUES = {
    "INT64": [
        *("0", "1", "2", "3", "7", "100", "-1", "-2", "-7", "9999", "10000", "1000000"),
        *("2147483647", "2147483648", "-2147483649", "4294967296", "9007199254740993", "253402300799"),
        *("9223372036854775807", "-9223372036854775807", "-9223372036854775808", "-62135596800", "-62135596801"),
    ],
    "FLOAT64": [
        *("0.0", "-0.0", "1.5", "-1.5", "2.5", "0.1", "1e15", "1e16", "123456789.125", "1e308", "-1e308", "5e-324"),
        *("9007199254740993.0", "9.3e18", *(f"CAST('{value}' AS FLOAT64)" for value in ("nan", "inf", "-inf"))),
    ],
    "NUMERIC": [
        f"NUMERIC '{value}'"
        for value in (
            *("0", "1", "-1", "1.5", "-2.5", "0.000000001", "12345678901234567890.5"),
            *("99999999999999999999999999999.999999999", "-99999999999999999999999999999.999999999"),
        )
    ],
    "STRING": [
        *("''", "' '", "'a'", "'abc'", "'a,b,,c'", "'äöü'", "'😀e\\u0301'", "'İß'", "'%'", "'_'", "'a%c'", "'a\\\\%'"),
        *("'0'", "'-5'", "' 7 '", "'1.5'", "'1e5'", "'inf'", "'true'", "'2024-02-29'", "'0001-01-01'", "'9999-12-31'"),
        *("'2024-02-30'", "'2024-01-02 03:04:05+00'", "'9999-12-31 23:59:59.999999+00'", "'00ff'", "'QXo='"),
        *("'{}'", "'[1, \"a\", null]'", "'\\t\\n'", "'\\u00a0'", "'it\\'s'", "'a\\nb'", "'$'", "'.'", "'(a)'", "'a*'"),
    ],
    "BOOL": ["TRUE", "FALSE"],
    "DATE": [
        f"DATE '{value}'"
        for value in (
            *("0001-01-01", "0001-12-31", "1582-10-15", "1969-12-31", "1970-01-01", "2000-02-29", "2024-02-29"),
            *("2024-12-30", "2026-01-01", "9999-01-01", "9999-12-31"),
        )
    ],
    "TIMESTAMP": [
        f"TIMESTAMP '{value}'"
        for value in (
            *("0001-01-01 00:00:00+00", "0001-01-01 00:00:00.000001+00", "1969-12-31 23:59:59.999999+00"),
            *("1970-01-01 00:00:00+00", "2024-02-29 12:34:56.789+00", "2024-03-31 01:30:00+00"),
            *("2024-10-27 00:30:00+00", "9999-12-31 23:59:59+00", "9999-12-31 23:59:59.999999+00"),
        )
    ],
}
LITERAL = re.compile(
    r"""(?P<PATTERN>(?<![\w])r'(?:[^'\\]|\\.)*')|(?P<DATE>\bDATE\s+'[^']*')|(?P<TIMESTAMP>\bTIMESTAMP\s+'[^']*')"""
    r"""|(?P<NUMERIC>\bNUMERIC\s+'[^']*')|(?P<JSON>\bJSON\s+'(?:[^'\\]|\\.)*')"""
    r"""|(?P<FLOAT64>(?<![\w.'])-?\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+))|(?P<INT64>(?<![\w.'])-?\d+(?![\w.]))"""
    r"""|(?P<STRING>'(?:[^'\\]|\\.)*')|(?P<BOOL>\bTRUE\b|\bFALSE\b)|(?P<NULL>\bNULL\b)"""
)
PATTERNS = ["r'a*'", "r''", "r'^'", "r'$'", "r'b|'", "r'(a)|b'", "r'[^,]+'", r"r'\d+'", r"r'\b'", "r'(?i)A'", "r'.'"]
JSONS = [
    f"JSON '{value}'"
    for value in (
        *("null", "1", "-0", "1e5", "1.0", "12345678901234567890", "true", '"x"', '"1.5"', "[]", "{}", "[1,[2]]"),
        *('{"a":1}', '{"a":{"b":null}}', '{"a":"x","b":[1.5,"y"]}', '{"":1}', "1e400", "0.1"),
    )
]
TYPES = {int: "INT64", float: "FLOAT64", str: "STRING", bool: "BOOL"}


def _kind(answer: Any) -> str | None:
    return TYPES.get(type(answer)) or {"Decimal": "NUMERIC", "date": "DATE", "datetime": "TIMESTAMP"}.get(
        type(answer).__name__
    )


_by_kind: dict[str, list[str]] = {}
for _sql, _answer in ANSWERS:
    if (_found := _kind(_answer)) is not None:
        _by_kind.setdefault(_found, []).append(_sql)


def value(dice: random.Random, kind: str, columns: dict[str, list[str]] | None = None) -> str:
    """An expression of that type: a value, a NULL of the type, a column, now and then something computed."""
    chance = dice.random()
    if columns and chance < 0.5 and kind in columns:
        return dice.choice(columns[kind])
    if chance < 0.6:
        return dice.choice(VALUES[kind])
    if chance < 0.75:
        return f"CAST(NULL AS {kind})"
    if chance < 0.8:
        return "NULL"
    return mutated(dice, f"({dice.choice(_by_kind[kind])})", columns)


def mutated(dice: random.Random, sql: str, columns: dict[str, list[str]] | None = None) -> str:
    """The expression with some of its literals replaced."""
    found = list(LITERAL.finditer(sql))
    if not found:
        return sql
    for match in sorted(dice.sample(found, min(len(found), dice.choice((1, 1, 2)))), key=lambda m: -m.start()):
        kind = str(match.lastgroup)
        if kind == "PATTERN":
            new = dice.choice(PATTERNS)
        elif kind == "JSON":
            new = dice.choice([*JSONS, "CAST(NULL AS JSON)"])
        elif kind == "NULL":
            new = value(dice, dice.choice(list(VALUES)), columns)
        elif kind == "STRING" and match.group().startswith("'$"):
            new = dice.choice(["'$'", "'$.a'", "'$.a.b'", "'$[0]'", "'$.b[1]'"])
        else:
            new = value(dice, kind, columns)
        sql = f"{sql[: match.start()]}{new}{sql[match.end() :]}"
    return sql


# How an expression of a type goes on: {0} is it, {1} another of its type.
AROUND = {
    "INT64": ["{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "-({0})", "{0} < {1}", "{0} IN ({1}, {1})",
              "CAST({0} AS STRING)", "CAST({0} AS FLOAT64)", "CAST({0} AS NUMERIC)", "CAST({0} AS BOOL)", "ABS({0})"],
    "FLOAT64": ["{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "-({0})", "{0} < {1}", "{0} IS NULL",
                "CAST({0} AS INT64)", "SAFE_CAST({0} AS INT64)", "SAFE_CAST({0} AS NUMERIC)", "ROUND({0})",
                "{0} BETWEEN {1} AND {1}", "{0} IN ({1}, {1})", "TO_JSON_STRING({0})"],
    "NUMERIC": ["{0} + {1}", "{0} - {1}", "{0} * {1}", "-({0})", "{0} < {1}", "CAST({0} AS INT64)", "ROUND({0}, 2)",
                "CAST({0} AS FLOAT64)", "CAST({0} AS STRING)", "TO_JSON_STRING({0})", "ABS({0})"],
    "STRING": ["{0} || {1}", "{0} LIKE {1}", "{0} < {1}", "SAFE_CAST({0} AS INT64)", "SAFE_CAST({0} AS DATE)",
               "SAFE_CAST({0} AS FLOAT64)", "SAFE_CAST({0} AS TIMESTAMP)", "SAFE_CAST({0} AS NUMERIC)",
               "SAFE_CAST({0} AS BOOL)", "LENGTH({0})", "UPPER({0})", "LOWER({0})", "REVERSE({0})", "TRIM({0})",
               "TRIM({0}, {1})", "LTRIM({0}, {1})", "RTRIM({0}, {1})", "REPLACE({0}, {1}, {1})", "SPLIT({0}, {1})",
               "STRPOS({0}, {1})", "STARTS_WITH({0}, {1})", "TO_JSON_STRING({0})", "CONCAT({0}, {1})",
               "JSON_VALUE({0}, '$.a')", "JSON_QUERY({0}, '$')", "REGEXP_REPLACE({0}, r'a', {1})"],
    "BOOL": ["{0} AND {1}", "{0} OR {1}", "NOT {0}", "{0} = {1}", "IF({0}, {1}, {1})", "{0} IS TRUE",
             "{0} IS NOT FALSE", "CAST({0} AS INT64)", "CAST({0} AS STRING)", "{0} IS DISTINCT FROM {1}"],
    "DATE": ["DATE_ADD({0}, INTERVAL 1 DAY)", "DATE_SUB({0}, INTERVAL 1 MONTH)", "DATE_TRUNC({0}, WEEK)",
             "DATE_TRUNC({0}, ISOWEEK)", "DATE_TRUNC({0}, QUARTER)", "DATE_DIFF({0}, {1}, DAY)", "{0} + 1", "{0} < {1}",
             "DATE_DIFF({0}, {1}, WEEK)", "DATE_DIFF({0}, {1}, ISOWEEK)", "DATE_DIFF({0}, {1}, MONTH)",
             "EXTRACT(WEEK FROM {0})", "EXTRACT(ISOYEAR FROM {0})", "FORMAT_DATE('%F %j %U %V %G', {0})",
             "LAST_DAY({0})", "UNIX_DATE({0})", "CAST({0} AS TIMESTAMP)", "CAST({0} AS STRING)",
             "TIMESTAMP({0})", "TO_JSON_STRING({0})"],
    "TIMESTAMP": ["TIMESTAMP_ADD({0}, INTERVAL 1 SECOND)", "TIMESTAMP_SUB({0}, INTERVAL 1 DAY)",
                  "TIMESTAMP_TRUNC({0}, WEEK)", "TIMESTAMP_TRUNC({0}, MONTH)", "TIMESTAMP_DIFF({0}, {1}, HOUR)",
                  "TIMESTAMP_TRUNC({0}, DAY, 'Europe/Berlin')", "DATE({0}, 'America/New_York')", "DATE({0})",
                  "EXTRACT(HOUR FROM {0} AT TIME ZONE 'Asia/Kolkata')", "EXTRACT(DAYOFWEEK FROM {0})",
                  "FORMAT_TIMESTAMP('%F %T', {0}, 'Europe/Berlin')", "FORMAT_TIMESTAMP('%c', {0})", "{0} < {1}",
                  "UNIX_SECONDS({0})", "UNIX_MILLIS({0})", "UNIX_MICROS({0})", "CAST({0} AS STRING)",
                  "TIMESTAMP_TRUNC({0}, HOUR)", "TO_JSON_STRING({0})", "STRING({0})"],
}  # fmt: skip
ANY = ["COALESCE({0}, {1})", "IFNULL({0}, {1})", "NULLIF({0}, {1})", "IF({0} IS NULL, {1}, {0})", "{0} = {1}",
       "{0} != {1}", "GREATEST({0}, {1})", "LEAST({0}, {1})", "[{0}, {1}][SAFE_OFFSET(1)]", "{0} IN UNNEST([{1}, {1}])",
       "CASE {0} WHEN {1} THEN 1 ELSE 2 END", "ARRAY_LENGTH([{0}, {1}])"]  # fmt: skip


def expression(dice: random.Random, columns: dict[str, list[str]] | None = None) -> str:
    """An expression of any type."""
    chance = dice.random()
    if chance < 0.45:
        return mutated(dice, dice.choice(ANSWERS)[0], columns)
    kind = dice.choice(list(VALUES))
    shape = dice.choice(AROUND[kind] if chance < 0.8 else ANY)
    return shape.format(f"({value(dice, kind, columns)})", f"({value(dice, kind, columns)})")


COLUMNS = {"i": "INT64", "f": "FLOAT64", "s": "STRING", "b": "BOOL", "d": "DATE", "t": "TIMESTAMP", "n": "NUMERIC"}
NAMES = {kind: [name] for name, kind in COLUMNS.items()}


def source(dice: random.Random) -> str:
    """A small table as a subquery, with twins and NULLs in it."""
    rows = []
    for _ in range(dice.randint(1, 5)):
        cells = [
            f"CAST(NULL AS {kind})" if dice.random() < 0.25 else dice.choice(VALUES[kind][:10])
            for kind in COLUMNS.values()
        ]
        rows.append("SELECT " + ", ".join(f"{cell} AS {name}" for name, cell in zip(COLUMNS, cells, strict=True)))
    return "(" + " UNION ALL ".join(rows) + ")"


def aggregate(dice: random.Random) -> str:
    name = dice.choice(list(COLUMNS))
    return dice.choice(
        [
            *("COUNT(*)", f"COUNT({name})", f"COUNT(DISTINCT {name})", f"MIN({name})", f"MAX({name})", "SUM(i)"),
            *("SUM(f)", "SUM(n)", "AVG(i)", "AVG(f)", "COUNTIF(b)", "LOGICAL_AND(b)", "LOGICAL_OR(b)", "STDDEV(i)"),
            *(
                "VAR_POP(f)",
                "STRING_AGG(s, ',' ORDER BY s)",
                "STRING_AGG(s, '-' ORDER BY s LIMIT 1)",
                "SUM(DISTINCT i)",
            ),
            *(f"ARRAY_AGG({name} IGNORE NULLS ORDER BY {name} DESC LIMIT 2)", "MAX(i) - MIN(i)", "STDDEV_POP(i)"),
            *("STRING_AGG(DISTINCT s ORDER BY s)", "VARIANCE(i)", f"COUNT(*) - COUNT({name})", "STRING_AGG(s LIMIT 0)"),
        ]
    )


def window(dice: random.Random) -> str:
    name, key, order = dice.choice(list(COLUMNS)), dice.choice("isbdt"), dice.choice("ifsdtn")
    frame = dice.choice(["", " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", " ROWS 1 PRECEDING"])
    whole = f"PARTITION BY {key} ORDER BY {order}{dice.choice(['', ' DESC', ' NULLS LAST'])}, s, i, f, d, t, n, b"
    shapes = [
        *("ROW_NUMBER() OVER ({whole})", "NTILE(2) OVER ({whole})", "COUNT({name}) OVER (PARTITION BY {key})"),
        *("SUM(i) OVER ({whole}{frame})", "MAX({name}) OVER ({whole}{frame})", "RANK() OVER (ORDER BY {order})"),
        *("LAG({name}) OVER ({whole})", "LEAD({name}, 2) OVER ({whole})", "NTH_VALUE({name}, 2) OVER ({whole})"),
        *("FIRST_VALUE({name}) OVER ({whole}{frame})", "LAST_VALUE({name}) OVER ({whole}{frame})"),
        *("DENSE_RANK() OVER (ORDER BY {order})", "PERCENT_RANK() OVER (ORDER BY {order})"),
        *("CUME_DIST() OVER (ORDER BY {order})",),
    ]
    return dice.choice(shapes).format(whole=whole, name=name, key=key, order=order, frame=frame)


def query(dice: random.Random) -> str:
    """A query over a small table."""
    table = source(dice)
    one, two, three = (expression(dice, NAMES) for _ in range(3))
    condition = dice.choice(["", f"WHERE ({value(dice, 'BOOL', NAMES)})", f"WHERE ({one}) IS NOT NULL"])
    key, other = dice.sample("isbdt", 2)
    shape: Callable[[], str] = dice.choice(
        [
            lambda: f"SELECT {one}, {two} FROM {table} AS x {condition}",
            lambda: f"SELECT {key}, {aggregate(dice)}, {aggregate(dice)} FROM {table} AS x {condition} GROUP BY {key}",
            lambda: f"SELECT {aggregate(dice)}, {aggregate(dice)} FROM {table} AS x {condition}",
            lambda: f"SELECT s, {window(dice)}, {window(dice)} FROM {table} AS x {condition}",
            lambda: f"SELECT DISTINCT {key}, {other} FROM {table} AS x {condition}",
            lambda: f"SELECT {key} FROM {table} AS x ORDER BY {key}{dice.choice(['', ' DESC', ' DESC NULLS FIRST'])}",
            lambda: f"SELECT x.s, y.i FROM {table} AS x {dice.choice(['', 'LEFT ', 'FULL '])}JOIN {source(dice)} AS y "
                    f"ON x.{key} = y.{key}",
            lambda: f"SELECT {key} FROM {table} AS x {dice.choice(['UNION ALL', 'UNION DISTINCT', 'EXCEPT DISTINCT'])} "
                    f"SELECT {key} FROM {source(dice)} AS y",
            lambda: f"SELECT COUNT(*) FROM {table} AS x WHERE {key} {dice.choice(['', 'NOT '])}IN "
                    f"(SELECT {key} FROM {source(dice)} AS y)",
            lambda: f"SELECT {key}, COUNT(*) FROM {table} AS x GROUP BY {key} HAVING {aggregate(dice)} IS NOT NULL",
            lambda: f"SELECT {three} FROM {table} AS x, UNNEST([{value(dice, 'INT64')}, 1]) AS u",
        ]
    )  # fmt: skip
    return shape()


def statement(name: str) -> str:
    """The statement of that name, `SEED:NUMBER`."""
    dice = random.Random(name)
    return query(dice) if dice.random() < 0.35 else f"SELECT {expression(dice)}"


def disagreements(client: bigquery.Client, google: Google, seed: str, seconds: float) -> Iterator[tuple[str, Verdict]]:
    """Ask both until the time is over; what they do not agree on, and at last the counts."""
    ours, end, number = Ours(client), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        name = f"{seed}:{number}"
        yield name, judge(statement(name), ours, google)
        number += 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    options.add_argument("--replay", metavar="SEED:NUMBER")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data.duckdb")
        with process.running("emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--data", data) as emulator:
            client = desk.client(f"http://127.0.0.1:{emulator.ready['rest']}", "fuzz")
            google = Google()
            if given.replay:
                print(judge(statement(given.replay), Ours(client), google).report(given.replay))
                return
            counts: Counter[str] = Counter()
            for name, verdict in disagreements(client, google, given.seed, given.seconds):
                counts[verdict.word] += 1
                if verdict.wrong:
                    print(verdict.report(name), flush=True)
            print(f"seed {given.seed}:", ", ".join(f"{count} {word}" for word, count in counts.most_common()))
            raise SystemExit(1 if counts["disagree"] else 0)


if __name__ == "__main__":
    main()
