"""Whatever comes in at the BigQuery emulator's doors: an error of BigQuery's kind, and the next call works."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from google.rpc.code_pb2 import Code
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.bigquery.rest import exceptions, method
from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk

PROJECT = "bad-input"
TIMEOUT = 60.0  # seconds for any one answer
FIELDS = [
    bigquery.SchemaField("id", "STRING", "REQUIRED"),
    bigquery.SchemaField("amount", "NUMERIC"),
    bigquery.SchemaField("at", "TIMESTAMP"),
    bigquery.SchemaField("params", "JSON"),
    bigquery.SchemaField("tags", "STRING", "REPEATED"),
    bigquery.SchemaField("items", "RECORD", "REPEATED", fields=[bigquery.SchemaField("n", "INTEGER", "REQUIRED")]),
]
CHECKS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

# Words that the API gives a meaning, so that what is made up gets past the first check now and then.
NAMED = """
    schema fields name type mode description labels view query useLegacySql timePartitioning field expirationMs
    clustering requirePartitionFilter tableReference tableId datasetReference datasetId projectId configuration load
    jobReference jobId destinationTable sourceFormat writeDisposition parquetOptions queryParameters parameterType
    parameterValue arrayValues arrayType value maximumBytesBilled timeoutMs maxResults defaultDataset formatOptions
    dryRun friendlyName location access userDefinedFunctionResources policyTags structTypes structValues
"""
SAID = """
    STRING INTEGER RECORD REPEATED NULLABLE REQUIRED DAY d t v id ARRAY STRUCT PARQUET NEWLINE_DELIMITED_JSON
    WRITE_TRUNCATE SELECT SELECT(1) 1 -1 x,y $ @
"""
KEYS, WORDS = st.sampled_from(NAMED.split()), st.sampled_from(SAID.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=8)), inner, max_size=5)
    ),
    max_leaves=15,
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=6)
ROUTES = sorted([*method.NAMES, *exceptions.NAMES])


@pytest.fixture(scope="module")
def client(bigquery_host: BigQueryAddress) -> bigquery.Client:
    made = desk.client(bigquery_host.rest, PROJECT)
    made.create_dataset("d", exists_ok=True)
    made.create_table(bigquery.Table(f"{PROJECT}.d.t", schema=FIELDS), exists_ok=True)
    view = bigquery.Table(f"{PROJECT}.d.v")
    view.view_query = f"SELECT id, tags FROM `{PROJECT}.d.t`"
    made.create_table(view, exists_ok=True)
    return made


def send(address: str, verb: str, path: str, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
    request = urllib.request.Request(address + path, body or None, {"Content-Type": kind}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def check_kind(status: int, answer: Any) -> None:
    """An answer, or an error in BigQuery's shape that is not the server's own fault."""
    if status < 400:
        return
    error = answer["error"]
    assert status in (400, 403, 404, 409, 412, 413, 501), answer
    assert error["code"] == status
    assert error["message"]
    assert error["errors"][0]["reason"]


def path_of(pattern: str, names: dict[str, str]) -> str:
    return pattern.format(**{key: urllib.parse.quote(value, safe="") for key, value in names.items()})


NAMES = st.fixed_dictionaries(
    {
        "project": st.just("elsewhere"),
        "dataset": st.sampled_from(["d", "d", "none", "_results", "a b", "é"]),
        "table": st.sampled_from(["t", "v", "none", "t$__PARTITIONS_SUMMARY__", "t$20260101", "anon1", "*", "\x00"]),
        "job": st.sampled_from(["none", "a b", "\x00"]),
        "model": st.just("m"),
        "routine": st.just("r"),
        "policy": st.just("p"),
    }
)
QUERIES = st.dictionaries(
    st.sampled_from(["maxResults", "pageToken", "startIndex", "selectedFields", "timeoutMs", "deleteContents"]),
    st.one_of(WORDS, st.text(max_size=5), st.integers(-(2**70), 2**70).map(str)).filter(lambda text: text != "100000"),
    max_size=2,
)


@CHECKS
@given(route=st.sampled_from(ROUTES), names=NAMES, asked=QUERIES, body=st.one_of(BODIES, VALUES))
def test_rest_answers_made_up_requests_in_bigquerys_shape(
    bigquery_host: BigQueryAddress,
    client: bigquery.Client,
    route: tuple[str, str],
    names: dict[str, str],
    asked: dict[str, str],
    body: Any,
) -> None:
    verb, pattern = route
    asked = {**asked, "timeoutMs": "1000"} if "timeoutMs" in asked else asked
    path = path_of(pattern, names) + "?" + urllib.parse.urlencode(asked)
    check_kind(*send(bigquery_host.rest, verb, path, json.dumps(body).encode()))
    check_kind(*send(bigquery_host.rest, verb, path.replace("elsewhere", PROJECT, 1), b"{"))


TABLES = st.fixed_dictionaries(
    {"tableReference": st.just({"tableId": "made"})},
    optional={
        "schema": st.one_of(VALUES, st.fixed_dictionaries({"fields": st.lists(BODIES, max_size=3)})),
        "view": BODIES,
        "timePartitioning": VALUES,
        "clustering": st.one_of(VALUES, st.fixed_dictionaries({"fields": VALUES})),
        "labels": VALUES,
        "description": VALUES,
        "requirePartitionFilter": VALUES,
    },
)


@CHECKS
@given(body=TABLES, verb=st.sampled_from(["POST", "PATCH", "PUT"]))
def test_table_made_of_anything_is_a_table_or_a_refusal(
    bigquery_host: BigQueryAddress, client: bigquery.Client, body: dict[str, Any], verb: str
) -> None:
    base = f"/bigquery/v2/projects/{PROJECT}/datasets/d/tables"
    path = base if verb == "POST" else f"{base}/made"
    if verb != "POST":
        send(bigquery_host.rest, "POST", base, json.dumps({"tableReference": {"tableId": "made"}}).encode())
    check_kind(*send(bigquery_host.rest, verb, path, json.dumps(body).encode()))
    check_kind(*send(bigquery_host.rest, "GET", f"{base}/made", b""))
    client.delete_table(f"{PROJECT}.d.made", not_found_ok=True)


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "query": st.one_of(st.sampled_from(["SELECT @a", "SELECT ?", "SELECT 1"]), VALUES),
        "useLegacySql": st.just(False),
    },
    optional={
        "queryParameters": st.one_of(
            VALUES,
            st.lists(
                st.fixed_dictionaries(
                    {"name": st.sampled_from(["a", "b"]), "parameterType": BODIES, "parameterValue": BODIES}
                ),
                max_size=2,
            ),
        ),
        "defaultDataset": VALUES,
        "destinationTable": VALUES,
        "maximumBytesBilled": VALUES,
        "writeDisposition": VALUES,
        "timeoutMs": VALUES.filter(lambda value: not isinstance(value, int)),
        "formatOptions": VALUES,
        "labels": VALUES,
    },
)


@CHECKS
@given(configuration=CONFIGURATIONS, reference=VALUES, whole=st.booleans())
def test_query_made_of_anything_is_answered_or_refused(
    bigquery_host: BigQueryAddress, client: bigquery.Client, configuration: dict[str, Any], reference: Any, whole: bool
) -> None:
    base = f"/bigquery/v2/projects/{PROJECT}"
    if whole:
        body = {"configuration": {"query": configuration}, "jobReference": reference}
        status, answer = send(bigquery_host.rest, "POST", f"{base}/jobs", json.dumps(body).encode())
        check_kind(status, answer)
        if status == 200:
            assert answer["status"].get("errorResult", {}).get("reason") != "internalError", answer
    else:
        check_kind(*send(bigquery_host.rest, "POST", f"{base}/queries", json.dumps(configuration).encode()))


LOADS = st.fixed_dictionaries(
    {"destinationTable": st.just({"datasetId": "d", "tableId": "t"})},
    optional={
        "sourceFormat": st.sampled_from(["PARQUET", "NEWLINE_DELIMITED_JSON", "CSV"]),
        "schema": VALUES,
        "parquetOptions": VALUES,
        "timePartitioning": VALUES,
        "ignoreUnknownValues": VALUES,
        "writeDisposition": VALUES,
    },
)


@CHECKS
@given(
    load=st.one_of(LOADS, VALUES), data=st.one_of(st.binary(max_size=60), VALUES.map(lambda v: json.dumps(v).encode()))
)
def test_load_of_anything_is_a_job_or_a_refusal(
    bigquery_host: BigQueryAddress, client: bigquery.Client, load: Any, data: bytes
) -> None:
    parts = (json.dumps({"configuration": {"load": load}}).encode(), data)
    body = b"".join(b"--x\r\nContent-Type: a/b\r\n\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    path = f"/upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=multipart"
    status, answer = send(bigquery_host.rest, "POST", path, body, "multipart/related; boundary=x")
    check_kind(status, answer)
    if status == 200:
        assert answer["status"].get("errorResult", {}).get("reason") != "internalError", answer


@CHECKS
@given(body=st.binary(max_size=40), kind=st.sampled_from(["application/json", "multipart/related; boundary=x", "x"]))
def test_bytes_that_are_no_json_are_refused(
    bigquery_host: BigQueryAddress, client: bigquery.Client, body: bytes, kind: str
) -> None:
    base = f"/bigquery/v2/projects/{PROJECT}"
    for path in (f"{base}/datasets", f"{base}/jobs", f"{base}/queries", f"/upload{base}/jobs?uploadType=multipart"):
        check_kind(*send(bigquery_host.rest, "POST", path, body, kind))


def deep(levels: int) -> bytes:
    return b'{"schema":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize("body", [deep(100_000), b"[" * 100_000, b'{"a":' + b"9" * 100_000 + b"}"])
def test_deep_or_long_json_is_refused(bigquery_host: BigQueryAddress, client: bigquery.Client, body: bytes) -> None:
    base = f"/bigquery/v2/projects/{PROJECT}"
    for path in (f"{base}/datasets", f"{base}/jobs", f"{base}/queries", f"{base}/datasets/d/tables"):
        status, answer = send(bigquery_host.rest, "POST", path, body)
        check_kind(status, answer)
        assert status == 400, answer


STREAM = f"projects/{PROJECT}/datasets/d/tables/t/streams/_default"
GOOD = pa.record_batch({"id": ["a"], "tags": pa.array([["x"]]), "items": pa.array([[{"n": 1}]])})
SCHEMA, BATCH = GOOD.schema.serialize().to_pybytes(), GOOD.serialize().to_pybytes()


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """The bytes with some of them changed, or cut short, or others in their place."""
    found = bytearray(whole)
    for place in draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        found[place] = draw(st.integers(0, 255))
    return bytes(found[: draw(st.sampled_from([len(found), len(found), len(found) // 2]))])


ALLOWED = ("OK", "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND")


def outcome(writer: desk.Writer, request: types.AppendRowsRequest) -> str:
    """The status of the call, or of its one answer."""
    try:
        (answer,) = writer.call([request])
    except GoogleAPICallError as error:
        return str(error.grpc_status_code.name)
    return Code.Name(answer.error.code)


@pytest.mark.slow
@settings(CHECKS, max_examples=150)
@given(
    name=st.one_of(st.just(STREAM), st.text(max_size=20)),
    schema=st.one_of(st.just(SCHEMA), damaged(SCHEMA), st.binary(max_size=40)),
    batch=st.one_of(st.just(BATCH), damaged(BATCH), st.binary(max_size=40)),
    proto=st.booleans(),
)
def test_damaged_appends_are_answered_and_the_next_append_works(
    bigquery_host: BigQueryAddress, client: bigquery.Client, name: str, schema: bytes, batch: bytes, proto: bool
) -> None:
    request = types.AppendRowsRequest(write_stream=name)
    if proto:
        request.proto_rows.rows.serialized_rows.append(batch)
    else:
        request.arrow_rows.writer_schema.serialized_schema = schema
        request.arrow_rows.rows.serialized_record_batch = batch
    writer = desk.Writer(bigquery_host.grpc)
    assert outcome(writer, request) in ALLOWED
    (answer,) = writer.append(STREAM, GOOD)
    assert not answer.error.code, answer
    writer.close()


@CHECKS
@given(
    service=st.sampled_from(["BigQueryWrite", "BigQueryRead"]),
    call=st.sampled_from(["AppendRows", "GetWriteStream", "CreateReadSession", "ReadRows", "Nothing"]),
    message=st.binary(max_size=60),
)
def test_bytes_that_are_no_protobuf_end_the_call_only(
    bigquery_host: BigQueryAddress, client: bigquery.Client, service: str, call: str, message: bytes
) -> None:
    with grpc.insecure_channel(bigquery_host.grpc) as channel:
        method_ = channel.stream_stream(f"/google.cloud.bigquery.storage.v1.{service}/{call}")
        with pytest.raises(grpc.RpcError) as ended:
            list(method_(iter([message]), timeout=TIMEOUT))
        assert ended.value.code().name in ALLOWED
    assert client.get_table(f"{PROJECT}.d.t").table_id == "t"


@pytest.mark.parametrize("call", ["BigQueryWrite/AppendRows", "BigQueryWrite/GetWriteStream", "BigQueryRead/ReadRows"])
@pytest.mark.parametrize(
    "name", ["é" * 40_000, f"projects/{PROJECT}/datasets/d/tables/{'t' * 20_000}/streams/_default"]
)
def test_an_error_that_names_something_very_long_still_arrives(
    bigquery_host: BigQueryAddress, client: bigquery.Client, call: str, name: str
) -> None:
    # The name is the first field of each of these requests.
    message = types.ReadRowsRequest.serialize(types.ReadRowsRequest(read_stream=name))
    with grpc.insecure_channel(bigquery_host.grpc) as channel:
        method_ = channel.stream_stream(f"/google.cloud.bigquery.storage.v1.{call}")
        with pytest.raises(grpc.RpcError) as ended:
            list(method_(iter([message]), timeout=TIMEOUT))
    assert ended.value.code().name in ALLOWED, ended.value


def outcomes(bigquery_host: BigQueryAddress, name: str, stop: threading.Event) -> tuple[Counter[str], set[str]]:
    """Append one row at a time, one at least, until told to stop: how often each status came, and the ids taken."""
    writer = desk.Writer(bigquery_host.grpc)
    found: Counter[str] = Counter()
    taken: set[str] = set()
    while not (found and stop.is_set()):
        id_ = uuid.uuid4().hex
        batch = pa.record_batch({"id": [id_], "tags": pa.array([["x"]])})
        status = outcome(writer, desk.request(batch, name))
        found[status] += 1
        if status == "OK":
            taken.add(id_)
    writer.close()
    return found, taken


def test_appends_while_a_table_is_dropped_and_made_again_are_taken_or_not_found(
    bigquery_host: BigQueryAddress, client: bigquery.Client
) -> None:
    table = bigquery.Table(f"{PROJECT}.d.fickle", schema=FIELDS)
    client.create_table(table)
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        name = desk.stream(PROJECT, "fickle")
        running = [pool.submit(outcomes, bigquery_host, name, stop) for _ in range(2)]
        for _ in range(15):
            client.delete_table(table)
            client.create_table(table)
        stop.set()
        results = [future.result(60) for future in running]
    assert all(set(found) <= {"OK", "NOT_FOUND"} for found, _ in results), results
    (answer,) = desk.Writer(bigquery_host.grpc).append(name, GOOD)
    assert not answer.error.code
    kept = {row.id for row in client.query_and_wait("SELECT id FROM d.fickle")} - {"a"}
    assert kept <= set().union(*(taken for _, taken in results))


def test_every_append_is_kept_while_a_table_gains_columns(
    bigquery_host: BigQueryAddress, client: bigquery.Client
) -> None:
    table = client.create_table(bigquery.Table(f"{PROJECT}.d.growing", schema=FIELDS))
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        name = desk.stream(PROJECT, "growing")
        running = [pool.submit(outcomes, bigquery_host, name, stop) for _ in range(2)]
        for number in range(10):
            more = bigquery.SchemaField(f"n{number}", "INTEGER", "REPEATED" if number % 2 else "NULLABLE")
            inside = bigquery.SchemaField("items", "RECORD", "REPEATED", fields=[*table.schema[5].fields, more])
            table.schema = [*FIELDS[:5], inside, *table.schema[6:], more]
            table = client.update_table(table, ["schema"])
        stop.set()
        results = [future.result(60) for future in running]
    assert all(set(found) == {"OK"} for found, _ in results), results
    kept_ids = {row.id for row in client.query_and_wait("SELECT id FROM d.growing")}
    assert kept_ids == set().union(*(taken for _, taken in results))
