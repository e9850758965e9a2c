"""Columns that the view computes: BigQuery is asked before anything is made, and they are there like any other."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from services.provision import expressions, tenant_views, view
from services.provision.analyst_columns import Columns
from services.provision.resource import ProvisionRefused
from services.shared import schema_file
from tests.emulators.bigquery import oracle
from tests.emulators.bigquery.oracle import SqlRefused
from tests.provision.schemas import USER, events, text
from tests.provision.test_view import load, row

NET = "net: {type: NUMERIC, from: param.net}"
GROSS = "gross: {type: NUMERIC, expression: 'net * CAST(1.19 AS NUMERIC)', description: With tax}"
CART = "cart: {type: STRUCT, mode: REPEATED, from: param.cart, fields: {price: {type: NUMERIC}, n: {type: INT64}}}"


def test_the_view_computes_them_after_the_columns_and_its_rows_count_once(provisioned) -> None:
    project = provisioned(NET, USER, GROSS)
    assert [field.name for field in project.client.get_table("pixelpipe.events_log").schema][-2:] == [
        "user_id",
        "_compacted",
    ]
    *_, last = project.client.get_table("pixelpipe.events").schema
    assert (last.name, last.field_type, last.description) == ("gross", "NUMERIC", "With tax")
    load(project.client, [row("a", "x", net="10.5"), row("a", "x", net="10.5", seconds=1), row("b", "x")])
    found = project.client.query_and_wait("SELECT event_id, gross FROM pixelpipe.events ORDER BY 1")
    assert [tuple(one.values()) for one in found] == [("a", Decimal("12.495")), ("b", None)]


def test_they_come_change_and_go_without_touching_the_table(provisioned) -> None:
    project = provisioned(NET, USER)
    table, seen = "table pixelpipe.events_log", "view pixelpipe.events"

    def said(*columns: str) -> dict[str, str]:
        lines = (line.split(" ", 1) for line in project.settle(*columns))
        return {name.partition(":")[0]: verb for verb, name in lines}

    made = said(NET, USER, GROSS)
    assert (made[table], made[seen]) == ("unchanged", "updated")
    assert set(said(NET, USER, GROSS).values()) == {"unchanged"}
    changed = said(NET, USER, GROSS.replace("With tax", "With VAT"))
    assert (changed[table], changed[seen]) == ("unchanged", "updated")
    assert project.client.get_table("pixelpipe.events").schema[-1].description == "With VAT"
    assert said(NET, USER)[seen] == "updated"
    assert project.client.get_table("pixelpipe.events").schema[-1].name == "user_id"


def test_one_takes_the_place_of_a_column_that_the_file_had_once(provisioned) -> None:
    project = provisioned(NET, USER, "gross: {type: NUMERIC, from: param.gross}")
    project.settle(NET, USER, GROSS)
    assert [field.name for field in project.client.get_table("pixelpipe.events").schema].count("gross") == 1


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("{type: NUMERIC, expression: nett * 2}", "column gross: expression: Unrecognized name: nett"),
        ("{type: STRING, expression: net * 2}", "column gross: expression: it gives NUMERIC, and the schema file says"),
        ("{type: NUMERIC, expression: 'SQRD(net)'}", "column gross: expression: "),
        ("{type: NUMERIC, expression: 'SUM(net)'}", "column gross: expression: "),
    ],
)
def test_what_bigquery_does_not_take_is_refused_before_anything_is_made(emulated, expression: str, said: str) -> None:
    with pytest.raises(ProvisionRefused) as refused:
        emulated.settle(NET, USER, f"gross: {expression}")
    assert f"view pixelpipe.events: {said}" in str(refused.value)
    assert list(emulated.client.list_datasets()) == []


def _quoted(sql: str) -> str:
    return "'" + sql.replace("'", "''") + "'"


GIVEN = {
    "price": ("NUMERIC", "net * 1.19", Decimal("11.9")),
    "hour": ("INT64", "EXTRACT(HOUR FROM received_at AT TIME ZONE 'Europe/Berlin')", 13),
    "text": ("STRING", "CASE WHEN net > 1 THEN 'a (b' ELSE CONCAT(event_id, \"'\") END", "a (b"),
    "value": ("STRING", "JSON_VALUE(params, '$.a.b')", "c"),
    "later": ("DATE", "DATE_ADD(day, INTERVAL 1 DAY)", date(2026, 3, 2)),
    "share": ("FLOAT64", "SAFE_DIVIDE(1, 4)", 0.25),
}
MADE = [f"{name}: {{type: {kind}, expression: {_quoted(sql)}}}" for name, (kind, sql, _) in GIVEN.items()]


def test_google_takes_the_question_and_computes_what_the_emulator_does(provisioned) -> None:
    columns = (NET, "params: {type: JSON, from: param.*}", *MADE)
    table, google = events(*columns), oracle.oracle()
    for column in table.expressions:
        google.analyze(expressions.question(table, column))
    client = provisioned(*columns).client  # compares the types
    one = {
        "day": "2026-03-01",
        "event_id": "e",
        "received_at": "2026-03-01T12:00:00+00:00",
        "net": "10",
        "params": {"a": {"b": "c"}},
    }
    load(client, [one])
    sql = f"SELECT {', '.join(GIVEN)} FROM `p.d.events`"
    (found,) = client.query_and_wait(sql.replace("p.d.", "pixelpipe."))
    assert tuple(found.values()) == tuple(value for _, _, value in GIVEN.values())
    log = oracle.Table(
        "p.d.events_log",
        {column.name: expressions.sql_type(column) for column in table.columns} | {"_compacted": "BOOL"},
        [[date(2026, 3, 1), "e", datetime(2026, 3, 1, 12, tzinfo=UTC), Decimal(10), '{"a": {"b": "c"}}', None]],
    )
    shown = view.sql(table, "p", "d", [column.name for column in table.columns])
    (computed,) = google.evaluate(f"SELECT {', '.join(GIVEN)} FROM ({shown})", [log])
    assert computed == tuple(found.values()) and [type(one) for one in computed] == [
        type(one) for one in found.values()
    ]


def test_fields_of_a_struct_can_be_read(provisioned) -> None:
    first = "first: {type: NUMERIC, expression: 'cart[SAFE_OFFSET(0)].price'}"
    table = events(CART, first)
    oracle.oracle().analyze(expressions.question(table, table.expressions[0]))
    client = provisioned(CART, first).client
    one = row("a", "")
    del one["user_id"]
    load(client, [{**one, "cart": [{"price": "2", "n": 1}]}])
    assert [one["first"] for one in client.query_and_wait("SELECT first FROM pixelpipe.events")] == [Decimal(2)]


def test_google_refuses_what_reads_more_than_its_row() -> None:
    for sql in ("SUM(net)", "nett", "net +"):
        table = events(NET, f"x: {{type: NUMERIC, expression: {_quoted(sql)}}}")
        with pytest.raises(SqlRefused):
            # An aggregate alone would be a query of its own: beside a column it is not.
            oracle.oracle().analyze(view.sql(table, "p", "d", ["day", "event_id", "received_at", "net"]), [
                oracle.Table("p.d.events_log", {c.name: expressions.sql_type(c) for c in table.columns})
            ])  # fmt: skip


def test_views_for_analysts_find_an_expression_by_its_name() -> None:
    columns = Columns(events("net: {type: NUMERIC, from: param.n}", "total: {type: NUMERIC, expression: net * 2}"))
    assert "`total`" in columns.value("total")


def test_the_views_of_tenants_have_them() -> None:
    tenant = "tenant: {type: STRING, from: [hit.tenant, param.tenant]}"
    top = "tenants: {admins: user:a@x.org, list: {north: {hosts: n.x.org, readers: user:n@x.org}}}\n"
    found = schema_file.parse(top + text(tenant, NET, GROSS))
    (one,) = (one for one in tenant_views.views(found) if one.table.name == "events")
    assert f"(\n{one.table.expressions[0].expression}\n  ) AS `gross`" in tenant_views.sql(
        one, "p", "d", ["day", "net"]
    )
