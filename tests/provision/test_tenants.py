"""What tenants' readers see: policies, a dataset of views of their own, and nothing once they are taken out."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import bigquery
from google.cloud.bigquery import AccessEntry

from services.provision import inventory, row_access
from services.provision.config import Config
from services.provision.resource import settle
from services.shared import schema_file
from services.shared.schema import Schema
from tests.emulators.bigquery import oracle
from tests.provision import schemas
from tests.provision.conftest import Project
from tests.provision.test_provision import provision, verbs

TENANT = "\n      tenant: {type: STRING, from: [hit.tenant, param.tenant]}"
ADMINS = "  admins: [group:data@example.com, serviceAccount:ops@p.iam.example.com]\n"
SHOP = "    shop: {hosts: [shop.example.com], readers: [group:shop@example.com, user:Ann@example.com]}\n"
BLOG = "    blog: {hosts: [blog.example.com], readers: [user:bob@example.com]}\n"
QUIET = "    quiet: {hosts: [quiet.example.com]}\n"


def text(*tenants: str, admins: str = ADMINS, top: str = "") -> str:
    """A table for each tenant, a shared one, one without the tenant, and `rejects`."""
    columns = f"\n    columns: {schemas.NEEDED}"
    return (
        f"{top}tenants:\n{admins}  list:\n{''.join(tenants)}tables:\n"
        f'  "orders_{{tenant}}":\n    partition: day\n    when: {{param.type: order}}{columns}{TENANT}\n'
        f"  bots:\n    partition: day\n    when: {{agent.is_bot: 'true'}}{columns}\n"
        f"  events:\n    partition: day{columns}{TENANT}\n{schemas.REJECTS}"
        "      tenant: {type: STRING, from: hit.tenant}\n"
    )


def schema(*tenants: str, **options: str) -> Schema:
    return schema_file.parse(text(*tenants, **options))


@dataclasses.dataclass
class Shared:
    """A project with tenants, seen through the official client and the REST API."""

    project: Project
    rest: str

    def settle(self, *tenants: str, dry_run: bool = False, **options: str) -> list[str]:
        found = inventory.resources(Config(self.project.id), schema(*tenants, **options))
        return [" ".join(line.split()) for line in settle(found, dry_run=dry_run)]

    def changes(self, *tenants: str) -> list[str]:
        return [line for line in self.settle(*tenants) if not line.startswith("unchanged")]

    def policies(self, table: str) -> dict[str, tuple[str, set[str]]]:
        url = f"{self.rest}/bigquery/v2/projects/{self.project.id}/datasets/pixelpipe/tables/{table}/rowAccessPolicies"
        found = {}
        for policy in requests.get(url, timeout=20).json()["rowAccessPolicies"]:
            name = policy["rowAccessPolicyReference"]["policyId"]
            answer = requests.post(f"{url}/{name}:getIamPolicy", json={}, timeout=20).json()
            found[name] = (policy["filterPredicate"], set(answer["bindings"][0]["members"]))
        return found

    def readers(self, dataset: str) -> set[Any]:
        entries = self.project.client.get_dataset(dataset).access_entries
        return {entry.entity_id for entry in entries if entry.role == "READER" and entry.entity_type != "specialGroup"}

    def authorized(self) -> list[str]:
        entries = self.project.client.get_dataset("pixelpipe").access_entries
        views = [entry.entity_id for entry in entries if entry.entity_type == "view"]
        return sorted(f"{view['datasetId']}.{view['tableId']}" for view in views)


@pytest.fixture
def shared(emulated: Project, bigquery_host: Any) -> Shared:
    return Shared(emulated, bigquery_host.rest)


ALL = ("TRUE", {"group:data@example.com", "serviceAccount:ops@p.iam.example.com"})
SHOP_ROWS = ("`tenant` = 'shop'", {"group:shop@example.com", "user:Ann@example.com"})
BLOG_ROWS = ("`tenant` = 'blog'", {"user:bob@example.com"})


def test_each_tenants_readers_see_its_rows_and_admins_see_all(shared: Shared) -> None:
    dry = shared.settle(SHOP, BLOG, QUIET, dry_run=True)
    assert {line.partition(" ")[0] for line in dry} == {"would"} and list(shared.project.client.list_datasets()) == []
    lines = shared.settle(SHOP, BLOG, QUIET)
    assert verbs(lines) == {"created"}
    # No reader is let in before the policies are there.
    places = {line.split(":")[0]: number for number, line in enumerate(lines)}
    assert places["created row access policies of pixelpipe.events_log"] < places["created dataset pixelpipe_shop"]
    assert lines[-1].startswith("created authorized views of pixelpipe: + pixelpipe_shop.orders_shop")
    both = {"pixelpipe_all": ALL, "pixelpipe_tenant_shop": SHOP_ROWS, "pixelpipe_tenant_blog": BLOG_ROWS}
    assert shared.policies("events_log") == shared.policies("rejects_log") == both
    assert shared.policies("orders_shop_log") == {"pixelpipe_all": ALL, "pixelpipe_tenant_shop": SHOP_ROWS}
    for table in ("orders_quiet_log", "bots_log", "conflicts_log", "erasures_log"):
        assert shared.policies(table) == {"pixelpipe_all": ALL}
    assert shared.readers("pixelpipe_shop") == {"shop@example.com", "Ann@example.com"}
    assert shared.readers("pixelpipe") == set()
    assert shared.authorized() == [
        f"pixelpipe_{tenant}.{name}"
        for tenant in ("blog", "shop")
        for name in ("events", f"orders_{tenant}", "rejects")
    ]
    assert verbs(shared.settle(SHOP, BLOG, QUIET)) == {"unchanged"}


def test_a_tenants_view_shows_its_own_rows_each_event_once(shared: Shared) -> None:
    shared.settle(SHOP, BLOG)
    client = shared.project.client
    now = datetime.now(UTC)
    row = {"day": now.date().isoformat(), "event_id": "a", "received_at": now.isoformat()}
    rows = [{**row, "tenant": "shop"}] * 2 + [{**row, "tenant": "blog"}, {**row, "tenant": None}]
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", schema=client.get_table("pixelpipe.events_log").schema
    )
    client.load_table_from_json(rows, "pixelpipe.events_log", job_config=config).result(timeout=60)
    for tenant in ("shop", "blog"):
        found = list(client.query_and_wait(f"SELECT tenant FROM pixelpipe_{tenant}.events"))
        assert [one[0] for one in found] == [tenant]
    assert len(list(client.query_and_wait("SELECT tenant FROM pixelpipe.events"))) == 3


@pytest.mark.slow
def test_who_is_taken_out_loses_it_and_who_comes_gets_it(shared: Shared) -> None:
    shared.settle(SHOP, BLOG)
    fewer = SHOP.replace(", user:Ann@example.com", "")
    changed = shared.changes(fewer, BLOG)
    assert "updated row access policies of pixelpipe.events_log: pixelpipe_tenant_shop" in changed
    assert "updated dataset pixelpipe_shop: readers" in changed
    assert shared.policies("events_log")["pixelpipe_tenant_shop"][1] == {"group:shop@example.com"}
    assert shared.readers("pixelpipe_shop") == {"shop@example.com"}

    gone = shared.changes(fewer, "    blog: {hosts: [blog.example.com]}\n")
    assert "updated row access policies of pixelpipe.events_log: without pixelpipe_tenant_blog" in gone
    assert gone[-1].startswith("updated authorized views of pixelpipe: - pixelpipe_blog.")
    assert "pixelpipe_tenant_blog" not in shared.policies("events_log")
    assert {view.partition(".")[0] for view in shared.authorized()} == {"pixelpipe_shop"}

    shared.settle(QUIET)  # nobody reads, and admins still see all: the tables do not open by themselves
    assert shared.policies("events_log") == {"pixelpipe_all": ALL}
    assert shared.authorized() == []
    shared.settle(SHOP, BLOG)
    assert set(shared.policies("events_log")) == {"pixelpipe_all", "pixelpipe_tenant_shop", "pixelpipe_tenant_blog"}


def test_what_is_not_ours_is_left_alone(shared: Shared) -> None:
    shared.settle(SHOP)
    client = shared.project.client
    own = "CREATE ROW ACCESS POLICY mine ON pixelpipe.events_log GRANT TO ('user:eve@example.com') FILTER USING (FALSE)"
    client.query(own).result()
    client.create_dataset("elsewhere")
    client.query("CREATE VIEW elsewhere.v AS SELECT event_id FROM pixelpipe.events_log").result()
    dataset = client.get_dataset("pixelpipe")
    view = {"projectId": client.project, "datasetId": "elsewhere", "tableId": "v"}
    person = AccessEntry("READER", "userByEmail", "eve@example.com")
    dataset.access_entries = [*dataset.access_entries, person, AccessEntry(None, "view", view)]
    client.update_dataset(dataset, ["access_entries"])
    tenants = client.get_dataset("pixelpipe_shop")
    tenants.access_entries = [*tenants.access_entries, AccessEntry("OWNER", "userByEmail", "eve@example.com")]
    client.update_dataset(tenants, ["access_entries"])
    lines = shared.settle(SHOP)
    assert verbs(lines) == {"unchanged"}
    assert "unchanged row access policies of pixelpipe.events_log: not ours, left alone: mine" in lines
    shared.settle(SHOP, BLOG)
    assert "mine" in shared.policies("events_log") and "elsewhere.v" in shared.authorized()
    assert shared.readers("pixelpipe") == {"eve@example.com"}


def test_what_someone_changed_by_hand_is_put_right(shared: Shared) -> None:
    shared.settle(SHOP)
    client = shared.project.client
    wide = "CREATE OR REPLACE ROW ACCESS POLICY pixelpipe_tenant_shop ON pixelpipe.events_log "
    client.query(wide + "GRANT TO ('domain:example.com') FILTER USING (TRUE)").result()
    dataset = client.get_dataset("pixelpipe_shop")
    dataset.access_entries = [*dataset.access_entries, AccessEntry("READER", "domain", "example.com")]
    client.update_dataset(dataset, ["access_entries"])
    assert shared.changes(SHOP) == [
        "updated row access policies of pixelpipe.events_log: pixelpipe_tenant_shop",
        "updated dataset pixelpipe_shop: readers",
    ]
    assert shared.policies("events_log")["pixelpipe_tenant_shop"] == SHOP_ROWS


@pytest.mark.slow
def test_runs_at_once_end_in_the_same_state(shared: Shared) -> None:
    with ThreadPoolExecutor(2) as pool:
        for tenants in ((SHOP, QUIET), (SHOP, BLOG)):
            for run in [pool.submit(shared.settle, *tenants) for _ in range(2)]:
                assert run.result(timeout=60)
            assert verbs(shared.settle(*tenants)) == {"unchanged"}
    assert set(shared.policies("events_log")) == {"pixelpipe_all", "pixelpipe_tenant_shop", "pixelpipe_tenant_blog"}


def test_without_admins_nothing_is_looked_at_or_touched(shared: Shared) -> None:
    lines = shared.settle("    shop: {hosts: [shop.example.com]}\n", admins="")
    assert not [line for line in lines if "polic" in line or "authorized" in line]
    assert shared.policies("events_log") == {}


def test_the_statements_are_googlesql_and_the_command_prints_them(shared: Shared, tmp_path: Path) -> None:
    file = tmp_path / "schema.yaml"
    file.write_text(text(SHOP, BLOG, QUIET))
    printed = provision(shared.project.id, "policies", schema=str(file))
    assert (printed.returncode, printed.stderr) == (0, "")
    lines = [line for line in printed.stdout.splitlines() if not line.startswith("--")]
    statements = [one.strip() for one in "\n".join(lines).split(";") if one.strip()]
    found = schema(SHOP, BLOG, QUIET)
    tables = [
        oracle.Table(f"{shared.project.id}.pixelpipe.{table.log_name}", {one.name: one.type for one in table.columns})
        for table in inventory.tables(found)
    ]
    assert len(statements) == 3 + 2 + 2 + 1 + 1 + 3 + 1 + 1 + 1
    for statement in statements:
        oracle.oracle().analyze(statement, tables)
    drop = row_access.drop("pixelpipe_tenant_shop", f"{shared.project.id}.pixelpipe.events_log")
    oracle.oracle().analyze(drop, tables)
    assert "shop: group:shop@example.com, user:Ann@example.com" in printed.stdout
    # Printed by one and applied by the other, they are the same.
    shared.settle(SHOP, BLOG, QUIET)
    for statement in statements:
        shared.project.client.query(statement).result()
    assert verbs(shared.settle(SHOP, BLOG, QUIET)) == {"unchanged"}


def test_a_default_and_a_tenants_own_days_are_the_tables_expiration(shared: Shared) -> None:
    tenants = ("    shop: {hosts: [shop.example.com], expire_days: 10}\n", QUIET)
    shared.settle(*tenants, admins="", top="expire_days: 90\n")
    client, day = shared.project.client, 24 * 60 * 60 * 1000
    found = {
        name: client.get_table(f"pixelpipe.{name}_log").time_partitioning.expiration_ms
        for name in ("orders_shop", "orders_quiet", "events", "rejects", "conflicts")
    }
    assert found == {
        "orders_shop": 10 * day,
        "orders_quiet": 90 * day,
        "events": 90 * day,
        "rejects": 90 * day,
        "conflicts": 90 * day,
    }
