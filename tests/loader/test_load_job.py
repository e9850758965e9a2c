"""Tables written by load jobs, between the two emulators: what is in a job, when packs are answered, what may fail."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pytest
from google.cloud import bigquery

from services.loader import load_file
from services.loader.job_writer import TRIES
from services.loader.load_file import LoadFile
from services.loader.load_job import Failed, Job, LoadJobs, Token
from services.provision import view
from services.shared import names, schema, schema_file
from tests import child
from tests.loader import rig
from tests.loader.dataset import Dataset
from tests.loader.rows_made import EVENTS, REJECTS, batch, event, events
from tests.loader.test_process import loading
from tests.waiting import until

SLOTS = 86_400  # of a second each
JSON_COLUMNS = """      params:      {type: JSON, from: query.*, description: "All parameters that have no column"}\n"""


@dataclass(frozen=True)
class Emulator:
    rest: str
    grpc: str
    control: str

    @asynccontextmanager
    async def fault(self, **fault: Any) -> AsyncIterator[Callable[[], Any]]:
        """Set a fault; yields a coroutine function that says how often it has struck."""
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{self.control}/faults", json=fault) as reply:
                assert reply.ok, await reply.text()

            async def struck() -> int:
                async with http.get(f"{self.control}/faults") as reply:
                    return sum(one["struck"] for one in (await reply.json())["faults"])

            try:
                yield struck
            finally:
                await http.delete(f"{self.control}/faults")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A BigQuery of this file's own, since its faults are everybody's."""
    data = str(tmp_path_factory.mktemp("bigquery") / "bigquery.duckdb")
    ports = ("--rest-port", "0", "--grpc-port", "0", "--control-port", "0", "--data", data)
    with child.running("services.local.bigquery", *ports) as running:
        at = {name: f"127.0.0.1:{port}" for name, port in running.ready.items()}
        yield Emulator(f"http://{at['rest']}", at["grpc"], f"http://{at['control']}")


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, pubsub_host: str, emulator: Emulator, project: str) -> Iterator[Dataset]:
    rig.point(monkeypatch, pubsub_host, emulator.grpc)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", emulator.rest)
    made = Dataset(project, emulator.rest)
    made.table(EVENTS)
    made.table(REJECTS)
    yield made
    made.client.close()


@pytest.fixture
def topics(dataset: Dataset, project: str) -> Iterator[rig.RowTopics]:
    made = rig.RowTopics(project)
    yield made
    made.close()


@pytest.fixture
def by_job(tmp_path: Path) -> dict[str, Any]:
    """Settings of a loader that writes `events` by jobs, often."""
    return {"schema": schema_of(tmp_path, "load_job"), "job_interval": 0.2, "jobs_per_day": SLOTS}


def schema_of(folder: Path, write: str) -> Path:
    file = folder / f"{write}.yaml"
    text = schema.DEFAULT_FILE.read_text()
    file.write_text(text.replace("  events:\n", f"  events:\n    write: {write}\n"))
    return file


def loads(dataset: Dataset) -> list[bigquery.LoadJob]:
    return [job for job in dataset.client.list_jobs() if isinstance(job, bigquery.LoadJob)]


def count(dataset: Dataset) -> int:
    [(found,)] = dataset.query("SELECT COUNT(*) FROM pixelpipe.events_log")
    return int(str(found))


async def test_packs_become_rows_by_one_job(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    for first in range(0, 1_000, 100):
        topics.publish_rows(events(first, 100))
    async with rig.running(project, **by_job | {"job_interval": 1.5}) as loader:
        await loader.until_acked(10)
        assert await loader.metric("rows_loaded_total{events}") == 1_000
        assert await loader.metric("end_to_end_seconds_count") == 1_000
        assert await loader.metric("append_rows_count") == 0
    [(found, users, total)] = dataset.query(
        "SELECT COUNT(DISTINCT event_id), COUNT(DISTINCT user_id), SUM(CAST(JSON_VALUE(params, '$.n') AS INT64))"
        " FROM pixelpipe.events_log"
    )
    assert (found, users, total) == (1_000, 7, sum(range(1_000)))
    [job] = loads(dataset)
    assert job.job_id.startswith("pixelpipe-pixelpipe-events_log-2")
    assert job.output_rows == 1_000


async def test_rows_are_the_same_whichever_way_they_go(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    params = '{"total": 1.10, "list": [1, null], "text": "ä\\n\\"", "deep": {"a": {}}}'
    sent = batch([event(0, params=params, url='"\n,\t', order_id=""), event(1, params=None, type=None)])
    async with rig.running(project) as loader:
        topics.publish_rows(sent, pack="one")
        await loader.until_acked(1)
    async with rig.running(project, **by_job) as loader:
        topics.publish_rows(sent, pack="two")
        await loader.until_acked(1)
    rows = dataset.query("SELECT * FROM pixelpipe.events_log ORDER BY event_id")
    assert len(rows) == 4
    assert rows[0] == rows[1] and rows[2] == rows[3]


async def test_a_table_without_json_is_loaded_from_parquet(
    dataset: Dataset, topics: rig.RowTopics, project: str, tmp_path: Path, by_job: dict[str, Any]
) -> None:
    text = by_job["schema"].read_text()
    assert text.count(JSON_COLUMNS) == 1
    by_job["schema"].write_text(text.replace(JSON_COLUMNS, ""))
    topics.publish_rows(events(0, 50).drop_columns(["params"]))
    async with rig.running(project, **by_job) as loader:
        await loader.until_acked(1)
    assert count(dataset) == 50
    [job] = loads(dataset)
    assert job.source_format == "PARQUET"


async def test_ack_follows_the_end_of_the_job(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, looks = asyncio.Event(), 0
    insert, get = LoadJobs.insert, LoadJobs.get

    def so_far(job: Job | None) -> Job | None:
        return job if job is None or ended.is_set() else replace(job, done=False)

    async def inserted(self: LoadJobs, *args: Any) -> Job | None:
        return so_far(await insert(self, *args))

    async def got(self: LoadJobs, *args: Any) -> Job | None:
        nonlocal looks
        found = await get(self, *args)
        looks += found is not None
        return so_far(found)

    monkeypatch.setattr(LoadJobs, "insert", inserted)
    monkeypatch.setattr(LoadJobs, "get", got)
    topics.publish_rows(events(0, 3))
    async with rig.running(project, **by_job) as loader:
        await until(lambda: looks >= 2, "looks at the job that runs")
        assert count(dataset) == 3
        assert await loader.metric("messages_acked_total") == 0
        ended.set()
        await loader.until_acked(1)


async def _at_least(struck: Callable[[], Any], times: int) -> bool:
    return int(await struck()) >= times


async def test_a_lost_answer_is_found_by_its_id(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    insert = LoadJobs.insert

    async def lost(self: LoadJobs, id: str, *args: Any) -> Job:
        ids.append(id)
        done = await insert(self, id, *args)
        if len(ids) == 1:
            raise Failed("UNAVAILABLE", "the answer is lost")
        return done

    monkeypatch.setattr(LoadJobs, "insert", lost)
    topics.publish_rows(events(0, 3))
    async with rig.running(project, **by_job) as loader:
        await loader.until_acked(1)
        assert await loader.metric("jobs_total{done}") == 1
        assert await loader.metric("jobs_total{appended}") == 0
    assert ids[0] == ids[1]
    assert count(dataset) == 3
    assert [job.job_id for job in loads(dataset)] == [ids[0]]


async def test_a_slot_lost_in_the_last_moment_is_followed_by_the_next(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    insert = LoadJobs.insert

    async def raced(self: LoadJobs, id: str, table: str, file: LoadFile) -> Job:
        ids.append(id)
        if len(ids) == 1:
            await insert(self, id, table, load_file.build(EVENTS, [events(100, 1)]))
        return await insert(self, id, table, file)

    monkeypatch.setattr(LoadJobs, "insert", raced)
    topics.publish_rows(events(0, 3))
    async with rig.running(project, **by_job) as loader:
        await loader.until_acked(1)
        assert await loader.metric("jobs_total{taken}") >= 1
    assert ids[0] != ids[1]
    assert dataset.query("SELECT COUNT(DISTINCT event_id), COUNT(*) FROM pixelpipe.events_log") == [(4, 4)]


@pytest.mark.parametrize("faults", [3, 2])
async def test_a_job_that_fails_for_a_while_is_made_again_in_another_slot(
    dataset: Dataset,
    topics: rig.RowTopics,
    project: str,
    by_job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    faults: int,
) -> None:
    ids = []
    insert = LoadJobs.insert

    async def failing(self: LoadJobs, id: str, table: str, file: LoadFile) -> Job:
        ids.append(id)
        if len(ids) <= faults:
            return Job(id, file.digest, done=True, failed=Failed("backendError", "as scripted"))
        return await insert(self, id, table, file)

    monkeypatch.setattr(LoadJobs, "insert", failing)
    topics.publish_rows(events(0, 3))
    async with rig.running(project, **by_job) as loader:
        await loader.until_acked(1)
        assert await loader.metric("jobs_total{failed}") == faults
        assert await loader.metric("jobs_total{appended}") == (faults == TRIES)
    assert len(set(ids)) == len(ids) == TRIES
    assert count(dataset) == 3


async def test_two_loaders_never_share_a_slot(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    settings = by_job | {"job_interval": 0.1}
    async with rig.running(project, **settings) as one, rig.running(project, **settings) as other:

        async def loaded() -> bool:
            return await one.metric("rows_loaded_total{events}") + await other.metric("rows_loaded_total{events}") >= 60

        for number in range(60):
            topics.publish_rows(events(number, 1))
            await asyncio.sleep(0.05)
        await until(loaded, "all rows")
        jobs = await one.metric("jobs_total{done}") + await other.metric("jobs_total{done}")
        assert await one.metric("jobs_total{appended}") + await other.metric("jobs_total{appended}") == 0
    found = loads(dataset)
    assert len(found) == jobs == len({job.job_id for job in found})
    assert count(dataset) == 60


async def test_a_bad_row_is_rejected_and_the_rest_is_written(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    late = batch([event(2), event(3)])
    place = late.schema.get_field_index("event_time")
    late = late.set_column(place, late.schema.field(place), pa.array([2**60, None], late.schema.field(place).type))
    topics.publish_rows(batch([event(0), event(1, params="{not json")]))  # no file can say it
    topics.publish_rows(events(10, 5))
    async with rig.running(project, **by_job | {"job_interval": 1.0}) as loader:
        await loader.until_acked(2)
        assert await loader.metric("rows_rejected_total{bigquery}") == 1
        topics.publish_rows(late)  # a time that no calendar has: the job fails
        topics.publish_rows(events(20, 5))
        await loader.until_acked(4)
        assert await loader.metric("rows_rejected_total{bigquery}") == 2
        assert await loader.metric("jobs_total{failed}") == 1
        assert await loader.metric("jobs_total{appended}") == 2
    assert count(dataset) == 12
    rejects = dataset.query("SELECT event_id, reason FROM pixelpipe.rejects_log ORDER BY event_id")
    assert rejects == [("event-000001", "bigquery"), ("event-000002", "bigquery")]


@pytest.mark.slow
@pytest.mark.slow
async def test_a_loader_killed_while_its_job_runs_loses_nothing_and_the_view_counts_once(
    dataset: Dataset, emulator: Emulator, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    counted = bigquery.Table(f"{project}.{names.DATASET}.events")
    counted.view_query = view.sql(EVENTS, project, names.DATASET, [column.name for column in EVENTS.columns])
    dataset.client.create_table(counted)
    settings = {
        "PIPE_SCHEMA": str(by_job["schema"]),
        "PIPE_JOB_INTERVAL": "0.2",
        "PIPE_JOBS_PER_DAY": str(SLOTS),
    }
    for first in range(0, 100, 10):
        topics.publish_rows(events(first, 10))
    async with emulator.fault(effect="latency_after", delay=5.0, method="jobs.insert"):

        def killed() -> None:
            with loading(project, **settings) as loader:
                child.wait_for(lambda: count(dataset), what="the rows of a job whose answer is on its way")
                loader.stop(signal.SIGKILL)

        await asyncio.to_thread(killed)
    async with rig.running(project, **by_job):

        async def twice() -> bool:
            [(ids, rows)] = await asyncio.to_thread(
                dataset.query, "SELECT COUNT(DISTINCT event_id), COUNT(*) FROM pixelpipe.events_log"
            )
            return ids == 100 and int(str(rows)) > 100

        await until(twice, "the rows to come again", timeout=100)
    [(rows, ids)] = dataset.query("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM pixelpipe.events")
    assert (rows, ids) == (100, 100)


@pytest.mark.slow
async def test_memory_is_bounded_while_no_job_can_begin(
    dataset: Dataset, emulator: Emulator, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    text = "x" * 50_000
    big = [batch([event(number, url=text) for number in range(first, first + 10)]) for first in range(0, 100, 10)]
    settings = by_job | {"job_interval": 600.0, "max_bytes": 1_000_000, "batch_bytes": 400_000}
    async with rig.running(project, **settings) as loader:
        async with emulator.fault(effect="error", method="jobs.*") as struck:
            topics.publish_rows(big[0])
            topics.publish_rows(big[1])
            await loader.until_metric("held_bytes", 1_000_000)
            await until(lambda: _at_least(struck, 1), "a job before its time")
            for rows in big[2:]:
                topics.publish_rows(rows)
            assert await loader.metric("messages_received_total") == 2
            assert await loader.metric("messages_acked_total") == 0
        await loader.until_acked(10)
        assert await loader.metric("held_bytes") == 0
    assert count(dataset) == 100


async def test_stopping_appends_what_has_no_job_yet(
    dataset: Dataset, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    async with rig.running(project, **by_job | {"job_interval": 600.0}) as loader:
        topics.publish_rows(events(0, 3))
        await loader.until_metric("held_rows", 3)
        assert count(dataset) == 0
        await loader.end()
    assert count(dataset) == 3
    assert not loads(dataset)
    assert not topics.pull(names.ROWS_SUBSCRIPTION)


@pytest.mark.parametrize(("target", "jobs"), [(30.0, 0), (3_600.0, 1)])
async def test_auto_goes_the_cheapest_way_in_time(
    dataset: Dataset, topics: rig.RowTopics, project: str, tmp_path: Path, target: float, jobs: int
) -> None:
    settings = {"schema": schema_of(tmp_path, "auto"), "job_interval": 0.2, "latency_target": target}
    async with rig.running(project, **settings, jobs_per_day=1_440 if not jobs else SLOTS) as loader:
        topics.publish_rows(events(0, 3))
        await loader.until_acked(1)
    assert len(loads(dataset)) == jobs
    assert count(dataset) == 3


async def test_jobs_that_may_not_be_made_are_appended(
    dataset: Dataset, emulator: Emulator, topics: rig.RowTopics, project: str, by_job: dict[str, Any]
) -> None:
    topics.publish_rows(events(0, 3))
    async with (
        emulator.fault(effect="error", method="jobs.insert", code="PERMISSION_DENIED"),
        rig.running(project, **by_job) as loader,
    ):
        await loader.until_acked(1)
        assert await loader.metric("jobs_total{appended}") == 1
    assert count(dataset) == 3


def test_the_default_file_says_no_way() -> None:
    assert {table.write for table in schema_file.load(schema.DEFAULT_FILE).tables.values()} == {"write_api"}


async def test_a_token_is_renewed_once_for_all_who_wait() -> None:
    class Credentials:
        valid, token, renewed = False, "", 0

        def refresh(self, request: object) -> None:
            self.renewed += 1
            self.valid, self.token = True, f"t{self.renewed}"

    found = Credentials()
    token = Token(found)
    assert await asyncio.gather(*(token.header() for _ in range(3))) == ["Bearer t1"] * 3
    found.valid = False
    assert await token.header() == "Bearer t2"
