from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1

from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import settle
from services.shared import schema_file
from tests.conftest import BigQueryAddress
from tests.provision import schemas


@dataclass
class Project:
    """An emulated project; every call looks at it through the official clients."""

    id: str
    client: bigquery.Client
    subscriber: pubsub_v1.SubscriberClient
    publisher: pubsub_v1.PublisherClient

    def settle(
        self, *columns: str, table: str = "partition: day", views: str = "none", dry_run: bool = False, **settings: Any
    ) -> list[str]:
        """Provision for a schema file with these columns; the lines of output, in one space."""
        return self.provision(schemas.text(*columns, table=table, views=views), dry_run=dry_run, **settings)

    def provision(self, text: str, *, dry_run: bool = False, **settings: Any) -> list[str]:
        """The same for the text of a whole file."""
        resources = inventory.resources(Config(self.id, **settings), schema_file.parse(text))
        return [" ".join(line.split()) for line in settle(resources, dry_run=dry_run)]

    def subscription(self, name: str) -> Any:
        return self.subscriber.get_subscription(subscription=f"projects/{self.id}/subscriptions/{name}")


def emulate(project: str, pubsub: str, bigquery_host: BigQueryAddress, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_host.rest)
    client = bigquery.Client(project, credentials=AnonymousCredentials())
    return Project(project, client, pubsub_v1.SubscriberClient(), pubsub_v1.PublisherClient())


@pytest.fixture
def emulated(
    project: str, pubsub_host: str, bigquery_host: BigQueryAddress, monkeypatch: pytest.MonkeyPatch
) -> Project:
    return emulate(project, pubsub_host, bigquery_host, monkeypatch)


@pytest.fixture
def provisioned(emulated: Project) -> Callable[..., Project]:
    """A project provisioned for a table `events` of these columns."""

    def make(*columns: str, **settings: Any) -> Project:
        emulated.settle(*columns, **settings)
        return emulated

    return make
