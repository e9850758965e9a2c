from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import schema, schema_file
from services.shared.schema import SchemaError

NEEDED = """\
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
"""
REJECTS = f"""\
  rejects:
    partition: day
    columns:
{NEEDED}\
      reason: {{type: STRING, mode: REQUIRED, from: reject.reason}}
      hit: {{type: JSON, from: reject.hit}}
"""


def _file(columns: str = "", table: str = "", name: str = "events", partition: str = "day") -> str:
    return f"tables:\n  {name}:\n    partition: {partition}\n{table}    columns:\n{NEEDED}{columns}{REJECTS}"


def test_the_default_file_has_the_documented_columns() -> None:
    default = schema_file.load(schema.DEFAULT_FILE)
    assert list(default.tables) == ["events", "rejects"]
    events = default.tables["events"]
    names = "day event_id received_at event_time tenant user_id type order_id url referrer ip user_agent params"
    assert [column.name for column in events.columns] == names.split()
    assert [column.name for column in events.columns if column.required] == [
        "day",
        "event_id",
        "received_at",
        "user_id",
    ]
    assert [str(source) for source in events.column("type").sources] == ["query.type", "query.event"]
    assert (events.partition, events.cluster) == ("day", ("tenant", "user_id", "type"))
    assert events.log_name == "events_log"
    assert all(column.description for table in default.tables.values() for column in table.columns)


def test_a_table_per_tenant_becomes_one_table_for_each_listed() -> None:
    text = _file(
        "      tenant: {type: STRING, from: query.tenant}\n", "    tenants: [acme, globex]\n", name='"events_{tenant}"'
    )
    tables = schema_file.parse(text).tables
    assert list(tables) == ["events_acme", "events_globex", "rejects"]
    (condition,) = tables["events_acme"].conditions
    assert (str(condition.source), condition.values) == ("query.tenant", {"acme"})


# Each case: the text, and for every error expected its line, column and a part of its words.
CASES = {
    "empty": ("", [(1, 1, "the file is empty")]),
    "not yaml": ("tables: [", [(1, 10, "not YAML")]),
    "tab": ("tables:\n\tevents: 1", [(2, 1, "not YAML")]),
    "a list": ("- a", [(1, 1, "a mapping")]),
    "unknown key": ("tabels: {}", [(1, 1, "did you mean 'tables'?"), (1, 1, "'tables' is missing")]),
    "no rejects": (_file().partition("  rejects:")[0], [(2, 3, "there is no table `rejects`")]),
    "only rejects": ("tables:\n" + REJECTS, [(2, 3, "there is no table for events")]),
    "type": (_file("      a: {type: STRNG, from: query.a}\n"), [(8, 17, "did you mean 'STRING'?")]),
    "type in lower case": (_file("      a: {type: int64, from: query.a}\n"), [(8, 17, "did you mean 'INT64'?")]),
    "mode": (
        _file("      a: {type: STRING, mode: REPEATED, from: query.a}\n"),
        [(8, 31, "none of NULLABLE, REQUIRED")],
    ),
    "no from": (_file("      a: {type: STRING}\n"), [(8, 10, "'from' is missing")]),
    "namespace": (_file("      a: {type: STRING, from: cookie.a}\n"), [(8, 31, "starts with none of query, header")]),
    "no name": (_file("      a: {type: STRING, from: query}\n"), [(8, 31, "names nothing in 'query'")]),
    "fixed name": (_file("      a: {type: STRING, from: hit.ipp}\n"), [(8, 31, "did you mean 'ip'?")]),
    "fixed type": (_file("      a: {type: STRING, from: hit.received_at}\n"), [(8, 31, "is TIMESTAMP")]),
    "enrichment": (_file("      a: {type: STRING, from: agnt.browser}\n"), [(8, 31, "did you mean 'agent'?")]),
    "enrichment name": (
        _file("      a: {type: STRING, from: agent.browser_verion}\n"),
        [(8, 31, "agent has browser, browser_version, os, os_version, device, brand, model, is_bot; did you mean")],
    ),
    "enrichment type": (_file("      a: {type: STRING, from: agent.is_bot}\n"), [(8, 31, "is BOOL")]),
    "header case": (_file("      a: {type: STRING, from: header.Referer}\n"), [(8, 31, "lower case")]),
    "reject source": (_file("      a: {type: STRING, from: reject.reason}\n"), [(8, 31, "`rejects` only")]),
    "rest is json": (_file("      a: {type: STRING, from: query.*}\n"), [(8, 31, "fills a JSON column")]),
    "two rests": (
        _file("      a: {type: JSON, from: query.*}\n      b: {type: JSON, from: query.*}\n"),
        [(5, 7, "two columns take `query.*`")],
    ),
    "twice": (_file("      a: {type: STRING, from: query.a}\n" * 2), [(9, 7, "'a' is there twice")]),
    "case": (
        _file("      a: {type: STRING, from: query.a}\n      A: {type: STRING, from: query.a}\n"),
        [(9, 10, "upper and lower case are the same")],
    ),
    "name": (_file("      1a: {type: STRING, from: query.a}\n"), [(8, 11, "not starting with a digit")]),
    "reserved": (_file("      _TABLE_a: {type: STRING, from: query.a}\n"), [(8, 17, "BigQuery keeps names")]),
    "partition": (_file(partition="dya"), [(3, 16, "no column 'dya'; did you mean 'day'?")]),
    "partition type": (_file(partition="event_id"), [(3, 16, "event_id is STRING")]),
    "cluster": (_file(table="    cluster: [tenant]\n"), [(4, 14, "no column 'tenant'")]),
    "cluster type": (
        _file("      a: {type: JSON, from: query.*}\n", "    cluster: [a]\n"),
        [(4, 14, "BigQuery cannot cluster by JSON")],
    ),
    "five clusters": (
        _file(table="    cluster: [day, event_id, received_at, day, event_id]\n"),
        [(4, 14, "at most 4"), (4, 14, "twice")],
    ),
    "needed": (
        _file().replace(", mode: REQUIRED, from: event.id", ", from: event.id", 1),
        [(3, 5, "column event_id (from event.id) must be `mode: REQUIRED`")],
    ),
    "log name": (
        _file() + _file(name="events_log").removeprefix("tables:\n").removesuffix(REJECTS),
        [(2, 3, "has the name of the log table of events")],
    ),
    "no tenants": (
        _file("      tenant: {type: STRING, from: query.tenant}\n", name='"e_{tenant}"'),
        [(2, 3, "no table for events"), (3, 5, "list its `tenants`")],
    ),
    "tenants without place": (_file(table="    tenants: [a]\n"), [(4, 14, "{tenant}")]),
    "unique": (_file(table="    unique: [day, tennant]\n"), [(4, 19, "unique: there is no column 'tennant'")]),
    "unique alone": (_file(table="    unique: evnt_id\n"), [(4, 13, "did you mean 'event_id'?")]),
    "unique type": (
        _file(
            "      a: {type: FLOAT64, from: query.a}\n      b: {type: JSON, from: query.b}\n", "    unique: [a, b]\n"
        ),
        [(4, 14, "a is FLOAT64, which BigQuery cannot group by"), (4, 17, "b is JSON")],
    ),
    "unique twice": (_file(table="    unique: [day, day]\n"), [(4, 19, "day is there twice")]),
    "unique of nothing": (_file(table="    unique: []\n"), [(4, 13, "name at least one column")]),
    "unique of no value": (_file(table="    unique:\n"), [(4, 12, "a text is wanted here")]),
    "conflicts": (_file(name="conflicts"), [(3, 5, "table conflicts: the provisioner makes one of this name")]),
    "conflicts_log": (_file(name="Conflicts_log"), [(3, 5, "choose another")]),
    "expiry": (_file(table="    expire_days: -3\n"), [(4, 18, "not a whole number of days")]),
    "write": (
        _file(table="    write: load-job\n"),
        [(4, 12, "table events: write: 'load-job' is none of write_api, load_job, auto; did you mean 'load_job'?")],
    ),
    "filter": (_file(table="    require_partition_filter: sure\n"), [(4, 31, "none of true, false")]),
    "when": (_file(table="    when: {event.day: x}\n"), [(4, 23, "a condition is on a query parameter")]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_named_with_its_line_and_column(case: str) -> None:
    text, wanted = CASES[case]
    with pytest.raises(SchemaError) as caught:
        schema_file.parse(text, "my.yaml")
    errors = str(caught.value).splitlines()
    for line, column, words in wanted:
        assert any(error.startswith(f"my.yaml:{line}:{column}: ") and words in error for error in errors), errors
    assert len(errors) == len(wanted), errors


def test_enrichments_are_sources_of_columns_and_conditions() -> None:
    columns = "      a: {type: STRING, from: [utm.source, query.a]}\n      b: {type: BOOL, from: agent.is_bot}\n"
    plain, found = schema_file.parse(_file()), schema_file.parse(_file(columns))
    assert [str(source) for source in found.tables["events"].column("a").sources] == ["utm.source", "query.a"]
    assert [found.asks_for(name) for name in schema.ENRICHMENTS] == [True, False, True, False]
    assert not any(plain.asks_for(name) for name in schema.ENRICHMENTS)
    chosen = schema_file.parse(_file(table="    when: {geo.country: [DE, AT]}\n"))
    assert [chosen.asks_for(name) for name in schema.ENRICHMENTS] == [False, False, False, True]


def test_a_file_that_is_not_there_says_which_setting_names_it(tmp_path: object) -> None:
    with pytest.raises(SchemaError, match="PIPE_SCHEMA"):
        schema_file.load(schema.DEFAULT_FILE.with_name("missing.yaml"))


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        schema_file.parse(text)


def test_a_table_is_written_by_the_write_api_unless_it_says_so() -> None:
    assert schema_file.parse(_file()).tables["events"].write == "write_api"
    for way in ("write_api", "load_job", "auto"):
        assert schema_file.parse(_file(table=f"    write: {way}\n")).tables["events"].write == way
