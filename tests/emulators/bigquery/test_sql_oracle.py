"""The emulator's SQL held to GoogleSQL's own analyzer and evaluator: answers, refusals, and what the project asks."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.bigquery.sql.grammar import RESERVED
from services.ops.compact_sql import Statements
from services.provision import analyst_views, conflicts, reconciliation, view
from services.shared import schema, schema_file, tally_table
from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery import sql_fuzz, sql_statements
from tests.emulators.bigquery import test_sql as queries
from tests.emulators.bigquery.oracle import Aborted, Oracle, SqlRefused, Table, oracle
from tests.emulators.bigquery.sql_agreement import KNOWN, LACKING, OUT_OF_REACH, Google, Ours, judge, same
from tests.emulators.bigquery.test_functions import ANSWERS, REFUSALS
from tests.process import ROOT

PROJECT = "project"
COLUMNS = {
    field.name: {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(field.field_type, field.field_type)
    for field in desk.FIELDS
}

pytestmark = pytest.mark.timeout(400)  # each asks hundreds of statements


@pytest.fixture(scope="module")
def google() -> Oracle:
    return oracle()


@pytest.fixture(scope="module")
def ours(bigquery_host: BigQueryAddress) -> Ours:
    return Ours(desk.client(bigquery_host.rest, "oracle"))


def _world() -> list[Table]:
    """The tables of the queries in test_bigquery_sql, as GoogleSQL takes them."""
    log = [[{"day": queries.TODAY, **row}.get(name) for name in COLUMNS] for row in queries.LOG]
    people = [(queries.TODAY, "a", "Ann"), (queries.TODAY, "z", "Zoe")]
    named = {"day": "DATE", "id": "STRING", "name": "STRING"}
    return [
        Table(f"{PROJECT}.d.log", COLUMNS, log),
        Table(f"{PROJECT}.d.people", named, people),
        Table(f"{PROJECT}.d.events", COLUMNS),
    ]


def test_every_answer_is_googles(google: Oracle) -> None:
    wrong, asked = [], 0
    for sql, answer in ANSWERS:
        try:
            ((found,),) = google.evaluate(f"SELECT {sql}")
        except SqlRefused as error:
            if not LACKING.search(str(error)):
                wrong.append(f"{sql}: {answer!r}, and GoogleSQL refuses: {error}")
            continue
        asked += 1
        if not same(found, float("nan") if answer == "nan" else answer):
            wrong.append(f"{sql}: {answer!r}, but GoogleSQL gives {found!r}")
    assert not wrong, "\n".join(wrong)
    assert asked > 0.97 * len(ANSWERS)


def test_every_refused_expression_is_refused_by_google_or_out_of_reach(ours: Ours, google: Oracle) -> None:
    verdicts = [judge(f"SELECT {sql}", ours, Google()) for sql, _ in REFUSALS]
    wrong = [verdict.report("") for verdict in verdicts if verdict.word not in ("both refuse", "out of reach", "known")]
    assert not wrong, "\n".join(wrong)


def test_every_row_is_googles(google: Oracle) -> None:
    wrong = []
    for sql, rows in queries.RESULTS:
        if rows == "duplicate":
            continue  # a rule of BigQuery's, not of the language
        text = queries.filled(sql)
        text = re.sub(r"\bd\.(log|people)\b", rf"`{PROJECT}.d.\1`", text)
        found = google.evaluate(text, _world())
        if not same(found, rows):
            wrong.append(f"{sql}: {rows!r}, but GoogleSQL gives {found!r}")
    assert not wrong, "\n".join(wrong)


def test_every_query_that_is_taken_is_good_googlesql(google: Oracle) -> None:
    asked = [queries.filled(sql) for sql in [*queries.REACH, *(sql for sql, _ in queries.RESULTS)]]
    asked += [f"SELECT COUNT(*) FROM d.log WHERE {queries.filled(where)}" for where in queries.FILTERED]
    asked += [f"SELECT COUNT(*) FROM d.log WHERE {queries.filled(where)}" for where in queries.UNFILTERED]
    for sql in asked:
        google.analyze(sql, _world())


def test_every_refused_query_is_refused_by_google_or_out_of_reach(google: Oracle) -> None:
    taken = set()
    for sql, reason in queries.REFUSED.items():
        try:
            google.analyze(sql, _world())
        except SqlRefused:
            continue
        taken.add(reason)
    assert taken <= queries.OUT_OF_REACH, taken - queries.OUT_OF_REACH


def test_every_statement_the_project_sends_is_good_googlesql(google: Oracle) -> None:
    wrong, kept = [], sql_statements.kept()
    for line in kept:
        tables = sql_statements.tables(line)
        try:
            google.analyze(line["sql"], tables, line["named"] or line["positional"])
        except SqlRefused as error:
            if not any(known.search(line["sql"]) for known in sql_statements.KNOWN):
                wrong.append(f"{line['sql']}\n  {error}")
    assert not wrong, "\n".join(wrong)
    kinds = Counter(line["kind"] for line in kept)
    assert kinds["SELECT"] > 100 and kinds["MERGE"] and kinds["INSERT"] and kinds["DELETE"], kinds


BLOCK = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"SQL='([^'…]+)'")
# https://cloud.google.com/looker/docs/studio/connect-to-google-bigquery#date-parameters
LOOKER_STUDIO = {"DS_START_DATE": "STRING", "DS_END_DATE": "STRING"}
HIDDEN = re.compile(r"(^|/)(\.|node_modules/)")  # installed, or of an earlier run
PROSE = [path for path in ROOT.rglob("*.md") if not HIDDEN.search(str(path.relative_to(ROOT)))]


def _documented() -> list[tuple[Path, str]]:
    found = []
    for path in sorted(PROSE):
        text = path.read_text()
        found += [(path, sql) for sql in [*BLOCK.findall(text), *COMMAND.findall(text)]]
    return found


def test_every_statement_of_the_documentation_is_good_googlesql(google: Oracle) -> None:
    found, schema_ = _documented(), schema_file.load(schema.DEFAULT_FILE)
    assert len(found) >= 6
    for path, text in found:
        sql = text
        for one in analyst_views.wanted(schema_):
            made = one.sql(schema_, PROJECT, "pixelpipe")
            if one.arguments:
                continue  # a table function takes no part of its caller
            sql = re.sub(rf"\bpixelpipe\.{one.name}\b", lambda _, made=made: f"({made})", sql)
        compared = f"({reconciliation.sql(PROJECT, 'pixelpipe')})"
        sql = sql.replace(f"`PROJECT.pixelpipe.{schema.RECONCILIATION}`", compared)  # as the documents write it
        try:
            google.analyze(
                sql, [*_pipeline(total="NUMERIC"), *_functions()], LOOKER_STUDIO
            )  # the column that the README adds
        except SqlRefused as error:
            pytest.fail(f"{path.relative_to(ROOT)}: {sql}\n{error}")


def _pipeline(**more: str) -> list[Table]:
    """The tables and views of the schema file; `more` are columns of all of them."""
    found = []
    for table in schema_file.load(schema.DEFAULT_FILE).tables.values():
        columns = {**{column.name: column.type for column in table.columns}, **more}
        found.append(Table(f"{PROJECT}.pixelpipe.{table.name}", columns))
        found.append(Table(f"{PROJECT}.pixelpipe.{table.log_name}", {**columns, schema.MARK: "BOOL"}))
    tallies = {column.name: column.type for column in tally_table.TABLE.columns}
    return [*found, Table(f"{PROJECT}.pixelpipe.{tally_table.TABLE.log_name}", tallies)]


def _functions() -> list[Table]:
    """The table functions for analysts."""
    return [
        Table(
            f"{PROJECT}.pixelpipe.{one.name}",
            {name: analyst_views.TYPES.get(name, "STRING") for name in one.columns},
            arguments=[argument.type for argument in one.arguments.values()],
        )
        for one in analyst_views.ALL
        if one.arguments
    ]


def test_every_view_is_good_googlesql(google: Oracle) -> None:
    for table in schema_file.load(schema.DEFAULT_FILE).tables.values():
        names = [column.name for column in table.columns]
        google.analyze(view.sql(table, PROJECT, "pixelpipe", names), _pipeline())


def test_what_compaction_says_is_good_googlesql(google: Oracle) -> None:
    found = schema_file.load(schema.DEFAULT_FILE)
    conflict = conflicts.table(found)
    tables = [
        *_pipeline(),
        Table(f"{PROJECT}.pixelpipe.{conflict.log_name}", {one.name: one.type for one in conflict.columns}),
    ]
    for table in found.tables.values():
        names = [*(column.name for column in table.columns), schema.MARK]
        made = Statements(table, PROJECT, "pixelpipe", names, dt.date(2026, 3, 1))
        for sql in (made.count(), made.count_conflicts(), made.move(), made.remove()):
            google.analyze(sql, tables)


def test_the_same_words_are_reserved(google: Oracle) -> None:
    for word in RESERVED:
        with pytest.raises(SqlRefused, match=r"Syntax error|must be followed by"):
            google.analyze(f"SELECT 1 AS {word}")
        google.analyze(f"SELECT 1 AS `{word}`")
    for word in ("date", "day", "value", "type", "offset", "timestamp", "key", "row", "first", "last", "view", "table"):
        assert word.upper() not in RESERVED
        google.analyze(f"SELECT 1 AS {word}")


def test_values_pass_through_the_oracle_unchanged(google: Oracle) -> None:
    moment = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC)
    row = (dt.date(1, 1, 1), "it's", moment, -(2**63), 0.1, False, Decimal("-0.000000001"), '{"a": [1]}', b"\x00\xff")
    table = Table(f"{PROJECT}.d.t", COLUMNS, [row, (None,) * len(row)])
    found = google.evaluate("SELECT * FROM `project.d.t` ORDER BY day DESC", [table])
    assert found == [(*row[:7], {"a": [1]}, row[8]), (None,) * len(row)]
    civil = (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.time(23, 59, 59, 1))  # noqa: DTZ001 - no zone
    times = Table(f"{PROJECT}.d.c", {"at": "DATETIME", "clock": "TIME"}, [civil, (None, None)])
    assert google.evaluate("SELECT `at`, clock FROM `project.d.c` WHERE clock > '23:00:00'", [times]) == [civil]
    written = "DATETIME '2024-02-29 01:02:03.000004', TIME '00:00:00', DATETIME '0001-01-01 00:00:00'"
    found = google.evaluate(f"SELECT {written}")
    assert found == [(dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.time(), dt.datetime(1, 1, 1))]  # noqa: DTZ001
    assert google.evaluate("SELECT ['a', NULL], STRUCT(1 AS x)") == [(["a", None], {"x": 1})]


def test_the_oracle_outlives_a_trap(google: Oracle) -> None:
    with pytest.raises((Aborted, SqlRefused)):
        google.evaluate("SELECT " + "-(" * 20_000 + "1" + ")" * 20_000)
    assert google.evaluate("SELECT 1") == [(1,)]


def test_a_known_disagreement_has_a_reason_and_an_authority() -> None:
    for known in KNOWN:
        assert known.reason.endswith(".") and known.authority


ENDS = {
    "INT64": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "FLOAT64": ["0.0", "-0.0", "1e308", "CAST('nan' AS FLOAT64)", "CAST('-inf' AS FLOAT64)"],
    "NUMERIC": ["NUMERIC '-99999999999999999999999999999.999999999'", "NUMERIC '0.000000001'"],
    "DATE": ["DATE '0001-01-01'", "DATE '9999-12-31'"],
    "TIMESTAMP": ["TIMESTAMP '0001-01-01 00:00:00+00'", "TIMESTAMP '9999-12-31 23:59:59.999999+00'"],
    "STRING": ["''"],
}


def _varied(kind: str, how: str) -> list[str]:
    """What takes the place of a value of that kind."""
    kind = {"PATTERN": "STRING", "NULL": "INT64"}.get(kind, kind)
    return ["NULL", f"CAST(NULL AS {kind})"] if how == "null" else ENDS.get(kind, [])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["null", "end of the range"])
def test_another_in_the_place_of_any_value_gives_googles_answer(ours: Ours, how: str) -> None:
    wrong = []
    for sql, _ in ANSWERS:
        for match in sql_fuzz.LITERAL.finditer(sql):
            for instead in _varied(str(match.lastgroup), how):
                verdict = judge(f"SELECT {sql[: match.start()]}{instead}{sql[match.end() :]}", ours, Google())
                if verdict.wrong:
                    wrong.append(verdict.report(how))
    assert not wrong, "\n".join(wrong)


OPEN = (
    "20261129:324"  # LOG10 of a NUMERIC that COALESCE takes together with an INT64 is a NUMERIC there, a FLOAT64 here
)


@pytest.mark.slow
def test_strange_statements_agree_with_google(bigquery_host: BigQueryAddress) -> None:
    """The same ones each time: what is new is for `make fuzz-sql`, which nobody waits for."""
    client, wrong = desk.client(bigquery_host.rest, "fuzz"), []
    counts: Counter[str] = Counter()
    for name, verdict in islice(sql_fuzz.disagreements(client, Google(), "20261129", 60), 1_200):
        counts[verdict.word] += 1
        if verdict.wrong and name != OPEN:
            wrong.append(verdict.report(name))
    assert not wrong, "\n".join(wrong)
    assert counts["agree"] > counts.total() / 2, counts


# Random text over the words and signs that a parser knows: what is almost a statement goes deeper than noise.
PIECES = [
    *("SELECT", "FROM", "WHERE", "UNNEST", "AS", "x", "y", "d.t", "`a b`", "(", ")", "[", "]", ",", ".", "*", "+"),
    *("-", "/", "=", "<", ">", "||", "'a'", '"b"', "''", "'''", "r'\\d'", "b'\\xff'", "0x1F", "1e400", "0", "-1", ".5"),
    *("9223372036854775808", "NULL", "TRUE", "NOT", "AND", "OR", "IN", "LIKE", "BETWEEN", "IS", "CASE", "WHEN", "THEN"),
    *("ELSE", "END", "CAST", "SAFE_CAST", "INT64", "ARRAY", "STRUCT", "DATE", "TIMESTAMP", "INTERVAL", "DAY", "IF"),
    *("COUNT(*)", "SUM", "OVER", "PARTITION BY", "ORDER BY", "GROUP BY", "HAVING", "QUALIFY", "LIMIT", "WITH"),
    *("UNION ALL", "JOIN", "USING", "ON", "EXTRACT", "AT TIME ZONE", "'UTC'", "JSON_VALUE", "'$.a'", "PARSE_DATE"),
    *("REGEXP_CONTAINS", "'%Y'", "STRING_AGG", "ARRAY_AGG", "DISTINCT", "IGNORE NULLS", "@p", "?", "@@x", ";", "--"),
    *("/*", "*/", "#", "\\", "\x00", "\ue000", "\ue001", "\ud7ff", "😀", "\n", "INSERT INTO", "VALUES", "MERGE"),
    *("DELETE", "UPDATE", "SET", "CREATE TABLE", "DROP", "ALTER", "PIVOT", "EXCEPT", "REPLACE", "DECLARE", "BEGIN"),
    *("INFORMATION_SCHEMA.TABLES", "EXECUTE IMMEDIATE"),
]
PHRASES = st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join)
STATEMENTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=20).map(lambda pieces: " ".join(["SELECT", *pieces])),
    st.builds("SELECT {} FROM UNNEST([1, NULL]) AS x {}".format, PHRASES, PHRASES),
    st.sampled_from(ANSWERS).flatmap(
        lambda answer: st.builds(
            lambda cut, piece: f"SELECT {answer[0][:cut]} {piece} {answer[0][cut:]}",
            st.integers(0, len(answer[0])), st.sampled_from(PIECES))),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=STATEMENTS)
def test_any_text_gets_an_answer_or_an_error_of_bigquerys_kind(ours: Ours, sql: str) -> None:
    _answered(ours, sql)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=STATEMENTS)
def test_much_text_gets_an_answer_or_an_error_of_bigquerys_kind(ours: Ours, sql: str) -> None:
    _answered(ours, sql)


def _answered(ours: Ours, sql: str) -> None:
    """Rows or a refusal within the client's time limit; anything else the client raises is a failure."""
    try:
        ours.evaluate(sql)
        said = ""
    except SqlRefused as error:
        said = str(error)
    assert not re.search("INTERNAL|FATAL|Internal Error|invalidated", said)


NESTED = [
    "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    "SELECT " + "-" * 1 + "(-" * 2000 + "1" + ")" * 2000,
    "SELECT " + "NOT " * 5000 + "TRUE",
    "SELECT " + " + ".join(["1"] * 5000),
    "SELECT " + " || ".join(["'a'"] * 5000),
    "SELECT " + "[" * 1000 + "]" * 1000,
    "SELECT " + "IF(TRUE, " * 800 + "1" + ", 2)" * 800,
    "SELECT * FROM " + "(SELECT * FROM " * 500 + "UNNEST([1]) AS x" + ")" * 500,
    "SELECT 1" + " UNION ALL SELECT 1" * 3000,
    "SELECT " + "CASE WHEN TRUE THEN " * 800 + "1" + " END" * 800,
    # Each of these would multiply, were the text of an argument written out wherever it is used.
    "SELECT " + " / ".join(["x"] * 30) + " FROM UNNEST([0.5]) AS x",
    "SELECT " + "TRIM(REPLACE(" * 8 + "'a b'" + ", ' ', 'x'))" * 8,
    "SELECT " + "SUBSTR(" * 12 + "(SELECT MAX(x) FROM UNNEST(['abc']) AS x)" + ", 2)" * 12,
    "SELECT " + "CAST(CAST(" * 8 + "1" + " AS STRING) AS INT64)" * 8,
    "SELECT " + "(CASE " * 8 + "1" + " WHEN 1 THEN 1 WHEN 2 THEN 3 WHEN 4 THEN 5 END)" * 8,
    "SELECT " + "IF((" * 8 + "1 IN (1, 2)" + ") IN (TRUE, FALSE, TRUE), TRUE, FALSE)" * 8,
    "SELECT " + "GREATEST(" * 10 + "0.5" + ", 1.5)" * 10,
    "SELECT " + "[1, 2, 3][SAFE_OFFSET(" * 8 + "0" + ")]" * 8,
    "SELECT " + "TO_JSON_STRING(" * 6 + "0.5" + ")" * 6,
    "SELECT REPEAT(REPEAT(REPEAT('a', 100000), 100000), 100000)",
    "SELECT COUNT(*) FROM " + ", ".join(f"UNNEST(GENERATE_ARRAY(1, 1000)) AS x{n}" for n in range(2)),
    "SELECT REGEXP_CONTAINS(REPEAT('a', 100000), r'(a*)*(a*)*b')",
    "SELECT REGEXP_CONTAINS('a', r'(((((a{100}){100}){100}){100}){100})')",
]


@pytest.mark.parametrize("sql", NESTED, ids=lambda sql: sql[:40])
def test_deep_and_large_statements_get_an_answer_or_an_error(ours: Ours, sql: str) -> None:
    _answered(ours, sql)
    assert ours.evaluate("SELECT 1") == [(1,)]


def test_out_of_reach_is_said_in_words(ours: Ours) -> None:
    with pytest.raises(SqlRefused, match=OUT_OF_REACH):
        ours.evaluate("SELECT SOUNDEX('a')")
