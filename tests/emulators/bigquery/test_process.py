"""The emulator as a process: its one line, its ports, its file, and what is left after a stop or a kill."""

from __future__ import annotations

import io
import itertools
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from tests import process
from tests.emulators import bigquery_client as desk


def start(data: Path, *args: str, wait_ready: bool = True) -> process.Child:
    ports = args or ("--rest-port", "0", "--grpc-port", "0")
    return process.start("emulators.bigquery", *ports, "--data", str(data), wait_ready=wait_ready)


def client(running: process.Child, project: str) -> bigquery.Client:
    return desk.client(f"http://127.0.0.1:{running.ready['rest']}", project)


def load(found: bigquery.Client, job_id: str) -> bigquery.LoadJob:
    file = io.BytesIO(json.dumps({"day": str(desk.TODAY), "id": "x"}).encode())
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON")
    return found.load_table_from_file(file, f"{found.project}.d.t", job_id=job_id, job_config=config, num_retries=0)


def test_everything_is_there_after_a_stop_and_a_start(tmp_path: Path, project: str) -> None:
    data = tmp_path / "new" / "folders" / "data.duckdb"
    first = start(data)
    assert set(first.ready) == {"rest", "grpc"}
    found = client(first, project)
    made = desk.table(found, filtered=True)
    view = bigquery.Table(f"{project}.d.v")
    view.view_query = f"SELECT id FROM `{project}.d.t`"
    found.create_table(view)
    load(found, "once").result()
    query = found.query("SELECT 1")
    query.result()
    etag = found.get_table("d.t").etag
    assert first.stop(signal.SIGTERM) == 0
    assert first.output() == ""
    assert not data.with_name(data.name + ".wal").exists(), "a clean stop leaves everything in the file"

    with duckdb.connect(str(data)) as file:  # as of a release before this column
        for (name,) in file.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'rows'").fetchall():
            file.execute(f'ALTER TABLE rows.{name} DROP COLUMN "$written"')
    second = start(data)
    found = client(second, project)
    (partition,) = found.query_and_wait("SELECT last_modified_time FROM d.INFORMATION_SCHEMA.PARTITIONS")
    assert partition[0] is not None
    table = found.get_table("d.t")
    assert (table.etag, table.schema, table.num_rows) == (etag, made.schema, 1)
    assert found.get_table("d.v").view_query == view.view_query
    with pytest.raises(Conflict):
        load(found, "once")
    assert found.get_job("once").output_rows == 1
    with pytest.raises(NotFound, match="no longer kept"):
        found.get_job(query.job_id).result(retry=None)
    assert second.stop(signal.SIGINT) == 0
    assert not data.with_name(data.name + ".wal").exists()


def test_acknowledged_appends_survive_kill_9_in_the_midst_of_them(tmp_path: Path, project: str) -> None:
    data = tmp_path / "data.duckdb"
    first = start(data)
    found = client(first, project)
    desk.table(found)
    writer = desk.Writer(f"127.0.0.1:{first.ready['grpc']}")
    acknowledged = 0
    enough = threading.Event()

    def requests() -> Iterator[types.AppendRowsRequest]:
        for n in itertools.count():
            batch = desk.rows(*({"n": n, "params": '{"a":1}'} for _ in range(50)))
            yield desk.request(batch, desk.stream(project), first=n == 0)

    def kill() -> None:
        enough.wait(50)
        first.process.kill()

    def count_answers() -> None:
        nonlocal acknowledged
        for answer in writer.call(requests()):
            assert not answer.error.code
            acknowledged += 1
            if acknowledged == 40:
                enough.set()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(GoogleAPICallError):
        count_answers()
    killer.join()
    first.stop()
    writer.close()

    second = start(data)
    found = client(second, project)
    counted = [tuple(row) for row in found.query_and_wait("SELECT n, COUNT(*) AS c FROM d.t GROUP BY n ORDER BY n")]
    assert len(counted) >= acknowledged >= 40
    assert counted == [(n, 50) for n in range(len(counted))], "an append is there whole, or not at all"
    assert second.stop() == 0


def test_loads_are_done_or_not_at_all_after_kill_9(tmp_path: Path, project: str) -> None:
    data = tmp_path / "data.duckdb"
    first = start(data)
    found = client(first, project)
    desk.table(found)
    for n in range(5):
        load(found, f"job-{n}").result()
    last = load(found, "job-5")
    first.process.kill()
    first.stop()

    second = start(data)
    found = client(second, project)
    rows = found.get_table("d.t").num_rows
    done = [found.get_job(f"job-{n}") for n in range(6)]
    assert all(job.state == "DONE" for job in done)
    assert sum(job.error_result is None for job in done) == rows
    assert all(job.error_result is None for job in done[:5])
    with pytest.raises(Conflict):
        load(found, last.job_id)
    assert second.stop() == 0


@pytest.mark.parametrize("taken", ["--rest-port", "--grpc-port"])
def test_taken_port_is_named(tmp_path: Path, taken: str) -> None:
    other = {"--rest-port": "--grpc-port", "--grpc-port": "--rest-port"}[taken]
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        failed = start(tmp_path / "data.duckdb", taken, port, other, "0", wait_ready=False)
        assert failed.process.wait(60) == 1
    assert port in failed.output()
    assert len(failed.output().strip().splitlines()) == 1
    failed.log.unlink()


def test_file_in_use_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data.duckdb"
    with process.running("emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--data", str(data)):
        failed = start(data, wait_ready=False)
        assert failed.process.wait(60) == 1
        assert f"{data} is in use by another process" in failed.output()
        assert len(failed.output().strip().splitlines()) == 1
        failed.log.unlink()


def test_stop_waits_for_no_idle_connection_and_no_long_query(tmp_path: Path, project: str) -> None:
    running = start(tmp_path / "data.duckdb")
    found = client(running, project)
    desk.table(found)
    writer = desk.Writer(f"127.0.0.1:{running.ready['grpc']}")
    released = threading.Event()

    def requests() -> Iterator[types.AppendRowsRequest]:
        yield desk.request(desk.rows({}), desk.stream(project))
        released.wait(100)

    call = writer.call(requests())
    assert not next(call).error.code
    found.query(
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS a, UNNEST(GENERATE_ARRAY(1, 300000)) AS b "
        "WHERE MOD(a * b, 7) = 3"
    )
    assert running.stop(timeout=40) == 0
    assert running.output() == ""
    released.set()
    writer.close()


def test_nothing_is_served_but_on_loopback(tmp_path: Path) -> None:
    with process.running(
        "emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--data", str(tmp_path / "d.duckdb")
    ) as running:
        listening = Path(f"/proc/{running.process.pid}/net/tcp").read_text().splitlines()[1:]
        ports = {f"{port:04X}" for port in running.ready.values()}
        local = [line.split()[1] for line in listening if line.split()[3] == "0A"]
        assert {address.split(":")[0] for address in local if address.split(":")[1] in ports} == {"0100007F"}
