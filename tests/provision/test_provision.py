from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery

from services.provision import analyst_views, conflicts
from services.provision.resource import ProvisionRefused
from services.shared import schema_file
from services.shared.schema import DEFAULT_FILE
from tests import process
from tests.provision import schemas
from tests.provision.schemas import TYPE, USER, text

NUMBER = "n: {type: INT64, from: param.n}"


def provision(
    project: str, *arguments: str, env: dict[str, str] | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """`python -m services.provision` as a deployment runs it; settings are PIPE_* names in lower case."""
    pipe = {f"PIPE_{name.upper()}": value for name, value in {"project": project, **settings}.items()}
    return process.run("services.provision", *arguments, env={**(env or {}), **pipe})


def verbs(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


def test_the_command_makes_everything_once(emulated) -> None:
    dry = provision(emulated.id, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert all(line.startswith("would create") for line in dry.stdout.splitlines())
    assert list(emulated.client.list_datasets()) == []
    first = provision(emulated.id)
    assert first.returncode == 0, first.stderr
    assert verbs(first.stdout.splitlines()) == {"created"}
    said = first.stdout.replace("table function", "table_function").replace(":", "")
    assert [" ".join(line.split()[1:3]) for line in said.splitlines()] == [
        "topic pixelpipe-dead",
        "topic pixelpipe-hits",
        "topic pixelpipe-rows",
        "subscription pixelpipe-dead-letters",
        "subscription pixelpipe-hits-processor",
        "subscription pixelpipe-rows-loader",
        "dataset pixelpipe",
        "table pixelpipe.events_log",
        "view pixelpipe.events",
        "table pixelpipe.rejects_log",
        "view pixelpipe.rejects",
        "table pixelpipe.conflicts_log",
        "view pixelpipe.conflicts",
        "table pixelpipe.erasures_log",
        "view pixelpipe.erasures",
        "table pixelpipe.tallies_log",
        "view pixelpipe.tallies",
        "view pixelpipe.reconciliation",
        *(
            f"{'table_function' if one.arguments else 'view'} pixelpipe.{one.name}"
            for one in analyst_views.wanted(schema_file.load(DEFAULT_FILE))
        ),
    ]
    second = provision(emulated.id)
    assert second.returncode == 0, second.stderr
    assert verbs(second.stdout.splitlines()) == {"unchanged"}


def test_a_wrong_setting_or_schema_file_ends_it_with_2(tmp_path: Path) -> None:
    wrong = provision("p", topic_of_hits="x")
    assert wrong.returncode == 2
    assert "PIPE_TOPIC_OF_HITS" in wrong.stderr
    file = tmp_path / "schema.yaml"
    file.write_text(text("n: {type: INT, from: param.n}"))
    wrong = provision("p", schema=str(file))
    assert wrong.returncode == 2
    assert f"{file}:8:" in wrong.stderr


def test_a_refusal_ends_the_command_with_1_and_names_both_types(provisioned, tmp_path: Path) -> None:
    project = provisioned(NUMBER, USER)
    file = tmp_path / "schema.yaml"
    file.write_text(text("n: {type: STRING, from: param.n}", "user_id: {type: NUMERIC, from: param.user_id}", TYPE))
    refused = provision(project.id, schema=str(file))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "table pixelpipe.events_log: column n is INT64 in the table and STRING in the schema file" in refused.stderr
    assert "table pixelpipe.events_log: column user_id is STRING in the table and NUMERIC" in refused.stderr
    names = [field.name for field in project.client.get_table("pixelpipe.events_log").schema]
    assert "type" not in names  # the harmless part of a refused change is not made either


def test_the_subscriptions_are_kept_for_ever_retried_and_backed_by_the_dead_topic(provisioned) -> None:
    project = provisioned(USER)
    for name, days in (
        ("pixelpipe-hits-processor", 7),
        ("pixelpipe-rows-loader", 7),
        ("pixelpipe-dead-letters", 31),
    ):
        found = project.subscription(name)
        assert "expiration_policy" in found and "ttl" not in found.expiration_policy
        assert (found.retry_policy.minimum_backoff.seconds, found.retry_policy.maximum_backoff.seconds) == (1, 600)
        assert found.message_retention_duration.days == days
        assert dict(found.labels) == {"managed-by": "pixelpipe"}
        if name == "pixelpipe-dead-letters":
            assert "dead_letter_policy" not in found
            assert found.topic == f"projects/{project.id}/topics/pixelpipe-dead"
        else:
            assert found.dead_letter_policy.dead_letter_topic == f"projects/{project.id}/topics/pixelpipe-dead"
            assert found.dead_letter_policy.max_delivery_attempts == 20


def test_drifted_settings_of_ours_are_put_right_and_others_left(provisioned) -> None:
    project = provisioned(USER)
    path = f"projects/{project.id}/subscriptions/pixelpipe-rows-loader"
    project.subscriber.update_subscription(
        request={
            "subscription": {"name": path, "ack_deadline_seconds": 11, "labels": {"team": "web"}},
            "update_mask": {"paths": ["ack_deadline_seconds", "labels", "dead_letter_policy"]},
        }
    )
    table = project.client.get_table("pixelpipe.events")
    table.view_query = f"SELECT 1 AS x FROM `{project.id}.pixelpipe.events_log`"
    project.client.update_table(table, ["view_query"])
    changed = [line for line in project.settle(USER) if not line.startswith("unchanged")]
    assert changed == [
        "updated subscription pixelpipe-rows-loader: ack_deadline_seconds, dead_letter_policy, labels",
        "updated view pixelpipe.events: SQL",
    ]
    found = project.subscription("pixelpipe-rows-loader")
    assert found.ack_deadline_seconds == 60
    assert dict(found.labels) == {"team": "web", "managed-by": "pixelpipe"}
    assert verbs(project.settle(USER)) == {"unchanged"}


def test_a_subscription_of_another_topic_is_refused(emulated) -> None:
    topic = f"projects/{emulated.id}/topics/other"
    emulated.publisher.create_topic(name=topic)
    emulated.subscriber.create_subscription(
        name=f"projects/{emulated.id}/subscriptions/pixelpipe-hits-processor", topic=topic
    )
    with pytest.raises(ProvisionRefused, match=r"belongs to projects/.*/topics/other"):
        emulated.settle(USER)
    with pytest.raises(exceptions.NotFound):
        emulated.client.get_dataset("pixelpipe")


def test_the_log_table_is_as_the_schema_file_says(provisioned) -> None:
    table = "partition: day\ncluster: [user_id, type]\nrequire_partition_filter: true\n"
    project = provisioned(USER, TYPE, table=table + "description: All that happened")
    found = project.client.get_table("pixelpipe.events_log")
    fields = {field.name: (field.field_type, field.mode, field.description) for field in found.schema}
    assert fields["day"] == ("DATE", "REQUIRED", "The partition")
    assert fields["user_id"] == ("STRING", "REQUIRED", "Who did it")
    assert fields["type"][1] == "NULLABLE"
    assert (found.time_partitioning.type_, found.time_partitioning.field) == ("DAY", "day")
    assert found.require_partition_filter is True
    assert found.clustering_fields == ["user_id", "type"]
    assert found.description == "All that happened"
    assert found.labels == {"managed-by": "pixelpipe"}
    assert project.client.get_table("pixelpipe.events").table_type == "VIEW"
    assert verbs(project.settle(USER, TYPE, table=table + "description: All that happened")) == {"unchanged"}


def test_a_column_added_to_the_file_shows_up_in_table_and_view(provisioned) -> None:
    project = provisioned(USER)
    changed = [line for line in project.settle(USER, NUMBER) if not line.startswith("unchanged")]
    assert changed == ["updated table pixelpipe.events_log: new column n INT64", "updated view pixelpipe.events: SQL"]
    columns = project.client.query_and_wait("SELECT * FROM pixelpipe.events").schema
    assert [field.name for field in columns] == ["day", "event_id", "received_at", "user_id", "n"]


def test_a_column_the_file_lost_stays_in_table_and_view(provisioned) -> None:
    project = provisioned(USER, NUMBER)
    lines = project.settle(USER)
    assert "unchanged table pixelpipe.events_log: no longer filled, not in the schema file: n" in lines
    assert verbs(lines) == {"unchanged"}
    assert [field.name for field in project.client.query_and_wait("SELECT * FROM pixelpipe.events").schema][-1] == "n"


def test_clustering_and_the_filter_follow_the_file(provisioned) -> None:
    project = provisioned(USER, table="partition: day\ncluster: [user_id]\nrequire_partition_filter: true")
    assert (
        "updated table pixelpipe.events_log: new column _compacted BOOL; clustered by nothing from now on; "
        "partition filter not required" in project.settle(USER)
    )
    found = project.client.get_table("pixelpipe.events_log")
    assert found.clustering_fields is None
    assert not found.require_partition_filter
    assert verbs(project.settle(USER)) == {"unchanged"}


def test_expiry_follows_the_file_and_keeps_the_filter(provisioned) -> None:
    table = "partition: day\nrequire_partition_filter: true"
    project = provisioned(USER, table=f"{table}\nexpire_days: 400")
    found = project.client.get_table("pixelpipe.events_log")
    assert found.time_partitioning.expiration_ms == 400 * 24 * 60 * 60 * 1000
    assert verbs(project.settle(USER, table=f"{table}\nexpire_days: 400")) == {"unchanged"}
    assert "updated table pixelpipe.events_log: partitions expire never" in project.settle(USER, table=table)
    found = project.client.get_table("pixelpipe.events_log")
    assert found.time_partitioning.expiration_ms is None
    assert found.require_partition_filter is True
    assert verbs(project.settle(USER, table=table)) == {"unchanged"}


def test_another_partition_is_refused(provisioned) -> None:
    project = provisioned(USER)
    with pytest.raises(
        ProvisionRefused, match="partitioned by DAY of day, the schema file wants it by DAY of received_at"
    ):
        project.settle(USER, table="partition: received_at")


def test_a_table_where_the_view_should_be_is_refused(emulated) -> None:
    emulated.client.create_dataset("pixelpipe")
    emulated.client.create_table(
        bigquery.Table(f"{emulated.id}.pixelpipe.events", schema=[bigquery.SchemaField("x", "STRING")])
    )
    with pytest.raises(ProvisionRefused, match=r"view pixelpipe.events: there is a TABLE of this name"):
        emulated.settle(USER)


def test_a_dataset_elsewhere_is_refused_saying_where(emulated) -> None:
    dataset = bigquery.Dataset(f"{emulated.id}.pixelpipe")
    dataset.location = "EU"
    emulated.client.create_dataset(dataset)
    with pytest.raises(ProvisionRefused, match="set PIPE_LOCATION=EU"):
        emulated.settle(USER)
    assert "updated dataset pixelpipe: labels" in emulated.settle(USER, location="EU")


def test_runs_side_by_side_all_succeed(emulated) -> None:
    with ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(emulated.settle, USER) for _ in range(4)]:
            made.result(60)
        for changed in [pool.submit(emulated.settle, USER, NUMBER) for _ in range(4)]:
            changed.result(60)
    assert verbs(emulated.settle(USER, NUMBER)) == {"unchanged"}


def test_a_dry_run_of_a_change_touches_nothing(provisioned) -> None:
    project = provisioned(USER)
    lines = project.settle(USER, NUMBER, dry_run=True)
    assert "would update table pixelpipe.events_log: new column n INT64" in lines
    assert "n" not in [field.name for field in project.client.get_table("pixelpipe.events_log").schema]


def test_a_view_of_an_older_release_is_replaced(provisioned) -> None:
    project = provisioned(USER, TYPE)
    table = project.client.get_table("pixelpipe.events")
    table.view_query = table.view_query.replace(
        "PARTITION BY `day`, `type`, `event_id`", "PARTITION BY `day`, `event_id`"
    )
    project.client.update_table(table, ["view_query"])
    changed = [line for line in project.settle(USER, TYPE) if not line.startswith("unchanged")]
    assert changed == ["updated view pixelpipe.events: SQL"]
    assert "`day`, `type`, `event_id`" in project.client.get_table("pixelpipe.events").view_query
    changed = [
        line for line in project.settle(USER, TYPE, table="partition: day\nunique: [user_id]") if "unch" not in line
    ]
    assert changed == ["updated view pixelpipe.events: SQL"]


def test_the_table_of_conflicts_is_described_and_lasts_as_long_as_the_longest(provisioned) -> None:
    project = provisioned(USER)
    found = project.client.get_table("pixelpipe.conflicts_log")
    assert (found.time_partitioning.field, found.time_partitioning.expiration_ms) == ("day", None)
    assert found.clustering_fields == ["table", "event_id"]
    assert found.description and all(field.description and field.mode == "REQUIRED" for field in found.schema)
    assert project.client.get_table("pixelpipe.conflicts").table_type == "VIEW"
    table = "partition: day\nexpire_days: 30"
    rejects = schemas.REJECTS.replace("partition: day", "partition: day\n    expire_days: 40")
    schema = schema_file.parse(schemas.text(USER, table=table).replace(schemas.REJECTS, rejects))
    assert conflicts.table(schema).expire_days == 40
    assert conflicts.table(schemas.schema(USER, table=table)).expire_days is None


@pytest.fixture
def failing() -> Iterator[tuple[str, str]]:
    """A Pub/Sub that fails as it is told: its address, and that of its control port."""
    with process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as emulator:
        yield f"127.0.0.1:{emulator.ready['grpc']}", f"http://127.0.0.1:{emulator.ready['control']}/faults"


def test_an_error_names_the_resource_and_its_setting(emulated, failing: tuple[str, str]) -> None:
    pubsub, faults = failing
    fault = {"effect": "error", "code": "PERMISSION_DENIED", "method": "CreateTopic", "resource": "*/clicks"}
    requests.post(faults, json=fault, timeout=10).raise_for_status()
    failed = provision(emulated.id, env={"PUBSUB_EMULATOR_HOST": pubsub}, hits_topic="clicks")
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("provision: failed: topic clicks (PIPE_HITS_TOPIC): 403"), failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_emulator_that_keeps_messages_for_a_week_is_told_a_week(emulated, failing: tuple[str, str]) -> None:
    pubsub, faults = failing
    for method in ("CreateSubscription", "UpdateSubscription"):
        fault = {"effect": "error", "code": "INVALID_ARGUMENT", "method": method, "resource": "*/pixelpipe-dead-*"}
        requests.post(faults, json={**fault, "times": 1}, timeout=10).raise_for_status()
    lines = []
    for _ in range(2):
        done = provision(emulated.id, env={"PUBSUB_EMULATOR_HOST": pubsub})
        assert done.returncode == 0, done.stderr
        lines += done.stdout.splitlines()
    assert sum("keeps messages for fewer days" in line for line in lines) == 2, "once each run"


ARCHIVE = "gs://my-bucket/raw"
FILTER = "NOT attributes:replayed"


def archive_of(project) -> Any:
    return project.subscription("pixelpipe-hits-archive")


def test_hits_are_archived_where_the_option_says_and_the_bucket_s_needs_are_printed(emulated) -> None:
    first = provision(emulated.id, "--archive", ARCHIVE, archive_days="7")
    assert first.returncode == 0, first.stderr
    lines, needs = first.stdout.split("\n\n")
    assert verbs(lines.splitlines()) == {"created"} and "subscription pixelpipe-hits-archive:" in lines
    assert "--role=roles/storage.objectCreator" in needs and "--role=roles/storage.legacyBucketReader" in needs
    (rule,) = [json.loads(line) for line in needs.splitlines() if line.startswith("{")]
    assert rule == {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 7, "matchesPrefix": ["raw/"]}}]}
    assert "gcloud storage buckets update gs://my-bucket --lifecycle-file=lifecycle.json" in needs
    assert subprocess.run(["/bin/bash", "-n"], input=needs, text=True, check=False).returncode == 0
    found = archive_of(emulated)
    config = found.cloud_storage_config
    assert (config.bucket, config.filename_prefix, config.filename_suffix) == ("my-bucket", "raw/", ".avro")
    assert config.avro_config.write_metadata  # a pack is nothing without its attributes
    assert config.max_duration.total_seconds() <= found.ack_deadline_seconds
    assert found.filter == FILTER
    assert "expiration_policy" in found and "ttl" not in found.expiration_policy
    assert (found.message_retention_duration.days, "dead_letter_policy" in found) == (7, False)
    second = provision(emulated.id, archive=ARCHIVE, archive_days="7")
    assert verbs(second.stdout.split("\n\n")[0].splitlines()) == {"unchanged"}


def test_another_bucket_and_drifted_limits_of_the_archive_are_changed(emulated) -> None:
    emulated.settle(archive=ARCHIVE)
    moved = emulated.settle(archive="gs://other")
    assert "updated subscription pixelpipe-hits-archive: cloud_storage_config" in moved
    config = archive_of(emulated).cloud_storage_config
    assert (config.bucket, config.filename_prefix) == ("other", "")
    path = f"projects/{emulated.id}/subscriptions/pixelpipe-hits-archive"
    emulated.subscriber.update_subscription(
        request={
            "subscription": {
                "name": path,
                "topic": "",
                "cloud_storage_config": {"bucket": "other", "avro_config": {}, "max_bytes": 5000},
                "ack_deadline_seconds": 500,
            },
            "update_mask": {"paths": ["cloud_storage_config", "ack_deadline_seconds"]},
        }
    )
    assert verbs(emulated.settle(archive="gs://other", dry_run=True)) == {"unchanged", "would"}
    again = emulated.settle(archive="gs://other")
    assert "updated subscription pixelpipe-hits-archive: ack_deadline_seconds, cloud_storage_config" in again
    assert archive_of(emulated).cloud_storage_config == config
    assert verbs(emulated.settle(archive="gs://other")) == {"unchanged"}
    # Without the setting nobody looks at it, and it goes on.
    assert not [line for line in emulated.settle() if "archive" in line]
    assert archive_of(emulated).cloud_storage_config == config


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"filter": FILTER}, "it does not write to Cloud Storage"),
        ({"cloud_storage_config": {"bucket": "my-bucket", "avro_config": {}}}, f"it has no filter, not '{FILTER}'"),
        (
            {"cloud_storage_config": {"bucket": "my-bucket", "avro_config": {}}, "filter": "attributes:x"},
            "it has the filter 'attributes:x'",
        ),
    ],
    ids=["pull", "no-filter", "filter"],
)
def test_an_archive_that_cannot_be_made_of_what_is_there_is_refused(
    emulated, fields: dict[str, Any], said: str
) -> None:
    emulated.settle()
    path = f"projects/{emulated.id}/subscriptions/pixelpipe-hits-archive"
    topic = f"projects/{emulated.id}/topics/pixelpipe-hits"
    emulated.subscriber.create_subscription(request={"name": path, "topic": topic, **fields})
    with pytest.raises(ProvisionRefused, match="PIPE_ARCHIVE_SUBSCRIPTION") as refused:
        emulated.settle(archive=ARCHIVE)
    assert said in str(refused.value)


def test_the_processor_s_subscription_may_not_be_one_that_writes_to_a_bucket(emulated) -> None:
    emulated.settle(archive=ARCHIVE)
    with pytest.raises(ProvisionRefused, match="the services pull"):
        emulated.settle(hits_subscription="pixelpipe-hits-archive")


@pytest.mark.parametrize(
    "location",
    ["s3://b", "gs://", "gs://B", "gs://ab/../c", "gs://abc//d", "gs://abc/a b", "gs://abc/$(x)", "abc", "gs://abc/."],
)
def test_a_place_that_is_no_archive_is_refused_by_name(location: str) -> None:
    refused = provision("p", "--archive", location)
    assert refused.returncode == 2
    assert f"PIPE_ARCHIVE={location!r}: use gs://BUCKET or gs://BUCKET/FOLDER" in refused.stderr
