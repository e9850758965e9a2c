"""docs/privacy.md says for how long data is kept; here the provisioned resources say so themselves."""

from __future__ import annotations

import re
from datetime import timedelta

from google.cloud import bigquery

from services.shared import resource_names
from services.shared.schema import CONFLICTS, REJECTS, TALLIES
from tests.docs import markers, retention
from tests.process import ROOT
from tests.provision.conftest import Project
from tests.provision.schemas import USER

DOCUMENT = ROOT / "docs" / "privacy.md"
PLACES = {
    cells[0]: cells[2]
    for line in markers.taken(DOCUMENT.read_text(), "retention").splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("| ").split(" | ")]) >= 3
}


def days(place: str) -> int:
    (found,) = re.findall(r"(\d+) days", PLACES[place])
    return int(found)


def test_pubsub_keeps_messages_for_as_long_as_the_document_says(emulated: Project) -> None:
    emulated.settle(USER)
    for topic in (resource_names.HITS_TOPIC, resource_names.ROWS_TOPIC, resource_names.DEAD_TOPIC):
        found = emulated.publisher.get_topic(topic=f"projects/{emulated.id}/topics/{topic}")
        assert "message_retention_duration" not in found  # what is acknowledged is gone
    kept = {}
    for path in emulated.subscriber.list_subscriptions(project=f"projects/{emulated.id}"):
        name = path.name.rpartition("/")[2]
        kept[name] = path.message_retention_duration
        assert not path.retain_acked_messages
    named = {place.partition("`")[2].strip("`"): place for place in PLACES if place.startswith("Pub/Sub")}
    assert kept == {name: timedelta(days=days(place)) for name, place in named.items()}


def test_bigquery_keeps_rows_for_as_long_as_the_document_says(emulated: Project) -> None:
    emulated.settle(USER, table="partition: day\nexpire_days: 30")
    dataset: bigquery.Dataset = emulated.client.get_dataset("pixelpipe")
    # Ours sets none of these, so they are BigQuery's own.
    assert dataset.max_time_travel_hours is None and dataset.default_partition_expiration_ms is None
    assert days("BigQuery's time travel") == days("BigQuery's fail-safe") == 7
    tables = {one.table_id for one in emulated.client.list_tables("pixelpipe") if one.table_type == "TABLE"}
    expiring = {name: emulated.client.get_table(f"pixelpipe.{name}").time_partitioning.expiration_ms for name in tables}
    assert expiring["events_log"] == 30 * 24 * 60 * 60 * 1000
    assert expiring[f"{REJECTS}_log"] is None and "forever" in PLACES["BigQuery, `NAME_log`"]
    assert expiring[f"{CONFLICTS}_log"] is None  # as the table kept longest
    assert expiring[f"{TALLIES}_log"] == days(f"BigQuery, `{TALLIES}_log`") * 24 * 60 * 60 * 1000
    documented = {place.split("`")[1] for place in PLACES if place.startswith("BigQuery, ")}
    assert tables - documented == {"events_log"}  # NAME_log; every other table has a line of its own


def test_every_place_of_the_code_is_in_the_document() -> None:
    assert set(PLACES) >= {row[0] for row in retention.rows()}
