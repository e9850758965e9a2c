"""The views for analysts, over a generated week: they give what the generator counted, and read the days asked for."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud.bigquery import LoadJobConfig, QueryJobConfig, ScalarQueryParameter, SourceFormat, Table

from services.provision import analyst_views
from services.shared import schema as names
from services.shared import schema_file
from tests.conftest import BigQueryAddress
from tests.emulators.bigquery import oracle
from tests.emulators.bigquery.oracle import Oracle
from tests.process import ROOT
from tests.provision import schemas, shop_answers
from tests.provision.conftest import Project, emulate
from tests.provision.shop_answers import ANSWERS
from tests.provision.shop_week import HOST, SOURCES, ShopWeek

SHOP = (
    "event_time: {type: TIMESTAMP, from: param.event_time}",
    "tenant: {type: STRING, from: [hit.tenant, param.tenant]}",
    "user_id: {type: STRING, from: param.user_id}",
    "anonymous_id: {type: STRING, from: param.anonymous_id}",
    "visitor_id: {type: STRING, from: hit.visitor_id}",
    "type: {type: STRING, from: [param.type, param.event]}",
    "order_id: {type: STRING, from: param.order_id}",
    "total: {type: NUMERIC, from: param.total}",
    "url: {type: STRING, from: param.url}",
    "referrer: {type: STRING, from: param.referrer}",
    "problems: {type: JSON, from: event.problems}",
    "params: {type: JSON, from: param.*}",
)
VIEWS = [one.name for one in analyst_views.ALL if not one.arguments]
SQL = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
BY_DAY = [one.name for one in analyst_views.ALL if one.days and not one.arguments and one.name != "live"]
ACROSS = [one.name for one in analyst_views.ALL if not one.days]


def load(client: Any, rows: list[dict[str, Any]], table: str = "events_log") -> None:
    schema = client.get_table(f"pixelpipe.{table}").schema
    config = LoadJobConfig(source_format=SourceFormat.NEWLINE_DELIMITED_JSON, schema=schema, autodetect=False)
    client.load_table_from_json(rows, f"pixelpipe.{table}", job_config=config).result(timeout=60)


def rows(client: Any, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(line.values()) for line in client.query_and_wait(sql)]


def reject(number: int, day: str = "2026-03-02", reason: str = "missing", hour: int = 9) -> dict[str, Any]:
    received = f"{day}T{hour:02}:00:00+00:00"
    return {"day": day, "event_id": f"r{number}", "received_at": received, "reason": reason, "hit": {"a": number}}


@pytest.fixture(scope="module")
def week() -> ShopWeek:
    return ShopWeek(20260302)


@pytest.fixture(scope="module")
def shared(pubsub_host: str, bigquery_host: BigQueryAddress, week: ShopWeek) -> Any:
    """For tests that only ask."""
    with pytest.MonkeyPatch.context() as patch:
        project = emulate("the-shop", pubsub_host, bigquery_host, patch)
        project.settle(*SHOP, views="all")
        load(project.client, week.rows)
    return project.client


@pytest.fixture
def shop(emulated: Project, week: ShopWeek) -> Any:
    """To add rows to."""
    emulated.settle(*SHOP, views="all")
    load(emulated.client, week.rows)
    return emulated.client


@pytest.mark.parametrize("view", ANSWERS)
def test_a_view_gives_what_the_generator_counted(shared: Any, week: ShopWeek, view: str) -> None:
    found = rows(shared, f"SELECT {ANSWERS[view].columns} FROM pixelpipe.{view}")
    assert sorted(found, key=repr) == sorted(ANSWERS[view].rows(week), key=repr)


def test_the_week_has_what_is_hard_to_count(week: ShopWeek) -> None:
    sessions = shop_answers.sessions(week)
    assert sum(one[5].date() != one[6].date() for one in sessions) > 10  # over midnight
    assert sum(one[7] for one in shop_answers.visitors(week)) > 5  # identified later
    assert sum(one.again for one in week.events) > 3
    assert {one[-2] for one in sessions} == {source[2] for source in SOURCES.values()}


def test_problems_by_column(shared: Any, week: ShopWeek) -> None:
    found = rows(
        shared,
        "SELECT day, `column`, reason, SUM(problems), SUM(events), MIN(example) FROM pixelpipe.problems_by_column"
        " GROUP BY 1, 2, 3",
    )
    assert sorted(found) == sorted((*key, number, number, "cheap") for key, number in week.problems.items())


def test_rejects_by_reason(shop: Any) -> None:
    sent = [reject(1), reject(2, hour=11), reject(2, hour=12), reject(3, reason="bad"), reject(4, day="2026-03-03")]
    load(shop, sent, "rejects_log")
    found = rows(shop, "SELECT day, reason, rejects, last_received FROM pixelpipe.rejects_by_reason")
    nine, eleven = (datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in (9, 11))
    assert sorted(found) == [
        (date(2026, 3, 2), "bad", 1, nine),
        (date(2026, 3, 2), "missing", 2, eleven),
        (date(2026, 3, 3), "missing", 1, nine + timedelta(days=1)),
    ]


TENANT = "tenant: {type: STRING, from: param.tenant}"


@pytest.mark.parametrize("tenants", [True, False])
def test_a_reject_says_which_table_has_it_by_now(emulated: Project, tenants: bool) -> None:
    text = schemas.text(TENANT, views="[reject_status]")
    if tenants:
        text = text.replace("reason: {", f"{TENANT}\n      reason: {{")
    emulated.provision(text)
    day, at = "2026-03-02", "2026-03-02T09:00:00+00:00"
    own = {"tenant": "south"} if tenants else {}
    refused = [*(reject(number) for number in (1, 2, 3, 3)), reject(4, day="2026-03-03")]
    load(emulated.client, [{**one, **own} for one in refused], "rejects_log")

    def repaired(number: int, tenant: str = "south") -> dict[str, Any]:
        return {"day": day, "event_id": f"r{number}", "received_at": at, "tenant": tenant}

    # Replayed twice; another tenant's event of the same id, which only a column can tell; another day's.
    load(emulated.client, [repaired(1), repaired(1), repaired(2, "north"), repaired(4)])
    found = rows(emulated.client, "SELECT day, event_id, reason, received_at, stored_in FROM pixelpipe.reject_status")
    nine = datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert sorted(found) == [
        (date(2026, 3, 2), "r1", "missing", nine, "events"),
        (date(2026, 3, 2), "r2", "missing", nine, None if tenants else "events"),
        (date(2026, 3, 2), "r3", "missing", nine, None),
        (date(2026, 3, 3), "r4", "missing", nine + timedelta(days=1), None),
    ]


def test_a_copy_is_not_the_table_that_refused_the_row(emulated: Project) -> None:
    text = schemas.text(views="[reject_status]").replace(
        "reason: {", "table: {type: STRING, from: reject.table}\n      reason: {"
    )
    copy = schemas.text(table="partition: day\ncopy: true").partition("  rejects:")[0].replace("  events:", "  orders:")
    emulated.provision(copy + text.removeprefix("tables:\n"))
    load(emulated.client, [reject(1) | {"table": "events"}, reject(2) | {"table": "orders"}], "rejects_log")
    stored = {"day": "2026-03-02", "received_at": "2026-03-02T09:00:00+00:00"}
    for number, table in ((1, "orders"), (2, "events")):
        load(emulated.client, [stored | {"event_id": f"r{number}"}], f"{table}_log")
    asked = "SELECT event_id, stored_in FROM pixelpipe.reject_status"
    assert sorted(rows(emulated.client, asked)) == [("r1", None), ("r2", None)]
    load(emulated.client, [stored | {"event_id": "r1"}])
    load(emulated.client, [stored | {"event_id": "r2"}], "orders_log")
    assert sorted(rows(emulated.client, asked)) == [("r1", "events"), ("r2", "orders")]


def test_live_is_the_last_half_hour(shop: Any) -> None:
    now = datetime.now(UTC)

    def event(number: int, minutes: float, **values: Any) -> dict[str, Any]:
        at = now - timedelta(minutes=minutes)
        common = {"day": at.date().isoformat(), "event_id": f"live{number}", "received_at": at.isoformat()}
        return {**common, "tenant": "live", "url": f"{HOST}/", "anonymous_id": f"b{number % 2}", **values}

    sent = [
        event(1, 2),
        event(2, 2, type="click"),
        event(3, 20, type="order"),
        event(4, 40),
        event(3, 20, type="order"),
    ]
    sent.append(event(5, 1, event_time=(now - timedelta(hours=2)).isoformat()))  # received now, and no news
    load(shop, sent)
    where = "FROM pixelpipe.live WHERE tenant = 'live'"
    assert rows(shop, f"SELECT SUM(events), SUM(pages), SUM(orders), MAX(visitors), COUNT(*) {where}") == [
        (3, 1, 1, 2, 2)
    ]


def estimate(client: Any, view: str, where: str) -> int:
    config = QueryJobConfig(dry_run=True, use_query_cache=False)
    return int(client.query(f"SELECT * FROM pixelpipe.{view} WHERE {where}", job_config=config).total_bytes_processed)


@pytest.mark.slow
@pytest.mark.parametrize("view", BY_DAY)
def test_only_the_days_asked_for_are_read(emulated: Project, week: ShopWeek, view: str) -> None:
    client, near = emulated.client, ("2026-03-04", "2026-03-05", "2026-03-06")
    emulated.settle(*SHOP, table="partition: day\nrequire_partition_filter: true", views="all")
    load(client, [row for row in week.rows if row["day"] in near])
    load(client, [reject(number, day) for number, day in enumerate(near)], "rejects_log")
    where = f"day = '{near[1]}'"
    alone, result = estimate(client, view, where), rows(client, f"SELECT * FROM pixelpipe.{view} WHERE {where}")
    load(client, [{**row, "day": "2026-03-07"} for row in week.rows])
    load(client, [reject(number, "2026-03-07") for number in range(500)], "rejects_log")
    # Their widths are averages over the whole table.
    assert 0 < estimate(client, view, where) < 1.5 * alone < estimate(client, view, "day > '2026-03-01'")
    assert (
        sorted(rows(client, f"SELECT * FROM pixelpipe.{view} WHERE {where}"), key=repr)
        == sorted(result, key=repr)
        != []
    )


@pytest.mark.parametrize("view", ["sessions", "page_views"])
def test_a_filter_on_the_day_changes_no_row(shared: Any, view: str) -> None:
    whole = rows(shared, f"SELECT * FROM pixelpipe.{view}")
    days = sorted({row[0] for row in whole})
    assert len(days) > 6
    found = [row for day in days for row in rows(shared, f"SELECT * FROM pixelpipe.{view} WHERE day = '{day}'")]
    assert sorted(found, key=repr) == sorted(whole, key=repr)


def test_a_view_of_all_days_is_left_out_where_a_filter_is_required(emulated: Project) -> None:
    lines = emulated.settle(*SHOP, table="partition: day\nrequire_partition_filter: true", views="all")
    for view in ACROSS:
        (line,) = [line for line in lines if f"view pixelpipe.{view}:" in line]
        assert line.endswith("left out: it reads all days, and events has require_partition_filter")


def test_the_file_can_name_each() -> None:
    assert tuple(one.name for one in analyst_views.ALL) == names.VIEWS


def test_live_reads_two_days_by_itself(shared: Any) -> None:
    assert estimate(shared, "live", "TRUE") == 0  # the week is long over


def test_a_run_describes_views_and_columns_and_another_changes_nothing(emulated: Project) -> None:
    first = emulated.settle(*SHOP, views="all")
    made = {
        line.split(":")[0].removeprefix("created view pixelpipe.") for line in first if line.startswith("created view")
    }
    assert set(VIEWS) <= made
    for name in VIEWS:
        found = emulated.client.get_table(f"pixelpipe.{name}")
        assert found.description and found.labels == {"managed-by": "pixelpipe"}
        assert all(field.description for field in found.schema), name
        for field in found.schema:  # what `pixelpipe export` says of them
            assert analyst_views.TYPES.get(field.name, "STRING") == SQL.get(field.field_type, field.field_type), name
    assert {line.split()[0] for line in emulated.settle(*SHOP, views="all")} == {"unchanged"}


def test_what_someone_changed_is_put_right(emulated: Project) -> None:
    emulated.settle(*SHOP, views="[orders]")
    view = emulated.client.get_table("pixelpipe.orders")
    view.view_query, view.description = "SELECT 1 AS day", "mine"
    emulated.client.update_table(view, ["view_query", "description"])
    changed = [line for line in emulated.settle(*SHOP, views="[orders]") if not line.startswith("unchanged")]
    assert changed == ["updated view pixelpipe.orders: SQL, description"]
    assert {line.split()[0] for line in emulated.settle(*SHOP, views="[orders]")} == {"unchanged"}
    assert all(field.description for field in emulated.client.get_table("pixelpipe.orders").schema)


@pytest.mark.parametrize("said", ["none", "[live, orders]"])
def test_the_file_says_which_views_there_are(emulated: Project, said: str) -> None:
    emulated.settle(*SHOP, views=said)
    names = {table.table_id for table in emulated.client.list_tables("pixelpipe")} & set(VIEWS)
    assert names == ({"live", "orders"} if said != "none" else set())


def test_what_is_not_ours_is_left_alone(emulated: Project) -> None:
    emulated.settle(views="none")
    mine = Table(f"{emulated.id}.pixelpipe.sessions")
    mine.view_query = "SELECT 1 AS mine"
    emulated.client.create_table(mine)
    lines = emulated.settle(*SHOP, views="[sessions]")
    assert "unchanged view pixelpipe.sessions: left out: there is a VIEW of this name that is not ours" in lines
    assert rows(emulated.client, "SELECT * FROM pixelpipe.sessions") == [(1,)]


def test_a_table_of_the_file_wins_over_a_view_of_its_name() -> None:
    own = schemas.text(*SHOP, views="all").split("  rejects:", 1)[0].split("  events:", 1)[1]
    text = schemas.text(*SHOP, views="all").replace(
        "tables:", f"tables:\n  sessions:\n    when: {{hit.path: /s}}{own}", 1
    )
    schema = schema_file.parse(text)
    (one,) = [view for view in analyst_views.wanted(schema) if view.name == "sessions"]
    assert one.missing(schema) == "the schema file has a table of this name"


def test_without_a_column_or_params_a_view_is_left_out(emulated: Project) -> None:
    columns, without = "user_id: {type: STRING, from: param.user_id}", {"page_views", "orders", "problems_by_column"}
    lines = emulated.settle(columns, views="all")
    made = {line.split(":")[0].removeprefix("created view pixelpipe.") for line in lines}
    assert made & set(VIEWS) == set(VIEWS) - without
    assert not any("left out" in line for line in lines)
    lines = emulated.settle(columns, views="[orders, live]")
    assert "unchanged view pixelpipe.orders: left out: events has no column for type" in lines


@pytest.mark.slow
def test_every_query_of_the_document_has_an_answer(shop: Any) -> None:
    queries = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs" / "sql.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(queries) >= 6
    load(shop, [reject(1)], "rejects_log")
    for sql in queries:
        assert rows(shop, sql), sql


def test_queries_for_other_tools_are_taken(shared: Any) -> None:
    days = [ScalarQueryParameter(name, "STRING", "20260303") for name in ("DS_START_DATE", "DS_END_DATE")]
    queries = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs" / "looker.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(queries) == 2
    for sql in queries:
        shared.query_and_wait(sql, job_config=QueryJobConfig(query_parameters=days if "@" in sql else []))


FILES: dict[str, tuple[str, ...]] = {
    "shop": SHOP,
    "params alone": ("params: {type: JSON, from: param.*}",),
    "other names": (
        "who: {type: INT64, from: param.user_id}",
        "kind: {type: STRING, from: param.event}",
        "page: {type: STRING, from: [param.page.url, header.referer]}",
        "came: {type: STRING, from: param.referrer}",
        "paid: {type: STRING, from: param.total}",
        "utm: {type: STRING, from: utm.source}",
        "ref: {type: STRING, from: referrer.medium}",
        "trouble: {type: JSON, from: event.problems}",
        "params: {type: JSON, from: param.*}",
    ),
    "users alone": ("user_id: {type: STRING, from: param.user_id}", "type: {type: STRING, from: param.type}"),
}


@pytest.fixture(scope="module")
def google() -> Oracle:
    return oracle.oracle()


@pytest.mark.parametrize("columns", FILES.values(), ids=FILES)
def test_each_is_good_googlesql_whatever_the_columns_are_called(google: Oracle, columns: tuple[str, ...]) -> None:
    schema = schemas.schema(*columns, views="all")
    tables = [
        oracle.Table(f"p.d.{name}", {column.name: column.type for column in table.columns})
        for table in schema.tables.values()
        for name in (table.name, table.log_name)
    ]
    possible = [one for one in analyst_views.wanted(schema) if one.missing(schema) is None]
    assert len(possible) > 5
    for one in possible:
        if one.arguments:
            continue  # test_funnel.py
        google.analyze(one.sql(schema, "p", "d"), tables)


@pytest.mark.slow
@pytest.mark.parametrize("columns", FILES.values(), ids=FILES)
def test_each_can_be_queried_whatever_the_columns_are_called(emulated: Project, columns: tuple[str, ...]) -> None:
    emulated.settle(*columns, views="all")
    for table in list(emulated.client.list_tables("pixelpipe")):
        if table.table_id in VIEWS:
            assert rows(emulated.client, f"SELECT * FROM pixelpipe.{table.table_id}") == []
