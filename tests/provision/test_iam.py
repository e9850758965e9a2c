"""The bindings grant every call the services make, and no role or permission of them is idle."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.provision import service_accounts
from services.provision.__main__ import main
from services.provision.bindings import (
    CUSTOM_ROLES,
    METRICS_READER,
    SERVICE_AGENT,
    SHARER,
    VIEW_KEEPER,
    Binding,
    CustomRole,
    bindings,
    custom_roles,
)
from services.provision.config import Config
from services.shared import resource_names, schema_file
from services.shared.resource_names import subscription_path, topic_path
from tests import process
from tests.conftest import BigQueryAddress
from tests.process import wait_for
from tests.provision.permissions import PREDEFINED, Need, needs
from tests.provision.wire import Noted, noting
from tests.schemas import SCHEMA, SCHEMA_FILE
from tests.topics import Topics

SERVICES = ("collector", "processor", "loader", "provision", "ops")


class Run:
    """One project, in which each part of the pipeline calls the emulators through a proxy of its own."""

    def __init__(self, project: str, environments: dict[str, dict[str, str]], rest: str) -> None:
        self.project, self._environments = project, environments
        self.topics = Topics(project)
        self.schema_file = SCHEMA_FILE
        self.client = bigquery.Client(project, AnonymousCredentials(), client_options={"api_endpoint": rest})

    def environment(self, service: str, **settings: str) -> dict[str, str]:
        file = {"PIPE_SCHEMA": str(self.schema_file)} if service != "collector" else {}
        return {**os.environ, **self._environments[service], "PIPE_PROJECT": self.project, **file, **settings}

    def command(self, service: str, *arguments: str, code: int = 0) -> str:
        done = process.run(f"services.{service}", *arguments, env=self.environment(service))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def service(self, name: str, **settings: str) -> Iterator[process.Child]:
        local = {"PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": "0"}
        running = process.start(f"services.{name}", env=self.environment(name, **local, **settings), wait_ready=False)
        try:
            yield running
        finally:
            assert running.stop(signal.SIGTERM, timeout=60) == 0, running.output()
            running.log.unlink()

    def count(self, table: str) -> int:
        (row,) = self.client.query_and_wait(f"SELECT COUNT(*) FROM pixelpipe.{table}")
        return int(row[0])


@pytest.fixture
def notes() -> dict[str, set[Noted]]:
    return {service: set() for service in SERVICES}


@pytest.fixture
def run(
    notes: dict[str, set[Noted]],
    project: str,
    pubsub_host: str,
    bigquery_host: BigQueryAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    with ExitStack() as stack:
        environments = {
            service: stack.enter_context(noting(pubsub_host, bigquery_host, seen)) for service, seen in notes.items()
        }
        yield Run(project, environments, bigquery_host.rest)


def verbs(said: str) -> set[str]:
    return {line.split()[0] for line in said.splitlines()}


def drift(run: Run) -> None:
    """Change something of each kind of resource that the provisioner repairs."""
    run.topics.publisher.update_topic(
        request={
            "topic": {"name": topic_path(run.project, resource_names.HITS_TOPIC), "labels": {}},
            "update_mask": {"paths": ["labels"]},
        }
    )
    path = subscription_path(run.project, resource_names.HITS_SUBSCRIPTION)
    run.topics.subscriber.update_subscription(
        request={
            "subscription": {"name": path, "topic": "", "ack_deadline_seconds": 11},
            "update_mask": {"paths": ["ack_deadline_seconds"]},
        }
    )
    dataset = run.client.get_dataset("pixelpipe")
    dataset.labels = {"managed-by": None}
    run.client.update_dataset(dataset, ["labels"])
    for name in ("events_log", "events"):
        table = run.client.get_table(f"pixelpipe.{name}")
        table.description = "changed by hand"
        run.client.update_table(table, ["description"])
    function = run.client.get_routine("pixelpipe.funnel")
    function.arguments = [*reversed(function.arguments)]
    run.client.update_routine(function, ["type_", "language", "arguments", "body", "description"])


def pipeline(run: Run) -> None:
    """A pixel to its row twice, a reject, a dead pack of hits and one of rows, a smoke test, compaction, a loss."""
    first = run.command("provision")
    assert verbs(first) == {"created"}
    drift(run)
    assert "updated" in run.command("provision")
    assert verbs(run.command("provision")) == {"unchanged"}
    day = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    copy = {"day": day, "event_id": "a", "received_at": f"{day}T12:00:00Z"}
    load_twice(run, "events_log", {**copy, "user_id": "u"})
    load_twice(run, "rejects_log", {**copy, "stage": "loader", "reason": "bigquery"})
    with (
        run.service("loader"),
        run.service("processor"),
        run.service("collector", PIPE_PORT="0", PIPE_DRAIN_DELAY_SECONDS="0") as collector,
    ):
        port = wait_for(lambda: _port(collector), 60, "the collector")
        for query in ("user_id=ada", "user_id=ada", "type=no-user"):
            assert requests.get(f"http://127.0.0.1:{port}/pixel.gif?{query}", timeout=20).status_code == 200
        run.topics.publish(resource_names.HITS_TOPIC, b"no pack", {"schema": "hit/1"})
        run.topics.publish(resource_names.ROWS_TOPIC, b"no pack", {"schema": "rows/1"})
        wait_for(lambda: (run.count("events_log"), run.count("rejects_log")) == (4, 3), 80, "the rows")
        run.topics.pull(resource_names.DEAD_SUBSCRIPTION, 2)
        run.command("ops", "smoke", "--url", f"http://127.0.0.1:{port}")
    run.command("ops", "compact", "--settled-after", "0")
    assert (run.count("events_log"), run.count("rejects_log")) == (4, 2)
    counted = {"source": "collector", "sequence": 0, "final": True, "hour": f"{day}T12:00:00Z", "protocol": "native"}
    lost = {"day": day, "tally_id": "a", "received_at": f"{day}T12:30:00Z", "outcome": "acknowledged", "hits": 5}
    load_twice(run, "tallies_log", counted | lost)
    since = f"{day}T00:00:00Z"
    assert "5 missing, of collectors a" in run.command("ops", "reconcile", "--wait", "1", "--since", since, code=1)


def load_twice(run: Run, table: str, row: dict[str, Any]) -> None:
    fields = run.client.get_table(f"pixelpipe.{table}").schema
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=fields, autodetect=False)
    run.client.load_table_from_json([row, row], f"pixelpipe.{table}", job_config=config).result(timeout=60)


def _port(collector: process.Child) -> int | None:
    assert collector.process.poll() is None, collector.output()
    matched = re.search(r'"port":(\d+)', collector.output())
    return int(matched[1]) if matched else None


def permissions(role: str | CustomRole) -> set[str]:
    return set(role.permissions) if isinstance(role, CustomRole) else PREDEFINED[role]


def grants(binding: Binding, need: Need) -> bool:
    """What holds on the project holds on all that is in it."""
    there = binding.kind == "project" or (binding.kind, binding.resource) == (need.kind, need.resource)
    return there and need.permission in permissions(binding.role)


def judged(
    bound: Sequence[Binding], notes: dict[str, set[Noted]]
) -> tuple[set[tuple[str, Need]], set[tuple[str, str, str]]]:
    """The needs nothing grants, and the grants nothing needs: (account, permission or predefined role, resource)."""
    wanted = {(service, need) for service, seen in notes.items() for one in seen for need in needs(one)}
    refused = {
        (service, need)
        for service, need in wanted
        if not any(binding.account == service and grants(binding, need) for binding in bound)
    }
    idle = set()
    for binding in bound:
        used = {need.permission for service, need in wanted if service == binding.account and grants(binding, need)}
        if isinstance(binding.role, CustomRole):
            idle |= {(binding.account, one, binding.resource) for one in set(binding.role.permissions) - used}
        elif not used:
            idle.add((binding.account, binding.role, binding.resource))
    return refused, idle


TENANTS = """tenants:
  admins: [group:data@example.com]
  list:
    shop: {hosts: [shop.example.com], readers: [group:shop@example.com]}
    blog: {hosts: [blog.example.com], readers: [group:blog@example.com]}
"""


@pytest.mark.slow
def test_what_tenants_readers_need_is_granted_to_the_provisioner_and_no_more(
    run: Run, notes: dict[str, set[Noted]], project: str, tmp_path: Path
) -> None:
    """The first run makes all of it, the second takes a reader out: every permission is used, and none is missing."""
    file = tmp_path / "schema.yaml"
    columns = "[hit.tenant, param.tenant, param.tenant_id]"
    text = TENANTS + SCHEMA_FILE.read_text().replace("[param.tenant, param.tenant_id]", columns)
    run.schema_file = file
    for tenants in (text, text.replace(", readers: [group:blog@example.com]", "")):
        file.write_text(tenants)
        run.command("provision")
        assert verbs(run.command("provision")) == {"unchanged"}
    found = schema_file.load(file)
    more = [one for one in bindings(Config(project), found) if one not in bindings(Config(project), SCHEMA)]
    (sharer,) = (one for one in more if one.account == "provision")
    assert sharer.role is SHARER
    kept = {(one.account, one.role, one.resource.partition(".")[0]) for one in more if one != sharer}
    assert kept == {("ops", VIEW_KEEPER, "pixelpipe_shop")}
    own = [one for one in bindings(Config(project), found) if one.account == "provision"]
    refused, idle = judged(own, notes)
    assert not refused
    assert not {permission for _, permission, _ in idle} & set(SHARER.permissions)
    without = judged([one for one in own if one != sharer], notes)[0]
    assert {need.permission for _, need in without} == set(SHARER.permissions)


@pytest.mark.slow
def test_every_call_is_granted_and_no_role_is_idle(
    run: Run, notes: dict[str, set[Noted]], project: str, tmp_path: Path
) -> None:
    run.schema_file = tmp_path / "schema.yaml"
    run.schema_file.write_text(SCHEMA_FILE.read_text().replace("views: none", "views: [funnel]"))
    pipeline(run)
    bound = bindings(Config(project), SCHEMA)
    own = [binding for binding in bound if binding.account != SERVICE_AGENT]
    assert judged(own, notes) == (set(), set())
    # The judge sees a binding that is missing, and one too many.
    for binding in own:
        assert judged([one for one in own if one != binding], notes)[0], binding
    extra = Binding("collector", "roles/pubsub.publisher", "topic", resource_names.ROWS_TOPIC, "nothing")
    assert judged([*own, extra], notes) == (set(), {("collector", "roles/pubsub.publisher", resource_names.ROWS_TOPIC)})


def test_pubsubs_own_account_may_move_dead_letters() -> None:
    """The emulator does that itself, so no call of a client shows it: this is what Google's documentation asks for."""
    found = bindings(Config("my-project"), SCHEMA)
    assert [(one.role, one.resource) for one in found if one.account == SERVICE_AGENT] == [
        ("roles/pubsub.publisher", "pixelpipe-dead"),
        ("roles/pubsub.subscriber", "pixelpipe-hits-processor"),
        ("roles/pubsub.subscriber", "pixelpipe-rows-loader"),
    ]


def iam(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m services.provision iam ARGUMENTS`, in this process: a process of its own takes a second to import."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [key for key in os.environ if key.startswith("PIPE_")]:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["provision", "iam", *arguments])
        try:
            code = main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


ROLES = "projects/my-project/roles"
ARCHIVE = "gs://my-bucket/raw"
# https://docs.cloud.google.com/pubsub/docs/create-cloudstorage-subscription#grant_iam_roles_to_the_service_account
BUCKET_ROLES = {"roles/storage.objectCreator", "roles/storage.legacyBucketReader"}
PRINCIPAL = (
    "principal://iam.googleapis.com/projects/123456/locations/global/workloadIdentityPools/my-project.svc.id.goog"
    "/subject/ns/{}/sa/{}"
)


PROGRAM = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
if sys.argv[1:3] == ["projects", "describe"]:
    print("123456")
sys.exit(sys.argv[1:4] == ["iam", "roles", "create"] and {exists})
"""


def carried_out(script: str, folder: Path, *, exists: bool = False) -> list[list[str]]:
    """How the script calls gcloud and bq, for which others stand in here; `exists` says that its roles do."""
    log = folder / "log"
    log.write_text("")
    for name in ("gcloud", "bq"):
        program = folder / name
        program.write_text(PROGRAM.format(python=sys.executable, log=str(log), name=name, exists=exists))
        program.chmod(0o755)
    alone = {"PATH": str(folder)}  # the real ones must not be found
    done = subprocess.run(["/bin/bash"], input=script, env=alone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()]


Grant = tuple[str, str, str]  # resource, member, role


def wanted(cfg: Config, prefix: str, **options: Any) -> set[Grant]:
    """What both formats must say."""
    found = set()
    for binding in bindings(cfg, SCHEMA, **options):
        member = PRINCIPAL.format("web", f"{prefix}-{binding.account}")
        if binding.account == SERVICE_AGENT:
            member = "serviceAccount:service-123456@gcp-sa-pubsub.iam.gserviceaccount.com"
        elif binding.account == METRICS_READER:
            member = PRINCIPAL.format("keda", "keda-operator")
        role = binding.role
        name = f"projects/my-project/roles/{role.id}" if isinstance(role, CustomRole) else role
        found.add((binding.resource or "my-project", member, name))
    return found


def test_the_script_grants_what_the_bindings_say(tmp_path: Path) -> None:
    options = ("--project", "my-project", "--namespace", "web", "--dataset", "shop", "--archive", ARCHIVE)
    printed = iam(*options, PIPE_HITS_TOPIC="in-coming")
    assert (printed.returncode, printed.stderr) == (0, "")
    calls = carried_out(printed.stdout, tmp_path)
    granted: set[Grant] = set()
    for call in calls:
        options = dict(part.split("=", 1) for part in call if part.startswith("--") and "=" in part)
        if "--member" in options:
            named = call[-1] if call[0] == "bq" else call[call.index("add-iam-policy-binding") + 1]
            granted.add(
                (named.removeprefix("my-project:").removeprefix("gs://"), options["--member"], options["--role"])
            )
    cfg = Config("my-project", dataset="shop", hits_topic="in-coming", archive=ARCHIVE)
    assert granted == wanted(cfg, "pixelpipe")
    assert {role for resource, _, role in granted if resource == "my-bucket"} == BUCKET_ROLES
    assert ("in-coming", PRINCIPAL.format("web", "pixelpipe-collector"), "roles/pubsub.publisher") in granted
    assert ("shop.events_log", PRINCIPAL.format("web", "pixelpipe-loader"), f"{ROLES}/pixelpipeLoader") in granted
    made = [call for call in calls if call[1:4] == ["iam", "roles", "create"]]
    roles = custom_roles(bindings(Config("my-project"), SCHEMA))
    assert [call[4] for call in made] == [role.id for role in roles] != [role.id for role in CUSTOM_ROLES]
    for role, call in zip(roles, made, strict=True):
        assert f"--permissions={','.join(role.permissions)}" in call
    # What needs nothing but a project comes first.
    late = [call[1] not in ("iam", "projects", "storage") for call in calls]
    assert late == sorted(late)
    again = carried_out(printed.stdout, tmp_path, exists=True)
    updated = [call for call in again if call[1:4] == ["iam", "roles", "update"]]
    assert [call[4:] for call in updated] == [call[4:] for call in made]


def test_terraform_says_the_same() -> None:
    options = ("--release", "shop", "--metrics-reader", "keda/keda-operator", "--format", "terraform")
    printed = iam("--namespace", "web", *options, PIPE_PROJECT="my-project", PIPE_ARCHIVE=ARCHIVE)
    assert (printed.returncode, printed.stderr) == (0, "")
    blocks = re.findall(r'^(resource|data) "([a-z_]+)" "([a-z][a-z0-9_-]*)" \{\n(.*?)^\}$', printed.stdout, re.M | re.S)
    assert len({block[:3] for block in blocks}) == len(blocks) == printed.stdout.count("{\n")
    assert printed.stdout.count('data "google_project" "pixelpipe"') == 1
    granted: set[Grant] = set()
    roles = {}
    for _, kind, label, inside in blocks:
        fields = dict(re.findall(r"^  (\w+) += (.*)$", inside, re.M))
        text = {name: value.strip('"') for name, value in fields.items()}
        if kind == "google_project_iam_custom_role":
            roles[f"{kind}.{label}.name"] = f"{ROLES}/{text['role_id']}"
            (role,) = (one for one in CUSTOM_ROLES if one.id == text["role_id"])
            assert tuple(json.loads(fields["permissions"])) == role.permissions
        elif kind.endswith("_iam_member"):
            named = (
                text.get("bucket")
                or text.get("topic")
                or text.get("subscription")
                or ".".join(text[name] for name in ("dataset_id", "table_id") if name in text)
            )
            member = text["member"].replace("${data.google_project.pixelpipe.number}", "123456")
            granted.add((named or text["project"], member, roles.get(text["role"], text["role"])))
    assert granted == wanted(Config("my-project", archive=ARCHIVE), "shop-pixelpipe", metrics_reader=True)


@pytest.mark.parametrize(
    ("release", "name"),
    [("pixelpipe", "pixelpipe"), ("my-pixelpipe", "my-pixelpipe"), ("web", "web-pixelpipe")],
)
def test_the_names_are_those_of_the_chart(release: str, name: str) -> None:
    assert service_accounts.fullname(release) == name


GOOD = {"--project": "my-project", "--namespace": "web"}
BAD: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "project": ({"--project": "My Project"}, {}, "--project='My Project': use a project's id, such as my-project"),
    "short project": ({"--project": "abc"}, {}, "--project='abc' is not a project id, such as my-project"),
    "shell": ({"--namespace": "web;id"}, {}, "--namespace='web;id' is not a Kubernetes namespace"),
    "release": ({"--release": "Web"}, {}, "--release='Web' is not a Helm release"),
    "long": ({"--release": "w" * 60}, {}, "choose a shorter --release"),
    "fullname": ({"--fullname": "a_b"}, {}, "--fullname='a_b' is not a name that Kubernetes accepts"),
    "dataset": ({"--dataset": "a-b"}, {}, "--dataset='a-b': use letters, digits and underscores"),
    "topic": ({}, {"PIPE_DEAD_TOPIC": "$(id)"}, "PIPE_DEAD_TOPIC='$(id)': use 3 to 255 letters"),
    "reader": ({"--metrics-reader": "keda"}, {}, "--metrics-reader='keda' is not NAMESPACE/NAME"),
    "schema": ({"--schema": "nowhere.yaml"}, {}, "nowhere.yaml"),
    "setting": ({}, {"PIPE_DATASETS": "x"}, "did you mean PIPE_DATASET?"),
}


@pytest.mark.parametrize(("options", "settings", "reason"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(options: dict[str, str], settings: dict[str, str], reason: str) -> None:
    arguments = [part for pair in {**GOOD, **options}.items() for part in pair]
    refused = iam(*arguments, **settings)
    assert (refused.returncode, refused.stdout) == (2, "")
    head, line = refused.stderr.splitlines()
    assert head == "provision: cannot start:"
    assert reason in line


def test_a_project_and_a_namespace_are_needed() -> None:
    refused = iam("--namespace", "web")
    assert (refused.returncode, "PIPE_PROJECT is not set" in refused.stderr) == (2, True)
    refused = iam("--project", "my-project")
    assert (refused.returncode, refused.stderr.splitlines()[-1].rpartition(": ")[2]) == (2, "--namespace")
