"""BigQuery's row access policies of one table: looked up by the REST API, changed by statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import google.auth
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery

from services.provision import row_access
from services.provision.resource import RETRY, TIMEOUT, Step
from services.provision.row_access import RowPolicy
from services.shared.schema import Table

GOOGLE = "https://bigquery.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/bigquery",)
_ROLE = "roles/bigquery.filteredDataViewer"


@dataclass(frozen=True)
class Found:
    """A policy as the table has it."""

    filter: str
    members: frozenset[str]


class PolicyReader:
    """What the official client has no method for."""

    def __init__(self, emulator: str | None) -> None:
        """`emulator` is the address of one. Raises GoogleAuthError without credentials."""
        credentials: Any = AnonymousCredentials() if emulator else google.auth.default(scopes=SCOPES)[0]
        self._session = AuthorizedSession(credentials)
        self._root = f"{emulator or GOOGLE}/bigquery/v2"

    def read(self, path: str) -> dict[str, Found]:
        """The policies of projects/P/datasets/D/tables/T by name. Raises NotFound without that table."""
        found: dict[str, Found] = {}
        token = ""
        while True:
            page = self._call("GET", f"{path}/rowAccessPolicies", {"pageToken": token} if token else {})
            for policy in page.get("rowAccessPolicies", ()):
                name = policy["rowAccessPolicyReference"]["policyId"]
                # Only its IAM policy says who its members are.
                iam = self._call("POST", f"{path}/rowAccessPolicies/{name}:getIamPolicy", {})
                members = {
                    member
                    for binding in iam.get("bindings", ())
                    if binding["role"] == _ROLE
                    for member in binding["members"]
                }
                found[name] = Found(policy["filterPredicate"], frozenset(members))
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def _call(self, verb: str, path: str, asked: dict[str, str]) -> Any:
        def call() -> Any:
            body: dict[str, str] | None = {} if verb == "POST" else None
            answer = self._session.request(verb, f"{self._root}/{path}", params=asked, json=body, timeout=TIMEOUT)
            if not answer.ok:
                raise exceptions.from_http_response(answer)
            return answer.json()

        return RETRY(call)()


class RowPolicies:
    """The policies of a table that are ours; others are left alone."""

    def __init__(
        self,
        client: Any,
        reader: PolicyReader,
        location: str,
        path: tuple[str, str],
        table: Table,
        wanted: tuple[RowPolicy, ...],
    ) -> None:
        """`path` is project and dataset; `wanted` is not empty, and its first sees everything."""
        self._client, self._reader, self._location, self._wanted = client, reader, location, wanted
        project, dataset = path
        self._resource = f"projects/{project}/datasets/{dataset}/tables/{table.log_name}"
        self._path = f"{project}.{dataset}.{table.log_name}"
        self.name = f"row access policies of {dataset}.{table.log_name}"
        self.source = "`tenants` in the schema file"

    def plan(self) -> Step:
        try:
            found = self._reader.read(self._resource)
        except exceptions.NotFound:
            found = {}
        changed = [policy for policy in self._wanted if not _same(policy, found.get(policy.name))]
        names = {policy.name for policy in self._wanted}
        gone = [name for name in found if name.startswith(row_access.PREFIX) and name not in names]
        others = [name for name in found if not name.startswith(row_access.PREFIX)]
        alone = [f"not ours, left alone: {', '.join(others)}"] if others else []
        if not changed and not gone:
            return Step("keep", "; ".join(alone))
        # The first lets the admins in; from then on nobody else sees a row, and the others let readers in.
        statements = [row_access.create(policy, self._path) for policy in changed]
        statements += [row_access.drop(name, self._path) for name in gone]
        detail = [
            *([", ".join(policy.name for policy in changed)] if changed else []),
            *([f"without {', '.join(gone)}"] if gone else []),
            *alone,
        ]
        return Step("update" if found else "create", "; ".join(detail), lambda: self._run(statements))

    def _run(self, statements: list[str]) -> None:
        for statement in statements:
            config = bigquery.QueryJobConfig(use_legacy_sql=False)
            self._client.query_and_wait(
                statement, job_config=config, location=self._location, api_timeout=TIMEOUT, wait_timeout=60, retry=RETRY
            )


def _same(wanted: RowPolicy, found: Found | None) -> bool:
    if found is None:
        return False
    members = {member.lower() for member in found.members}
    return found.filter.strip() == wanted.filter and members == {member.lower() for member in wanted.members}
