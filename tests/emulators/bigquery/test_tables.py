"""Datasets, tables and views through the official client: what is made, changed, refused, and with which exception."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk


def test_dataset_lives_and_dies(client: bigquery.Client) -> None:
    wanted = bigquery.Dataset(f"{client.project}.d")
    wanted.description, wanted.labels = "all of it", {"team": "data"}
    made = client.create_dataset(wanted)
    assert (made.description, made.labels, made.location) == ("all of it", {"team": "data"}, "US")
    with pytest.raises(Conflict):
        client.create_dataset("d")
    made.description = None
    made.labels = {"team": None, "stage": "test"}
    changed = client.update_dataset(made, ["description", "labels"])
    assert (changed.description, changed.labels) == (None, {"stage": "test"})
    assert [item.dataset_id for item in client.list_datasets()] == ["d"]
    client.delete_dataset("d")
    with pytest.raises(NotFound):
        client.get_dataset("d")
    client.delete_dataset("d", not_found_ok=True)


def test_dataset_with_tables_goes_only_with_its_contents(client: bigquery.Client) -> None:
    desk.table(client)
    with pytest.raises(BadRequest, match="still in use"):
        client.delete_dataset("d")
    client.delete_dataset("d", delete_contents=True)
    with pytest.raises(NotFound, match="Dataset"):
        client.get_table("d.t")


def test_stale_dataset_etag_is_refused(client: bigquery.Client) -> None:
    first = client.create_dataset("d")
    second = client.get_dataset("d")
    first.description = "one"
    client.update_dataset(first, ["description"])
    second.description = "two"
    with pytest.raises(PreconditionFailed):
        client.update_dataset(second, ["description"])


def test_table_keeps_all_that_it_was_given(client: bigquery.Client) -> None:
    client.create_dataset("d")
    fields = [
        SchemaField("day", "DATE", "REQUIRED", description="UTC day"),
        SchemaField("user", "STRING"),
        SchemaField("n", "INT64"),
        SchemaField("f", "FLOAT64"),
        SchemaField("ok", "BOOL"),
        SchemaField("extra", "JSON"),
    ]
    wanted = bigquery.Table(f"{client.project}.d.t", schema=fields)
    wanted.time_partitioning = bigquery.TimePartitioning(field="day")
    wanted.require_partition_filter = True
    wanted.clustering_fields = ["user", "n"]
    wanted.description, wanted.labels, wanted.friendly_name = "events", {"a": "b"}, "Events"
    made = client.create_table(wanted)
    found = client.get_table("d.t")
    assert found.etag == made.etag
    assert [(f.name, f.field_type, f.mode, f.description) for f in found.schema] == [
        ("day", "DATE", "REQUIRED", "UTC day"),
        ("user", "STRING", "NULLABLE", None),
        ("n", "INTEGER", "NULLABLE", None),
        ("f", "FLOAT", "NULLABLE", None),
        ("ok", "BOOLEAN", "NULLABLE", None),
        ("extra", "JSON", "NULLABLE", None),
    ]
    assert (found.time_partitioning.field, found.time_partitioning.type_) == ("day", "DAY")
    assert found.require_partition_filter is True
    assert found.clustering_fields == ["user", "n"]
    assert (found.description, found.labels, found.friendly_name) == ("events", {"a": "b"}, "Events")
    assert (found.table_type, found.num_rows) == ("TABLE", 0)
    assert [item.table_id for item in client.list_tables("d")] == ["t"]
    with pytest.raises(Conflict):
        client.create_table(wanted)
    assert client.create_table(wanted, exists_ok=True).etag == made.etag
    client.delete_table("d.t")
    with pytest.raises(NotFound):
        client.get_table("d.t")


def test_lists_come_in_pages(client: bigquery.Client) -> None:
    client.create_dataset("d")
    for index in range(5):
        client.create_table(bigquery.Table(f"{client.project}.d.t{index}", schema=[SchemaField("a", "STRING")]))
    assert [item.table_id for item in client.list_tables("d", page_size=2)] == [f"t{index}" for index in range(5)]


def test_new_nullable_column_is_added_and_old_rows_have_null_in_it(
    client: bigquery.Client, bigquery_host: BigQueryAddress
) -> None:
    table = desk.table(client)
    writer = desk.Writer(bigquery_host.grpc)
    writer.append(desk.stream(client.project), desk.rows({"n": 1}))
    writer.close()
    table.schema = [*table.schema, SchemaField("more", "STRING", description="later")]
    changed = client.update_table(table, ["schema"])
    assert (changed.schema[-1].name, changed.schema[-1].description, changed.num_rows) == ("more", "later", 1)
    assert desk.one(client, "SELECT more FROM d.t") is None


def test_required_column_may_be_relaxed(client: bigquery.Client) -> None:
    table = desk.table(client)
    table.schema = [SchemaField(f.name, f.field_type, "NULLABLE" if f.name == "id" else f.mode) for f in table.schema]
    client.update_table(table, ["schema"])
    client.query_and_wait("INSERT INTO d.t (day, id) VALUES ('2024-01-01', NULL)")
    assert desk.one(client, "SELECT id IS NULL FROM d.t") is True


BREAKING: list[tuple[Any, str]] = [
    (lambda fields: fields[:-1], "missing in new schema"),
    (lambda fields: [*fields[:-1], SchemaField("raw", "STRING")], "changed type from BYTES to STRING"),
    (lambda fields: [*fields[:-1], SchemaField("raw", "BYTES", "REQUIRED")], "NULLABLE to REQUIRED"),
    (lambda fields: [*fields, SchemaField("x", "STRING", "REQUIRED")], "Cannot add required fields"),
    (lambda fields: [*fields, SchemaField("ID", "STRING")], "Duplicate field name"),
    (lambda fields: [*fields[:-1], SchemaField("raw", "BYTES", "REPEATED")], "changed mode from NULLABLE to REPEATED"),
    (lambda fields: [*fields, SchemaField("x", "RECORD")], "has no schema"),
    (lambda fields: [*fields, SchemaField("x", "GEOMETRY")], "GEOMETRY is not a valid value"),
    (lambda fields: [*fields, SchemaField("x", "BIGNUMERIC")], "emulator does not support the type BIGNUMERIC"),
    (lambda fields: [*fields, SchemaField("x-y", "STRING")], "Invalid field name"),
]


@pytest.mark.parametrize(("change", "reason"), BREAKING, ids=[reason for _, reason in BREAKING])
def test_incompatible_schema_change_is_refused_and_changes_nothing(
    client: bigquery.Client, change: Any, reason: str
) -> None:
    table = desk.table(client)
    before = client.get_table("d.t")
    table.schema = change(list(table.schema))
    with pytest.raises(BadRequest, match=reason) as refused:
        client.update_table(table, ["schema"])
    assert refused.value.errors[0]["reason"] == "invalid"
    assert client.get_table("d.t").etag == before.etag


def test_stale_table_etag_is_refused(client: bigquery.Client) -> None:
    first = desk.table(client)
    second = client.get_table("d.t")
    first.description = "one"
    assert client.update_table(first, ["description"]).etag != second.etag
    second.description = "two"
    with pytest.raises(PreconditionFailed):
        client.update_table(second, ["description"])
    assert client.get_table("d.t").description == "one"


def test_patch_leaves_alone_what_it_does_not_name(client: bigquery.Client) -> None:
    table = desk.table(client, filtered=True)
    table.labels = {"a": "1", "b": "2"}
    table = client.update_table(table, ["labels"])
    table.labels = {"a": None, "b": "2", "c": "3"}
    changed = client.update_table(table, ["labels"])
    assert changed.labels == {"b": "2", "c": "3"}
    assert changed.require_partition_filter is True
    assert len(changed.schema) == len(desk.FIELDS)
    changed.require_partition_filter = False
    assert not client.update_table(changed, ["require_partition_filter"]).require_partition_filter


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timePartitioning": {"type": "DAY", "field": "nope"}}, "cannot be found in the schema"),
    ({"timePartitioning": {"type": "DAY", "field": "s"}}, "must be of type DATE or TIMESTAMP"),
    ({"timePartitioning": {"type": "HOUR", "field": "day"}}, "does not support timePartitioning of type HOUR"),
    ({"requirePartitionFilter": True}, "needs timePartitioning"),
    ({"clustering": {"fields": ["s", "nope"]}}, "cannot be found in the schema: nope"),
    ({"clustering": {"fields": ["a", "b", "c", "d", "e"]}}, "At most 4"),
    ({"clustering": {"fields": ["j"]}}, "cannot be used for clustering"),
    ({"expirationTime": "99"}, "does not support expirationTime"),
    ({"view": {"query": "SELECT 1"}}, "legacy SQL"),
]


@pytest.mark.parametrize(("body", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_table_that_cannot_be_had_is_refused_in_words(
    client: bigquery.Client, body: dict[str, Any], reason: str
) -> None:
    client.create_dataset("d")
    fields = [{"name": "day", "type": "DATE"}, {"name": "s", "type": "STRING"}, {"name": "j", "type": "JSON"}]
    reference = {"projectId": client.project, "datasetId": "d", "tableId": "t"}
    with pytest.raises(BadRequest, match=reason):
        client.create_table(
            bigquery.Table.from_api_repr({"tableReference": reference, "schema": {"fields": fields}, **body})
        )


def test_view_is_checked_typed_and_followed(client: bigquery.Client) -> None:
    desk.table(client, filtered=True)
    view = bigquery.Table(f"{client.project}.d.v")
    view.view_query = f"SELECT id, n + 1 AS m, CURRENT_DATE() AS today FROM `{client.project}.d.t`"
    made = client.create_table(view)
    assert [(f.name, f.field_type) for f in made.schema] == [("id", "STRING"), ("m", "INTEGER"), ("today", "DATE")]
    assert (made.table_type, made.view_query) == ("VIEW", view.view_query)
    made.view_query = f"SELECT id FROM `{client.project}.d.t` WHERE day IS NOT NULL"
    assert [f.name for f in client.update_table(made, ["view_query"]).schema] == ["id"]
    broken = bigquery.Table(f"{client.project}.d.w")
    broken.view_query = f"SELECT nope FROM `{client.project}.d.t`"
    with pytest.raises(BadRequest, match="Unrecognized name: nope"):
        client.create_table(broken)


def test_missing_things_are_named(client: bigquery.Client) -> None:
    with pytest.raises(NotFound, match=f"Not found: Dataset {client.project}:nope"):
        client.get_dataset("nope")
    with pytest.raises(NotFound, match=f"Not found: Dataset {client.project}:nope"):
        client.create_table(bigquery.Table(f"{client.project}.nope.t", schema=desk.FIELDS))
    client.create_dataset("d")
    with pytest.raises(NotFound, match=f"Not found: Table {client.project}:d.nope"):
        client.get_table("d.nope")
    with pytest.raises(NotFound, match="was not found"):
        client.query_and_wait("SELECT * FROM d.nope")


def test_rows_are_listed_in_pages_as_they_were_stored(client: bigquery.Client, bigquery_host: BigQueryAddress) -> None:
    table = desk.table(client, filtered=True)
    writer = desk.Writer(bigquery_host.grpc)
    writer.append(desk.stream(client.project), desk.rows(*({"n": n, "at": desk.NOW} for n in range(25))))
    writer.close()
    found = client.list_rows(table, page_size=10)
    assert [(row["n"], row["at"]) for row in found] == [(n, desk.NOW) for n in range(25)]
    assert found.total_rows == 25
    some = client.list_rows(table, selected_fields=[SchemaField("n", "INTEGER")], start_index=20)
    assert [dict(row) for row in some] == [{"n": n} for n in range(20, 25)]
    assert client.get_table("d.t").num_rows == 25
