from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from google.cloud.bigquery import LoadJobConfig, QueryJobConfig, SourceFormat

from services.provision import view
from tests.provision.schemas import TYPE, USER, events

DAY, NOON = date(2026, 3, 1), datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_view_names_every_column_and_counts_by_day_type_and_id() -> None:
    table = events(USER, TYPE, table="partition: day\ncluster: [user_id, type]")
    rows = (
        "SELECT\n  `day`,\n  `event_id`,\n  `received_at`,\n  `user_id`,\n  `type`,\n  `old`\n"
        "FROM `my-project.web.events_log`\n"
    )
    assert view.sql(table, "my-project", "web", ["day", "event_id", "received_at", "user_id", "type", "old"]) == (
        f"{rows}WHERE `day` <= DATE '0001-01-01' AND `_compacted`\n"
        "UNION ALL\n"
        f"{rows}WHERE `day` > DATE '0001-01-01'\n"
        "QUALIFY ROW_NUMBER() OVER (\n"
        "  PARTITION BY `day`, `type`, `event_id`\n"
        "  ORDER BY `received_at`, `user_id`\n"
        ") = 1"
    )


def test_the_watermark_is_in_both_halves_of_the_view() -> None:
    made = view.sql(events(USER), "p", "d", ["day"], "`tenant` = 'WHERE `day` > DATE'")
    assert view.watermark(made) == view.NO_DAY
    moved = view.settled(made, DAY)
    assert view.watermark(moved) == DAY
    assert moved.count(f"DATE '{DAY}'") == 2 and str(view.NO_DAY) not in moved
    assert view.settled(moved, view.NO_DAY) == made
    assert view.counts_by(made, events(USER)) and not view.counts_by(made, events(USER, TYPE))
    filtered = view.sql(events(table="partition: day\nrequire_partition_filter: true"), "p", "d", ["day"])
    assert view.watermark(filtered) is None and "UNION" not in filtered


TENANT = "tenant: {type: STRING, from: param.tenant}"
KEYS = {
    "day and id": ((USER,), "", ("day", "event_id")),
    "tenant": ((TENANT,), "", ("day", "tenant", "event_id")),
    "tenant and type": ((TYPE, USER, TENANT), "", ("day", "tenant", "type", "event_id")),
    "a type that cannot be grouped": (
        ("type: {type: JSON, from: param.type}", TENANT),
        "",
        ("day", "tenant", "event_id"),
    ),
    "others": ((TYPE, USER, TENANT), "unique: [user_id, tenant]", ("day", "user_id", "tenant", "event_id")),
    "day and id named": ((TYPE, USER), "unique: [event_id, user_id, day]", ("day", "user_id", "event_id")),
    "nothing else": ((TYPE, TENANT), "unique: event_id", ("day", "event_id")),
}


@pytest.mark.parametrize(("columns", "settings", "key"), KEYS.values(), ids=KEYS)
def test_the_key_is_day_tenant_type_and_id_or_what_the_file_says(
    columns: tuple[str, ...], settings: str, key: tuple[str, ...]
) -> None:
    table = events(*columns, table=f"partition: day\n{settings}")
    assert table.key == key
    named = ", ".join(f"`{name}`" for name in key)
    assert f"  PARTITION BY {named}\n  ORDER BY `received_at`\n" in view.sql(table, "p", "d", ["day"])


def test_the_view_follows_the_sources_not_the_names() -> None:
    text = view.sql(
        events("day2: {type: DATE, from: param.day}", table="partition: day\ncluster: [event_id, day2]"),
        "p",
        "d",
        ["day"],
    )
    assert "PARTITION BY `day`, `event_id`\n  ORDER BY `received_at`, `day2`\n" in text


def test_a_required_filter_that_could_not_reach_the_table_is_a_problem() -> None:
    table = events(table="partition: received_at\nrequire_partition_filter: true")
    assert "partition: day" in (view.problem(table) or "")
    assert view.problem(events(table="partition: day\nrequire_partition_filter: true")) is None
    assert view.problem(events(table="partition: received_at")) is None


def row(event_id: str, user_id: str, *, day: date = DAY, seconds: float = 0, **values: str) -> dict[str, str]:
    return {
        "day": day.isoformat(),
        "event_id": event_id,
        "received_at": (NOON + timedelta(seconds=seconds)).isoformat(),
        "user_id": user_id,
        **values,
    }


@pytest.fixture
def client(provisioned):
    return provisioned(USER, TYPE, TENANT, table="partition: day\ncluster: [user_id]").client


def load(client, rows) -> None:
    client.load_table_from_json(rows, "pixelpipe.events_log", job_config=append(client)).result(timeout=60)


def append(client):
    schema = client.get_table("pixelpipe.events_log").schema
    return LoadJobConfig(source_format=SourceFormat.NEWLINE_DELIMITED_JSON, schema=schema, autodetect=False)


def users(client, where: str = "TRUE") -> list[tuple[str, str]]:
    found = client.query_and_wait(f"SELECT event_id, user_id FROM pixelpipe.events WHERE {where} ORDER BY 1, 2")
    return [tuple(line.values()) for line in found]


def test_the_earliest_row_of_an_id_counts(client) -> None:
    load(
        client,
        [row("a", "late", seconds=2), row("a", "first", seconds=1), row("b", "only"), row("a", "last", seconds=9)],
    )
    assert users(client) == [("a", "first"), ("b", "only")]
    assert next(iter(client.query_and_wait("SELECT COUNT(*) FROM pixelpipe.events")))[0] == 2


def test_the_same_id_on_another_day_is_another_event(client) -> None:
    load(client, [row("a", "one"), row("a", "two", day=DAY + timedelta(days=1))])
    assert users(client) == [("a", "one"), ("a", "two")]
    assert users(client, f"day = '{DAY}'") == [("a", "one")]


def test_a_tie_goes_by_the_clustering_columns_whatever_the_order_of_arrival(client) -> None:
    load(client, [row("a", "zoe"), row("a", "ada"), row("b", "ada"), row("b", "zoe")])
    assert users(client) == [("a", "ada"), ("b", "ada")]


def test_an_order_number_is_one_event_for_each_tenant_and_type(client) -> None:
    load(
        client,
        [
            row("1001", "ada", tenant="shop-a", type="order"),
            row("1001", "bob", tenant="shop-b", type="order", seconds=1),
            row("1001", "ada", tenant="shop-a", type="refund", seconds=2),
            row("1001", "ada", tenant="shop-a", type="order", seconds=3),
            row("1001", "zoe", seconds=4),
            row("1001", "zoe", seconds=5),
            row("1001", "zoe", type="order", seconds=6),
        ],
    )
    found = client.query_and_wait("SELECT tenant, type, user_id FROM pixelpipe.events ORDER BY received_at")
    assert [tuple(line.values()) for line in found] == [
        ("shop-a", "order", "ada"),
        ("shop-b", "order", "bob"),
        ("shop-a", "refund", "ada"),
        (None, None, "zoe"),
        (None, "order", "zoe"),
    ]


def test_only_the_days_asked_for_are_read(client) -> None:
    def estimate(where: str) -> int:
        config = QueryJobConfig(dry_run=True, use_query_cache=False)
        sql = f"SELECT COUNT(*) FROM pixelpipe.events WHERE {where}"
        return int(client.query(sql, job_config=config).total_bytes_processed)

    load(client, [row("a", "ada", tenant="x", type="order")])
    alone = estimate(f"day = '{DAY}'")
    assert alone > 0
    load(client, [row("b", "ada", day=DAY + timedelta(days=1), tenant="x", type="order")] * 200)
    assert estimate(f"day = '{DAY}'") == alone
    assert estimate(f"day >= '{DAY}'") > 100 * alone


def test_the_key_of_the_default_file_costs_no_byte_more(provisioned) -> None:
    """Tenant and type are clustering columns there, by which rows were ordered before."""
    client = provisioned(USER, TYPE, TENANT, table="partition: day\ncluster: [tenant, user_id, type]").client
    load(client, [row("a", "ada", tenant="x", type="order")])
    wide = client.get_table("pixelpipe.events").view_query
    narrow = wide.replace("`day`, `tenant`, `type`, `event_id`", "`day`, `event_id`").replace(
        "ORDER BY `received_at`, `user_id`", "ORDER BY `received_at`, `tenant`, `user_id`, `type`"
    )
    assert narrow != wide
    config = QueryJobConfig(dry_run=True, use_query_cache=False)
    one, other = (
        int(client.query(f"SELECT COUNT(*) FROM ({sql})", job_config=config).total_bytes_processed)
        for sql in (wide, narrow)
    )
    assert one == other > 0
