"""Each fault of the BigQuery emulator, as the official clients meet it, and its end."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcAsyncIOTransport
from google.rpc import code_pb2

from tests import process
from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.fault_client import Control


def started(data: Path) -> Any:
    ports = ("--rest-port", "0", "--grpc-port", "0", "--control-port", "0")
    return process.running("emulators.bigquery", *ports, "--data", str(data))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Child]:
    with started(tmp_path_factory.mktemp("faults") / "bigquery.duckdb") as running:
        assert list(running.ready) == ["rest", "grpc", "control"]
        yield running


@pytest.fixture(scope="module")
def address(emulator: process.Child) -> BigQueryAddress:
    return BigQueryAddress(f"http://127.0.0.1:{emulator.ready['rest']}", f"127.0.0.1:{emulator.ready['grpc']}")


@pytest.fixture
def client(address: BigQueryAddress, project: str) -> bigquery.Client:
    client = desk.client(address.rest, project)
    desk.table(client)
    return client


@pytest.fixture
def writer(address: BigQueryAddress) -> Iterator[desk.Writer]:
    writer = desk.Writer(address.grpc)
    yield writer
    writer.close()


class Open:
    """One AppendRows stream that stays open: what is sent and what is answered, one at a time."""

    def __init__(self, address: str, project: str) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._name = desk.stream(project)
        self._sent: queue.Queue[types.AppendRowsRequest | None] = queue.Queue()
        call = self._channel.stream_stream(
            "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows",
            request_serializer=types.AppendRowsRequest.serialize,
            response_deserializer=types.AppendRowsResponse.deserialize,
        )
        self.call = call(iter(self._sent.get, None), timeout=60)

    def __enter__(self) -> Open:
        return self

    def __exit__(self, *_: object) -> None:
        self._sent.put(None)
        self.call.cancel()
        self._channel.close()

    def send(self, *ids: str) -> None:
        self._sent.put(desk.request(desk.rows(*({"id": id_} for id_ in ids)), self._name))

    def answer(self) -> types.AppendRowsResponse:
        return next(self.call)

    def append(self, *ids: str) -> types.AppendRowsResponse:
        self.send(*ids)
        return self.answer()

    def status(self) -> grpc.StatusCode:
        """How the stream ends; what is answered before that is read away."""
        while True:
            try:
                next(self.call)
            except grpc.RpcError:
                return self.call.code()


def append(writer: desk.Writer, project: str, *ids: str) -> list[types.AppendRowsResponse]:
    return writer.append(desk.stream(project), desk.rows(*({"id": id_} for id_ in ids)))


def ids(client: bigquery.Client) -> list[str]:
    """All rows' ids, in order; read by listing, so that faults of queries do not matter."""
    return sorted(row["id"] for row in client.list_rows(f"{client.project}.d.t"))


def here(project: str) -> str:
    return f"{project}.*"


def in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    """Run `work` on a thread; its result, or the exception it raised, comes into the list."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("UNAVAILABLE", exceptions.ServiceUnavailable),
        ("INTERNAL", exceptions.InternalServerError),
        ("RESOURCE_EXHAUSTED", exceptions.Forbidden),
        ("NOT_FOUND", exceptions.NotFound),
        ("DEADLINE_EXCEEDED", exceptions.GatewayTimeout),
        ("CANCELLED", exceptions.BadRequest),
    ],
)
def test_error_fails_a_request_with_bigquerys_own_status(
    client: bigquery.Client, control: Control, code: str, raised: type[Exception]
) -> None:
    with control.on("error", method="tables.get", resource=f"{client.project}.d.t", code=code, message="not today"):
        with pytest.raises(raised, match="not today"):
            client.get_table("d.t", retry=None)
        assert client.get_dataset("d").dataset_id == "d"
    assert client.get_table("d.t", retry=None).table_id == "t"


def test_the_clients_own_retry_outlives_an_error(client: bigquery.Client, control: Control) -> None:
    with control.on("error", method="jobs.query", times=1) as name:
        assert desk.one(client, "SELECT 1") == 1
        assert control.struck(name) == 1


def test_a_failed_request_has_not_done_its_work_and_one_with_a_lost_reply_has(
    client: bigquery.Client, control: Control
) -> None:
    table = bigquery.Table(f"{client.project}.d.new", schema=desk.FIELDS)
    with (
        control.on("error", method="tables.insert", resource=here(client.project)),
        pytest.raises(exceptions.ServiceUnavailable),
    ):
        client.create_table(table, retry=None)
    with pytest.raises(exceptions.NotFound):
        client.get_table("d.new")
    with (
        control.on("lost_reply", method="tables.insert", resource=here(client.project)),
        pytest.raises(exceptions.ServiceUnavailable),
    ):
        client.create_table(table, retry=None)
    assert client.get_table("d.new").table_id == "new"


def test_error_ends_the_append_stream_and_nothing_is_written(
    client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    with (
        control.on("error", method="AppendRows", resource="*.d.t", code="INTERNAL", times=1),
        pytest.raises(exceptions.InternalServerError),
    ):
        append(writer, client.project, "a")
    assert ids(client) == []
    append(writer, client.project, "b")
    assert ids(client) == ["b"]


def test_latency_of_appends_holds_up_nobody_else(
    address: BigQueryAddress, client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    other = desk.table(client, "other")
    with Open(address.grpc, client.project) as stream:
        with control.on("latency", method="AppendRows", resource=f"{client.project}.d.t", delay=600) as name:
            for number in range(3):
                stream.send(f"slow{number}")
            process.wait_for(lambda: control.struck(name) == 3, 30, "three appends in flight")
            batch = desk.rows({"id": "quick"})
            writer.append(desk.stream(client.project, other.table_id), batch)
            assert desk.one(client, "SELECT COUNT(*) FROM d.other") == 1
            assert ids(client) == []
        for _ in range(3):
            assert stream.answer().append_result is not None
    assert ids(client) == ["slow0", "slow1", "slow2"]


def test_an_append_behind_a_slow_one_of_its_stream_waits_its_turn(
    address: BigQueryAddress, client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    desk.table(client, "other")
    with Open(address.grpc, client.project) as stream:
        with control.on("latency", method="AppendRows", resource=f"{client.project}.d.t", delay=600, times=1) as name:
            stream.send("first")
            process.wait_for(lambda: control.struck(name), 30, "the first append to be held")
            for number in range(5):
                stream.send(f"later{number}")
                writer.append(desk.stream(client.project, "other"), desk.rows({"id": "x"}))
            assert ids(client) == []
        for _ in range(6):
            assert not stream.answer().error.code
    assert len(ids(client)) == 6


def test_latency_after_commits_at_once(address: BigQueryAddress, client: bigquery.Client, control: Control) -> None:
    with Open(address.grpc, client.project) as stream:
        with control.on("latency_after", method="AppendRows", resource=here(client.project), delay=600):
            stream.send("a")
            assert process.wait_for(lambda: ids(client), 30, "the row") == ["a"]
        assert not stream.answer().error.code


def test_a_blackhole_swallows_appends(address: BigQueryAddress, client: bigquery.Client, control: Control) -> None:
    with Open(address.grpc, client.project) as stream, Open(address.grpc, client.project) as given_up:
        stream.append("before")
        with control.on("blackhole", method="AppendRows", resource=here(client.project)) as name:
            stream.send("held")
            given_up.send("gone")
            process.wait_for(lambda: control.struck(name) == 2, 30, "the appends to be held")
            given_up.call.cancel()
            assert ids(client) == ["before"]
            assert stream.call.is_active()
        assert stream.status() is grpc.StatusCode.UNAVAILABLE
    assert ids(client) == ["before"]


def test_a_blackhole_swallows_requests(client: bigquery.Client, control: Control) -> None:
    with control.on("blackhole", method="jobs.query") as name:
        held, outcome = in_background(lambda: client.query_and_wait("SELECT 1", retry=None, job_retry=None))
        process.wait_for(lambda: control.struck(name), 30, "the query to be held")
        with pytest.raises(requests.exceptions.Timeout):
            client.query_and_wait("SELECT 1", retry=None, job_retry=None, api_timeout=0.3)
        assert client.get_table("d.t").table_id == "t"
        assert held.is_alive()
    held.join(60)
    assert isinstance(outcome[0], exceptions.ServiceUnavailable)


def test_a_lost_reply_breaks_the_stream_after_the_commit(
    client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    # The synchronous client would try again by itself after UNAVAILABLE, with its requests used up.
    with control.on("lost_reply", method="AppendRows", resource=here(client.project), times=1, code="ABORTED"):
        with pytest.raises(exceptions.Aborted):
            append(writer, client.project, "a")
        assert ids(client) == ["a"]
        append(writer, client.project, "a")
    assert ids(client) == ["a", "a"]


def test_an_append_error_leaves_the_stream_open(
    address: BigQueryAddress, client: bigquery.Client, control: Control
) -> None:
    with (
        Open(address.grpc, client.project) as stream,
        control.on("append_error", code="ABORTED", resource=here(client.project), times=1),
    ):
        refused = stream.append("a")
        assert refused.error.code == code_pb2.ABORTED
        assert not refused.row_errors
        assert not stream.append("b").error.code
    assert ids(client) == ["b"]


def test_row_errors_refuse_the_same_rows_every_time(
    client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    names = [f"row-{number}" for number in range(200)]

    def refused(*chosen: str) -> set[str]:
        (response,) = append(writer, client.project, *chosen)
        assert response.error.code == (code_pb2.INVALID_ARGUMENT if response.row_errors else 0)
        return {chosen[error.index] for error in response.row_errors}

    with control.on("row_errors", share=0.2, resource=here(client.project), message="no such row today") as name:
        bad = refused(*names)
        assert 15 < len(bad) < 75
        assert refused(*names) == bad
        assert refused(*reversed(names)) == bad
        assert refused(sorted(bad)[0]) == {sorted(bad)[0]}
        assert control.struck(name) == 4
        assert ids(client) == []
        good = [row for row in names if row not in bad]
        assert refused(*good) == set()
        assert control.struck(name) == 4
        (response,) = append(writer, client.project, *bad)
        assert {error.message for error in response.row_errors} == {"no such row today"}
    assert ids(client) == sorted(good)
    assert refused(*bad) == set()


def test_a_row_that_is_wrong_anyway_is_named_before_the_fault_strikes(
    client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    with control.on("row_errors", resource=here(client.project)):
        (response,) = writer.append(desk.stream(client.project), desk.rows({"id": "a"}, {"params": "{"}))
    assert [error.index for error in response.row_errors] == [1]
    assert "JSON" in response.row_errors[0].message


def test_a_quota_refuses_appends_above_its_rate_until_time_has_passed(
    client: bigquery.Client, writer: desk.Writer, control: Control
) -> None:
    with control.on("quota", method="AppendRows", rows_per_second=5, resource=here(client.project)):
        taken: list[str] = []

        def appended() -> bool:
            names = [f"{len(taken) + number:03}" for number in range(8)]
            try:
                append(writer, client.project, *names)
            except exceptions.ResourceExhausted:
                return False
            taken.extend(names)
            return True

        assert appended()  # a second's worth, and one append may pass it
        # The next is refused, unless so much time has passed that it is within the rate.
        process.wait_for(lambda: not appended(), 30, "an append above the rate to be refused")
        process.wait_for(appended, 30, "the quota to be filled up again")
    assert ids(client) == taken


@pytest.mark.parametrize("rate", ["bytes_per_second", "requests_per_second"])
def test_a_quota_counts_bytes_and_requests_of_both_apis(
    client: bigquery.Client, writer: desk.Writer, control: Control, rate: str
) -> None:
    with control.on("quota", method="AppendRows", resource=here(client.project), **{rate: 0.001}):
        append(writer, client.project, "a")
        with pytest.raises(exceptions.ResourceExhausted):
            append(writer, client.project, "b")
    with control.on("quota", method="tables.patch", resource=here(client.project), **{rate: 0.001}):
        table = client.get_table("d.t")
        table.description = "one"
        table = client.update_table(table, ["description"])
        with pytest.raises(exceptions.Forbidden) as error:
            client.update_table(table, ["description"], retry=None)
    assert error.value.errors[0]["reason"] == "rateLimitExceeded"


def test_drop_stream_ends_idle_streams_and_counts_answers(
    address: BigQueryAddress, client: bigquery.Client, control: Control
) -> None:
    with Open(address.grpc, client.project) as idle:
        idle.append("a")
        with control.on("drop_stream", resource=here(client.project)):
            assert idle.status() is grpc.StatusCode.UNAVAILABLE
    with Open(address.grpc, client.project) as stream:
        stream.append("b")
        with control.on("drop_stream", after_messages=2, resource=here(client.project)):
            stream.append("c")
            assert stream.call.is_active()
            stream.append("d")
            assert stream.status() is grpc.StatusCode.UNAVAILABLE
    assert ids(client) == ["a", "b", "c", "d"]


def test_drop_stream_ends_streams_whose_first_answer_is_on_its_way(
    address: BigQueryAddress, client: bigquery.Client, control: Control
) -> None:
    for round_ in range(5):
        with ExitStack() as opened:
            streams = [opened.enter_context(Open(address.grpc, client.project)) for _ in range(20)]
            for number, stream in enumerate(streams):
                stream.send(f"{round_}-{number}")
            with control.on("drop_stream", resource=here(client.project)):
                assert {stream.status() for stream in streams} == {grpc.StatusCode.UNAVAILABLE}


async def test_the_asyncio_client_meets_faults_alike(
    address: BigQueryAddress, client: bigquery.Client, control: Control
) -> None:
    async with grpc.aio.insecure_channel(address.grpc) as channel:
        writer = BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
        name = desk.stream(client.project)

        async def one(id_: str) -> types.AppendRowsResponse:
            async def sent() -> Any:
                yield desk.request(desk.rows({"id": id_}), name)

            metadata = [("x-goog-request-params", f"write_stream={name}")]
            answers = await writer.append_rows(sent(), metadata=metadata, retry=None, timeout=60)
            return await anext(aiter(answers))

        with control.on("lost_reply", method="AppendRows", resource=here(client.project), times=1):
            with pytest.raises((exceptions.ServiceUnavailable, grpc.aio.AioRpcError)) as error:
                await one("a")
            assert "UNAVAILABLE" in str(error.value) or "503" in str(error.value)
            assert not (await one("b")).error.code
        with (
            control.on("error", method="GetWriteStream", resource=here(client.project), code="PERMISSION_DENIED"),
            pytest.raises(exceptions.PermissionDenied),
        ):
            await writer.get_write_stream(name=name, retry=None)
        assert (await writer.get_write_stream(name=name)).name == name
    assert ids(client) == ["a", "b"]


async def test_a_signal_ends_the_process_at_once_while_calls_hang(tmp_path: Path, project: str) -> None:
    with started(tmp_path / "bigquery.duckdb") as emulator:
        control = Control(emulator.ready["control"])
        client = desk.client(f"http://127.0.0.1:{emulator.ready['rest']}", project)
        desk.table(client)
        faults = [
            control.add("blackhole", method="AppendRows"),
            control.add("blackhole", method="jobs.query"),
            control.add("latency", method="tables.get", delay=600),
        ]
        asking = [
            in_background(lambda: client.query_and_wait("SELECT 1", retry=None, job_retry=None)),
            in_background(lambda: client.get_table("d.t", retry=None)),
        ]
        with Open(f"127.0.0.1:{emulator.ready['grpc']}", project) as stream:
            stream.send("a")
            for fault in faults:
                await asyncio.to_thread(
                    process.wait_for, lambda fault=fault: control.struck(fault["id"]), 30, "the calls to be held"
                )
            assert await asyncio.to_thread(emulator.stop, signal.SIGTERM, 60) == 0
            assert stream.status() is grpc.StatusCode.UNAVAILABLE
        for thread, _ in asking:
            thread.join(60)
        (refused,), (table,) = (outcome for _, outcome in asking)
        assert isinstance(refused, exceptions.ServiceUnavailable)
        assert table.table_id == "t"
        assert emulator.output() == ""
