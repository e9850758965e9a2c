from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud import bigquery

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> bigquery.Client:
    return desk.client(bigquery_host.rest, project)


@pytest.fixture
def writer(bigquery_host: BigQueryAddress) -> Iterator[desk.Writer]:
    made = desk.Writer(bigquery_host.grpc)
    yield made
    made.close()
