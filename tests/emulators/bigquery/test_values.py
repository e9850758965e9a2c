"""Any value a column can hold comes back as it was, whichever way it went in."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROW = st.fixed_dictionaries(
    {
        "at": st.none() | st.datetimes(dt.datetime(1, 1, 2), timezones=st.just(dt.UTC)),  # noqa: DTZ001 - the bound takes no zone
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False),
        "ok": st.none() | st.booleans(),
        "amount": st.none() | st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}e-9")),
        "params": st.none() | JSON,
        "raw": st.none() | st.binary(max_size=50),
        "id": TEXT,
    }
)
KINDS = {"at": "TIMESTAMP", "n": "INT64", "f": "FLOAT64", "ok": "BOOL", "amount": "NUMERIC", "id": "STRING"}
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def client(bigquery_host: BigQueryAddress) -> bigquery.Client:
    found = desk.client(bigquery_host.rest, f"values-{desk.NOW:%H%M%S%f}")
    desk.table(found)
    return found


@pytest.fixture(scope="module")
def writer(bigquery_host: BigQueryAddress) -> Iterator[desk.Writer]:
    found = desk.Writer(bigquery_host.grpc)
    yield found
    found.close()


@QUICK
@given(rows=st.lists(ROW, min_size=1, max_size=10))
def test_appended_values_come_back(client: bigquery.Client, writer: desk.Writer, rows: list[dict[str, Any]]) -> None:
    client.query_and_wait("TRUNCATE TABLE d.t")
    text = [{**row, "params": None if row["params"] is None else json.dumps(row["params"])} for row in rows]
    batch = pa.RecordBatch.from_pylist([{**row, "day": desk.TODAY} for row in text], schema=desk.ARROW)
    (answer,) = writer.append(desk.stream(client.project), batch)
    assert not answer.error.code, answer
    names = ", ".join(f"`{name}`" for name in rows[0])
    assert [dict(row) for row in client.query_and_wait(f"SELECT {names} FROM d.t")] == rows
    assert [{name: row[name] for name in rows[0]} for row in client.list_rows("d.t")] == rows


@QUICK
@given(row=ROW)
def test_parameters_come_back(client: bigquery.Client, row: dict[str, Any]) -> None:
    given_ = [bigquery.ScalarQueryParameter(name, kind, row[name]) for name, kind in KINDS.items()]
    listed = ", ".join(f"@{name} AS `{name}`" for name in KINDS)
    config = bigquery.QueryJobConfig(query_parameters=given_)
    (found,) = client.query_and_wait(f"SELECT {listed}", job_config=config)
    assert dict(found) == {name: row[name] for name in KINDS}
