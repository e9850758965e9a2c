from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import schema, schema_columns, schema_file
from services.shared.schema import SchemaError
from tests.schemas import NEEDED, REJECTS, SCHEMA, a_file, refused, refused_at


def test_a_file_is_read_as_it_says() -> None:
    assert list(SCHEMA.tables) == ["events", "rejects"]
    events = SCHEMA.tables["events"]
    names = "day event_id received_at event_time tenant user_id type order_id url referrer ip user_agent params"
    assert [column.name for column in events.columns] == names.split()
    assert [column.name for column in events.columns if column.required] == [
        "day",
        "event_id",
        "received_at",
        "user_id",
    ]
    assert [str(source) for source in events.column("type").sources] == ["param.type", "param.event"]
    assert (events.partition, events.cluster) == ("day", ("tenant", "user_id", "type"))
    assert events.log_name == "events_log"
    assert all(column.description for table in SCHEMA.tables.values() for column in table.columns)


def test_the_file_at_the_root_can_be_used() -> None:
    assert schema.REJECTS in schema_file.load(schema.DEFAULT_FILE).tables


def test_a_table_per_tenant_becomes_one_table_for_each_listed() -> None:
    text = a_file(
        "      tenant: {type: STRING, from: param.tenant}\n", "    tenants: [acme, globex]\n", name='"events_{tenant}"'
    )
    tables = schema_file.parse(text).tables
    assert list(tables) == ["events_acme", "events_globex", "rejects"]
    (condition,) = tables["events_acme"].conditions
    assert (str(condition.source), condition.values) == ("param.tenant", {"acme"})


LISTED = "tenants:\n  list:\n    acme: {hosts: [a.example.com], expire_days: 7}\n    globex: {hosts: [b.example.com]}\n"
OWN = "      tenant: {type: STRING, from: [hit.tenant, param.tenant]}\n"


@pytest.mark.parametrize(
    ("table", "names"),
    [("", ["acme", "globex"]), ("    tenants: globex\n", ["globex"])],
    ids=["all", "some"],
)
def test_once_tenants_are_listed_a_table_is_made_for_each_and_no_parameter_chooses_it(
    table: str, names: list[str]
) -> None:
    tables = schema_file.parse(LISTED + a_file(OWN, table, name='"events_{tenant}"')).tables
    assert list(tables) == [*(f"events_{name}" for name in names), "rejects"]
    for name in names:
        (condition,) = tables[f"events_{name}"].conditions
        assert (str(condition.source), condition.values) == ("hit.tenant", {name})


def test_days_are_a_tenants_own_else_the_tables_else_the_files() -> None:
    def days(table: str, top: str = "expire_days: 90\n") -> dict[str, int | None]:
        text = top + LISTED + a_file(OWN, table, name='"e_{tenant}"')
        return {name: table.expire_days for name, table in schema_file.parse(text).tables.items()}

    assert days("") == {"e_acme": 7, "e_globex": 90, "rejects": 90}
    assert days("    expire_days: 30\n") == {"e_acme": 7, "e_globex": 30, "rejects": 90}
    assert days("    expire_days: never\n") == {"e_acme": 7, "e_globex": None, "rejects": 90}
    assert days("    expire_days: never\n", "") == {"e_acme": 7, "e_globex": None, "rejects": None}
    assert schema_file.parse("expire_days: 5\n" + a_file()).expire_days == 5


# Each case: the text, and for every error expected its line, column and a part of its words.
CASES = {
    "empty": ("", [(1, 1, "the file is empty")]),
    "not yaml": ("tables: [", [(1, 10, "not YAML")]),
    "tab": ("tables:\n\tevents: 1", [(2, 1, "not YAML")]),
    "a list": ("- a", [(1, 1, "a mapping")]),
    "unknown key": ("tabels: {}", [(1, 1, "did you mean 'tables'?"), (1, 1, "'tables' is missing")]),
    "a view": (
        "views: [orders, sesions]\n" + a_file(),
        [
            (1, 17, "'sesions' is none of"),
        ],
    ),
    "a view's hint": ("views: sesions\n" + a_file(), [(1, 8, "did you mean 'sessions'?")]),
    "a view twice": ("views: [orders, orders]\n" + a_file(), [(1, 17, "is there twice")]),
    "no view and one": ("views: [none, orders]\n" + a_file(), [(1, 9, "'none' is none of")]),
    "views without a list": ("views: {orders: true}\n" + a_file(), [(1, 8, "a mapping")]),
    "no rejects": (a_file().partition("  rejects:")[0], [(2, 3, "there is no table `rejects`")]),
    "only rejects": ("tables:\n" + REJECTS, [(2, 3, "there is no table for events")]),
    "type": (a_file("      a: {type: STRNG, from: param.a}\n"), [(8, 17, "did you mean 'STRING'?")]),
    "type in lower case": (a_file("      a: {type: int64, from: param.a}\n"), [(8, 17, "; use INT64")]),
    "mode": (
        a_file("      a: {type: STRING, mode: OPTIONAL, from: param.a}\n"),
        [(8, 31, "none of NULLABLE, REQUIRED, REPEATED")],
    ),
    "no from": (a_file("      a: {type: STRING}\n"), [(8, 10, "'from' is missing")]),
    "namespace": (a_file("      a: {type: STRING, from: cookie.a}\n"), [(8, 31, "starts with none of param, header")]),
    "no name": (a_file("      a: {type: STRING, from: param}\n"), [(8, 31, "names nothing in 'param'")]),
    "fixed name": (a_file("      a: {type: STRING, from: hit.ipp}\n"), [(8, 31, "did you mean 'ip'?")]),
    "fixed type": (a_file("      a: {type: STRING, from: hit.received_at}\n"), [(8, 31, "is TIMESTAMP")]),
    "enrichment": (a_file("      a: {type: STRING, from: agnt.browser}\n"), [(8, 31, "did you mean 'agent'?")]),
    "enrichment name": (
        a_file("      a: {type: STRING, from: agent.browser_verion}\n"),
        [(8, 31, "is_bot, class, name, reason; did you mean")],
    ),
    "enrichment type": (a_file("      a: {type: STRING, from: agent.is_bot}\n"), [(8, 31, "is BOOL")]),
    "header case": (a_file("      a: {type: STRING, from: header.Referer}\n"), [(8, 31, "lower case")]),
    "reject source": (a_file("      a: {type: STRING, from: reject.reason}\n"), [(8, 31, "`rejects` only")]),
    "rest is json": (a_file("      a: {type: STRING, from: param.*}\n"), [(8, 31, "fills a JSON column")]),
    "two rests": (
        a_file("      a: {type: JSON, from: param.*}\n      b: {type: JSON, from: param.*}\n"),
        [(5, 7, "two columns take `param.*`")],
    ),
    "twice": (a_file("      a: {type: STRING, from: param.a}\n" * 2), [(9, 7, "'a' is there twice")]),
    "case": (
        a_file("      a: {type: STRING, from: param.a}\n      A: {type: STRING, from: param.a}\n"),
        [(9, 10, "upper and lower case are the same")],
    ),
    "name": (a_file("      1a: {type: STRING, from: param.a}\n"), [(8, 11, "not starting with a digit")]),
    "reserved": (a_file("      _TABLE_a: {type: STRING, from: param.a}\n"), [(8, 17, "BigQuery keeps names")]),
    "partition": (a_file(partition="dya"), [(3, 16, "no column 'dya'; did you mean 'day'?")]),
    "partition type": (a_file(partition="event_id"), [(3, 16, "event_id is STRING")]),
    "cluster": (a_file(table="    cluster: [tenant]\n"), [(4, 14, "no column 'tenant'")]),
    "cluster type": (
        a_file("      a: {type: JSON, from: param.*}\n", "    cluster: [a]\n"),
        [(4, 14, "BigQuery cannot cluster by JSON")],
    ),
    "five clusters": (
        a_file(
            "      a: {type: INT64, from: param.a}\n      b: {type: INT64, from: param.b}\n",
            "    cluster: [day, event_id, received_at, a, b]\n",
        ),
        [(4, 14, "at most 4")],
    ),
    "needed": (
        a_file().replace(", mode: REQUIRED, from: event.id", ", from: event.id", 1),
        [(3, 5, "column event_id (from event.id) must be `mode: REQUIRED`")],
    ),
    "log name": (
        a_file() + a_file(name="events_log").removeprefix("tables:\n").removesuffix(REJECTS),
        [(2, 3, "has the name of the log table of events")],
    ),
    "no tenants": (
        a_file("      tenant: {type: STRING, from: param.tenant}\n", name='"e_{tenant}"'),
        [(3, 5, "list its `tenants`")],
    ),
    "days of the file": ("expire_days: soon\n" + a_file(), [(1, 14, "the file: expire_days: 'soon' is not a whole")]),
    "days of the table": (a_file(table="    expire_days: Never\n"), [(4, 18, "from 1 to 99999, nor `never`")]),
    "tenant not listed": (
        LISTED + a_file(OWN, "    tenants: [acme, globx]\n", name='"e_{tenant}"'),
        [(8, 14, "'globx' is not in `tenants.list`; did you mean 'globex'?")],
    ),
    "readers without admins": (
        "tenants:\n  list:\n    a: {hosts: [a.b], readers: [user:a@b.c]}\n" + a_file(),
        [(3, 32, "name in `tenants: admins`")],
    ),
    "reader": (
        'tenants:\n  admins: [all]\n  list:\n    a: {hosts: [a.b], readers: [allUsers, "user:a\' b@c"]}\n' + a_file(),
        [(2, 12, "'all' is none of user:NAME@HOST"), (4, 33, "'allUsers' is none"), (4, 43, "is none of")],
    ),
    "tenants without place": (a_file(table="    tenants: [a]\n"), [(4, 14, "{tenant}")]),
    "unique": (a_file(table="    unique: [day, tennant]\n"), [(4, 19, "unique: there is no column 'tennant'")]),
    "unique alone": (a_file(table="    unique: evnt_id\n"), [(4, 13, "did you mean 'event_id'?")]),
    "unique type": (
        a_file(
            "      a: {type: FLOAT64, from: param.a}\n      b: {type: JSON, from: param.b}\n", "    unique: [a, b]\n"
        ),
        [(4, 14, "a is FLOAT64, which BigQuery cannot group by"), (4, 17, "b is JSON")],
    ),
    "unique twice": (a_file(table="    unique: [day, day]\n"), [(4, 19, "day is there twice")]),
    "unique of nothing": (a_file(table="    unique: []\n"), [(4, 13, "name at least one column")]),
    "unique of no value": (a_file(table="    unique:\n"), [(4, 12, "a text is wanted here")]),
    "conflicts": (a_file(name="conflicts"), [(3, 5, "table conflicts: the provisioner makes one of this name")]),
    "erasures": (a_file(name="erasures"), [(3, 5, "table erasures: the provisioner makes one of this name")]),
    "erasures_log": (a_file(name="Erasures_log"), [(3, 5, "choose another")]),
    "conflicts_log": (a_file(name="Conflicts_log"), [(3, 5, "choose another")]),
    "expiry": (a_file(table="    expire_days: -3\n"), [(4, 18, "not a whole number of days")]),
    "write": (
        a_file(table="    write: load_job\n"),
        [(4, 12, "table events: `write` is gone: the Storage Write API appends all rows; remove it")],
    ),
    "filter": (a_file(table="    require_partition_filter: sure\n"), [(4, 31, "none of true, false")]),
    "when": (a_file(table="    when: {event.day: x}\n"), [(4, 23, "a condition is on a parameter")]),
    "mode of another kind": (
        a_file("      a: {type: JSON, mode: 'NOT NULL', from: param.a}\n"),
        [(8, 29, "; use REQUIRED")],
    ),
    "no source": (
        a_file("      a: {type: STRING, from: []}\n"),
        [(8, 31, "a: from: the list is empty; name at least one")],
    ),
    "source twice": (
        a_file("      a: {type: STRING, from: [param.a, param.a]}\n"),
        [(8, 41, "'param.a' is there twice")],
    ),
    "clustered twice": (a_file(table="    cluster: [day, day]\n"), [(4, 20, "'day' is there twice")]),
    "empty cluster": (a_file(table="    cluster: []\n"), [(4, 14, "the list is empty")]),
    "required rest": (
        a_file("      a: {type: JSON, mode: REQUIRED, from: param.*}\n"),
        [(8, 45, "fills a JSON column, alone, which may be NULL")],
    ),
    "rest of headers": (a_file("      a: {type: JSON, from: header.*}\n"), [(8, 29, "a header's name has no such")]),
    "null": (a_file(table="    description: ~\n"), [(4, 18, "a text is wanted here, not ~, which means nothing")]),
    "nothing": (a_file(table="    description:\n"), [(4, 17, "a text is wanted here, not nothing")]),
    "a list for a text": (a_file(table="    description: [a]\n"), [(4, 18, "a text is wanted here, not a list")]),
    "null condition": (
        a_file(table="    when: {param.x: [null]}\n"),
        [(4, 22, "not null, which means nothing; put it in quotes if that is its name")],
    ),
    "condition without values": (a_file(table="    when: {param.x: []}\n"), [(4, 21, "the list is empty")]),
    "condition that is never true": (
        a_file(table="    when: {agent.is_bot: [True]}\n"),
        [(4, 26, "'True' is none of true, false; did you mean 'true'?")],
    ),
    "a list for a name": (
        a_file("      ? [a]\n      : {type: STRING, from: param.a}\n"),
        [(8, 9, "a name is wanted here, not a list")],
    ),
    "a number for a name": (a_file("      5: {type: STRING, from: param.a}\n"), [(8, 10, "not starting with a digit")]),
    "long name": (a_file(f"      {'a' * 301}: {{type: STRING, from: param.a}}\n"), [(8, 310, "at most 300 of them")]),
    "lines in a name": (
        a_file('      "a\\nb": {type: STRING, from: param.a}\n'),
        [(8, 15, "column events.a\\nb: a name is letters")],
    ),
    "no expiry": (a_file(table="    expire_days: 0\n"), [(4, 18, "from 1 to 99999")]),
    "partition may be null": (
        a_file("      at: {type: TIMESTAMP, from: param.at}\n", partition="at"),
        [(3, 16, "partition: at may be NULL")],
    ),
    "log name in capitals": (
        a_file() + a_file(name="Events_LOG").removeprefix("tables:\n").removesuffix(REJECTS),
        [(2, 3, "has the name of the log table of events")],
    ),
    "no columns, one line": (a_file().replace("    columns:\n" + NEEDED, "", 1), [(3, 5, "'columns' is missing")]),
    "long description": (
        a_file(f"      a: {{type: STRING, from: param.a, description: {'x' * 1025}}}\n"),
        [(8, 53, "column events.a: description: 1,025 characters; BigQuery takes at most 1,024")],
    ),
    "long table description": (
        a_file(table=f"    description: {'x' * 16385}\n"),
        [(4, 18, "table events: description: 16,385 characters; BigQuery takes at most 16,384")],
    ),
    "deep": ("tables: " + "[" * 3000, [(1, 48, "nested more than 40 deep")]),
    "deep in lines": ("\n".join(f"{' ' * depth}a:" for depth in range(3000)), [(40, 40, "nested more than 40 deep")]),
    "tag": (a_file(table="    description: !secret x\n"), [(4, 18, "the tag !secret has no meaning here; remove it")]),
    "tag of python": ("tables: !!python/object:os.system x", [(1, 9, "has no meaning here")]),
    "nul": ("tables:\n  a: \x00\n", [(2, 6, "the character U+0000 is not allowed; remove it")]),
    "no such character": ('tables:\n  a: "\\UFFFFFFFF"\n', [(2, 9, "not YAML")]),
    "half a pair": ('tables:\n  a: "\\ud83d"\n', [(2, 6, "half of a surrogate pair")]),
    "version of many digits": ("%YAML 1." + "1" * 5000 + "\n---\ntables: {}", [(1, 9, "not YAML")]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_named_with_its_line_and_column(case: str) -> None:
    text, wanted = CASES[case]
    refused_at(text, *wanted)


@pytest.mark.parametrize(
    ("said", "views"),
    [("", None), ("views: none\n", ()), ("views: [orders, live]\n", ("orders", "live")), ("views: live\n", ("live",))],
)
def test_the_views_for_analysts_are_all_unless_the_file_says_otherwise(
    said: str, views: tuple[str, ...] | None
) -> None:
    assert schema_file.parse(said + a_file()).views == views


def test_enrichments_are_sources_of_columns_and_conditions() -> None:
    columns = "      a: {type: STRING, from: [utm.source, param.a]}\n      b: {type: BOOL, from: agent.is_bot}\n"
    plain, found = schema_file.parse(a_file()), schema_file.parse(a_file(columns))
    assert [str(source) for source in found.tables["events"].column("a").sources] == ["utm.source", "param.a"]
    assert [found.asks_for(name) for name in schema.ENRICHMENTS] == [True, False, True, False, False, False]
    assert not any(plain.asks_for(name) for name in schema.ENRICHMENTS)
    chosen = schema_file.parse(a_file(table="    when: {geo.country: [DE, AT]}\n"))
    assert [chosen.asks_for(name) for name in schema.ENRICHMENTS] == [False] * 5 + [True]


def test_a_file_that_is_not_there_says_which_setting_names_it() -> None:
    with pytest.raises(SchemaError, match="PIPE_SCHEMA"):
        schema_file.load(schema.DEFAULT_FILE.with_name("missing.yaml"))


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        schema_file.parse(text)


@pytest.mark.parametrize(
    ("type_", "hint"),
    [
        *((name, "INT64") for name in ("INTEGER", "int", "BIGINT", "SmallInt")),
        *((name, "FLOAT64") for name in ("FLOAT", "DOUBLE", "real")),
        *((name, "NUMERIC") for name in ("DECIMAL", "DECIMAL(10, 2)", "NUMERIC(10, 2)")),
        *((name, "STRING") for name in ("TEXT", "VARCHAR", "VARCHAR(20)", "STRING(20)")),
        *((name, "STRUCT") for name in ("RECORD", "STRUCT<a INT64>")),
        *((name, "the type of its elements, with `mode: REPEATED`") for name in ("ARRAY", "ARRAY<STRING>")),
        ("JSONB", "JSON"),
        ("TIMESTAMPTZ", "TIMESTAMP"),
        ("BOOLEAN", "BOOL"),
    ],
)
def test_a_type_of_another_database_is_answered_with_ours(type_: str, hint: str) -> None:
    (error,) = refused(a_file(f'      a: {{type: "{type_}", from: param.a}}\n'))
    assert error.startswith("schema.yaml:8:17: column events.a: type: ") and error.endswith(f"; use {hint}"), error


def _routed(*whens: str) -> str:
    """Tables t0, t1, … with these conditions; the `when` of the first is on line 3, then on every eighth."""
    tables = (
        f"  t{number}:\n    when: {when}\n    partition: day\n    columns:\n{NEEDED}"
        for number, when in enumerate(whens)
    )
    return "tables:\n" + "".join(tables) + REJECTS


REACHED = {
    "the general last": ["{param.a: x}", "{param.a: [x, y]}", "{}"],
    "other sources": ["{param.a: x}", "{param.b: x}"],
    "other values": ["{param.a: x}", "{param.a: y}"],
    "weaker later": ["{param.a: x, param.b: y}", "{param.a: x}"],
    "one value is left": ["{param.a: [x, y]}", "{param.a: [y, z]}"],
    "two sources do not add up": ["{param.a: x}", "{param.b: y}", "{param.a: [x, z], param.b: [y, w]}"],
}
# What the table at the end finds taken, and by whom.
UNREACHED = {
    "the general first": (["{}", "{param.a: x}"], "t0"),
    "no conditions twice": (["{}", "{}"], "t0"),
    "the same": (["{param.a: [x, y]}", "{param.a: [y, x]}"], "t0"),
    "narrower": (["{param.a: [x, y]}", "{param.a: y, param.b: z}"], "t0"),
    "together": (["{param.a: x}", "{param.a: [y, z]}", "{param.a: [x, z], param.b: w}"], "t0, t1"),
    "together, each under a condition": (
        ["{param.a: x, param.b: [w, v]}", "{param.a: y}", "{param.a: [x, y], param.b: w}"],
        "t0, t1",
    ),
}


@pytest.mark.parametrize("case", REACHED)
def test_tables_that_share_events_are_taken(case: str) -> None:
    assert len(schema_file.parse(_routed(*REACHED[case])).tables) == len(REACHED[case]) + 1


@pytest.mark.parametrize("case", UNREACHED)
def test_a_table_that_no_event_can_reach_is_refused_with_the_tables_that_take_them(case: str) -> None:
    whens, takers = UNREACHED[case]
    last = len(whens) - 1
    assert refused(_routed(*whens)) == [
        f"schema.yaml:{3 + 7 * last}:11: table t{last}: no event can reach it: {takers} before it takes all that it "
        "would; tables are tried in order: move it up, or change its `when`"
    ]


_SOURCES = st.sampled_from(["param.a", "param.b", "param.c"])
_CONDITIONS = st.dictionaries(_SOURCES, st.sets(st.sampled_from("xyz"), min_size=1), max_size=3)


@given(st.lists(_CONDITIONS, min_size=1, max_size=5))
def test_a_table_is_refused_only_if_really_no_event_gets_there(conditions: list[dict[str, set[str]]]) -> None:
    def taker(event: dict[str, str]) -> int | None:
        return next(
            (
                number
                for number, wanted in enumerate(conditions)
                if all(event[source] in values for source, values in wanted.items())
            ),
            None,
        )

    sources = ("param.a", "param.b", "param.c")
    reached = {taker(dict(zip(sources, values, strict=True))) for values in itertools.product("xyz-", repeat=3)}
    whens = ["{" + ", ".join(f"{key}: [{', '.join(value)}]" for key, value in one.items()) + "}" for one in conditions]
    try:
        schema_file.parse(_routed(*whens))
        refused = set()
    except SchemaError as error:
        refused = {int(found) for found in re.findall(r"table t(\d): no event", str(error))}
    assert not refused & reached
    for number, one in enumerate(conditions):  # what one earlier table takes whole is always found
        if any(
            all(key in one and one[key] <= value for key, value in before.items()) for before in conditions[:number]
        ):
            assert number in refused


TENANT = "      tenant: {type: STRING, from: param.tenant}\n"


def test_tenants_after_a_table_for_all_are_refused_in_one_line() -> None:
    tenants = a_file(TENANT, "    tenants: [acme, globex]\n", name='"e_{tenant}"').removeprefix("tables:\n")
    (error,) = refused(a_file().removesuffix(REJECTS) + tenants)
    assert error.startswith("schema.yaml:9:5: table e_acme: no event can reach it: events before it"), error


def test_a_tenant_that_the_conditions_exclude_is_refused() -> None:
    table = "    tenants: [acme, globex]\n    when: {param.tenant: acme}\n"
    with pytest.raises(SchemaError, match=r"schema.yaml:5:11: table e_globex: .*two of its conditions exclude each"):
        schema_file.parse(a_file(TENANT, table, name='"e_{tenant}"'))


@pytest.mark.slow
def test_work_grows_with_the_size_of_the_file_and_no_faster() -> None:
    def work(columns: int, tenants: int) -> int:
        wide = "".join(f"      c{number}: {{type: STRING, from: param.c{number}}}\n" for number in range(columns))
        names = ", ".join(f"n{number}" for number in range(tenants))
        text = a_file(TENANT + wide, f"    when: {{param.env: prod}}\n    tenants: [{names}]\n", name='"e_{tenant}"')
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            schema_file.parse(text)
        finally:
            sys.setprofile(None)
        return calls

    small = work(50, 50)
    assert work(400, 400) < 10 * small


def test_as_many_columns_as_bigquery_takes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert schema_columns.MOST_COLUMNS == 10_000
    monkeypatch.setattr(schema_columns, "MOST_COLUMNS", 1_000)  # YAML takes seconds for ten thousand
    text = "".join(f"      c{number}: {{type: STRING, from: param.c{number}}}\n" for number in range(998))
    with pytest.raises(SchemaError, match=r"^schema.yaml:5:7: table events: 1,001 columns; .* at most 1,000$"):
        schema_file.parse(a_file(text))
    text = text.replace("      c997: {type: STRING, from: param.c997}\n", "")
    assert len(schema_file.parse(a_file(text)).tables["events"].columns) == 1_000


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"tables:\n  caf\xe9: 1\n", "2:6: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("# caf\u00e9 ".encode() + b"\xff", "1:8: byte 0xff is not UTF-8"),
        ("tables: {}".encode("utf-16"), "1:1: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbf# a\xff", "1:4: byte 0xff is not UTF-8"),
        (b"tables: \xed\xa0\xbd", "1:9: byte 0xed is not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused_at_its_first_bad_byte(tmp_path: Path, data: bytes, place: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(data)
    with pytest.raises(SchemaError) as caught:
        schema_file.load(file)
    assert str(caught.value).startswith(f"{file}:{place}"), caught.value


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + a_file().replace("\n", "\r\n").encode())
    assert schema_file.load(file) == schema_file.parse(a_file())


def test_a_file_that_cannot_be_one_is_refused_in_one_line(tmp_path: Path) -> None:
    loop, pipe, large = tmp_path / "loop", tmp_path / "pipe", tmp_path / "large"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(100_000_000)
    for path, said in (
        (tmp_path, "is not a file"),
        (pipe, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
        (loop, "cannot be read: "),
        (tmp_path / ("x" * 300), "cannot be read: "),
        (large, "has more than 4,194,304 bytes"),
    ):
        with pytest.raises(SchemaError) as caught:
            schema_file.load(path)
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"{path}: {said}") and "PIPE_SCHEMA" in line, line


def test_many_mistakes_are_cut_and_counted() -> None:
    wrong = "".join(f"      c{number}: {{type: INTEGER, from: param.c}}\n" for number in range(200))
    lines = refused(a_file(wrong))
    assert len(lines) == 51 and lines[-1] == "schema.yaml: 150 more; these are the first 50"
    assert lines[0].startswith("schema.yaml:8:") and lines[49].startswith("schema.yaml:57:")


def test_no_value_makes_a_line_long_or_two_of_one() -> None:
    long = "y" * 100_000
    for text in (
        a_file(f"      {long}: {{type: STRING, from: param.a}}\n"),
        a_file(f"      a: {{type: {long}, from: param.a}}\n"),
        a_file(f"      a: {{type: STRING, from: {long}}}\n"),
        a_file(table=f"    cluster: {long}\n"),
        a_file(table=f'    cluster: "{long} {long}"\n'),
        a_file(table=f"    {long}: x\n"),
        a_file(table=f"    expire_days: {long}\n"),
        f"tables: *{long}",
        a_file('      a: {type: "a\\nb\\u2028c", from: param.a}\n'),
    ):
        assert all(line.startswith("schema.yaml:") and len(line) < 500 for line in refused(text))
