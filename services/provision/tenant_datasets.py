"""BigQuery: the dataset of one tenant, which its readers may read, and what authorizes its views to read the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import AccessEntry

from services.provision import tenant_views
from services.provision.resource import CALL, LABELS, Step
from services.provision.tables import Dataset
from services.provision.tenant_views import READER, TenantView
from services.shared.tenants import Tenant

_PEOPLE = ("userByEmail", "groupByEmail", "domain", "iamMember")


class TenantDataset(Dataset):
    """Its readers are those of the schema file, no more and no fewer; other roles on it are left alone."""

    description = "One tenant's own events, for its readers: the schema file says who they are"

    def __init__(self, client: Any, project: str, dataset: str, location: str, tenant: Tenant) -> None:
        super().__init__(client, project, tenant_views.dataset_name(dataset, tenant), location)
        self._tenant = tenant
        self.source = f"tenant `{tenant.name}` in the schema file"

    def _drift(self, found: Any) -> dict[str, str]:
        drift = super()._drift(found)
        wanted = [tenant_views.reader_entry(member) for member in self._tenant.readers]
        have = [entry for entry in found.access_entries if entry.role == READER and entry.entity_type in _PEOPLE]
        if {*map(tenant_views.identity, have)} != {*map(tenant_views.identity, wanted)}:
            found.access_entries = [entry for entry in found.access_entries if entry not in have] + wanted
            drift["access_entries"] = "readers"
        return drift


class AuthorizedViews:
    """Which views of tenants' datasets may read the shared dataset. What else may is left alone."""

    def __init__(self, client: Any, project: str, dataset: str, views: Sequence[TenantView]) -> None:
        self._client, self._project, self._dataset = client, project, dataset
        self._reference = bigquery.DatasetReference(project, dataset)
        self._wanted = [
            {
                "projectId": project,
                "datasetId": tenant_views.dataset_name(dataset, one.tenant),
                "tableId": one.table.name,
            }
            for one in views
        ]
        self.name, self.source = f"authorized views of {dataset}", "`tenants` in the schema file"

    def plan(self) -> Step:
        try:
            found = self._client.get_dataset(self._reference, **CALL)
        except exceptions.NotFound:  # made before this is applied, and then looked at again
            return Step("create", self._count(), lambda: self.plan().apply()) if self._wanted else Step("keep")
        have = [entry for entry in found.access_entries if entry.entity_type == "view"]
        missing = [view for view in self._wanted if view not in [entry.entity_id for entry in have]]
        stale = [entry for entry in have if entry.entity_id not in self._wanted and self._ours(entry.entity_id)]
        if not missing and not stale:
            return Step("keep")
        kept = [entry for entry in found.access_entries if entry not in stale]
        found.access_entries = kept + [AccessEntry(None, "view", view) for view in missing]
        named = [f"{sign} {view['datasetId']}.{view['tableId']}" for sign, view in _signed(missing, stale)]
        # With the etag of `found`, so nothing that another run changed meanwhile is undone.
        update = lambda: self._client.update_dataset(found, ["access_entries"], **CALL)  # noqa: E731
        return Step("update", ", ".join(named), update)

    def _count(self) -> str:
        return ", ".join(f"+ {view['datasetId']}.{view['tableId']}" for view in self._wanted)

    def _ours(self, view: dict[str, str]) -> bool:
        """Whether it is in a dataset that was made for a tenant, who has no readers any more or is gone."""
        if view["projectId"] != self._project or not view["datasetId"].startswith(f"{self._dataset}_"):
            return False
        try:
            dataset = self._client.get_dataset(bigquery.DatasetReference(self._project, view["datasetId"]), **CALL)
        except exceptions.NotFound:
            return True
        return LABELS.items() <= dict(dataset.labels).items()


def _signed(missing: Sequence[dict[str, str]], stale: Sequence[Any]) -> list[tuple[str, dict[str, str]]]:
    return [*(("+", view) for view in missing), *(("-", entry.entity_id) for entry in stale)]
