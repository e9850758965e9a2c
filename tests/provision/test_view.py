from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from services.provision import view
from tests.provision.schemas import TYPE, USER, events

DAY, NOON = date(2026, 3, 1), datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_view_names_every_column_and_counts_by_day_and_id() -> None:
    table = events(USER, TYPE, table="partition: day\ncluster: [user_id, type]")
    assert view.sql(table, "my-project", "web", ["day", "event_id", "received_at", "user_id", "type", "old"]) == (
        "SELECT\n  `day`,\n  `event_id`,\n  `received_at`,\n  `user_id`,\n  `type`,\n  `old`\n"
        "FROM `my-project.web.events_log`\n"
        "QUALIFY ROW_NUMBER() OVER (\n"
        "  PARTITION BY `day`, `event_id`\n"
        "  ORDER BY `received_at`, `user_id`, `type`\n"
        ") = 1"
    )


def test_the_view_follows_the_sources_not_the_names() -> None:
    text = view.sql(
        events("day2: {type: DATE, from: query.day}", table="partition: day\ncluster: [event_id, day2]"),
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


def row(event_id: str, user_id: str, *, day: date = DAY, seconds: float = 0) -> dict[str, str]:
    return {
        "day": day.isoformat(),
        "event_id": event_id,
        "received_at": (NOON + timedelta(seconds=seconds)).isoformat(),
        "user_id": user_id,
    }


@pytest.fixture
def client(provisioned):
    return provisioned(USER, TYPE, table="partition: day\ncluster: [user_id]").client


def load(client, rows) -> None:
    client.load_table_from_json(rows, "pixelpipe.events_log", job_config=append(client)).result(timeout=30)


def append(client):
    from google.cloud.bigquery import LoadJobConfig, SourceFormat

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
