"""Each alert fires under a real fault and ends after it: two releases in one namespace, one Prometheus, one run."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from google.cloud import bigquery

from local.ports import HOST
from services.shared import resource_names
from services.shared.resource_names import subscription_path
from services.shared.schema import LOG_SUFFIX, TALLIES
from tests import process
from tests.chaos import fleet
from tests.chaos.fleet import SERVICES, Fleet, Member
from tests.chart import release
from tests.observability import load, prometheus, reconcile_job
from tests.observability.proofs import PROOFS, SHOP
from tests.observability.test_runbooks import ALERTS
from tests.process import SCHEMA_FILE, wait_for
from tests.tools import require
from tests.topics import Topics

pytestmark = pytest.mark.slow
OURS = "pixelpipe"
PROJECTS = {OURS: fleet.PROJECT, SHOP: "shop"}
PAUSE, BATCH = 0.02, 20  # of the load: several alerts are about a hundred hits in ten seconds, however busy all is
FILE_BYTES = 20_000
# What else a fault of a release causes there, and rightly: rows that were late, a table that refuses.
ALSO = {
    OURS: {"PixelpipeLedgerOff", "PixelpipeFreshnessBurn"},
    SHOP: {
        "PixelpipeAppendErrors",
        "PixelpipePermissionDenied",
        "PixelpipeFreshnessBurn",
        "PixelpipeRowsNotArriving",
        "PixelpipeReconciliationFailed",
    },
}


@dataclass
class Run:
    """The two releases, what sees them, and the load of each as long as it is in `loads`.

    `job` is a daily Job of the shop, which serves its numbers until it is left.
    """

    fleet: Fleet
    seen: prometheus.Prometheus
    pods: Mapping[str, list[Member]]
    trouble: threading.Event
    job: Callable[[], AbstractContextManager[None]]
    loads: dict[str, ExitStack] = field(default_factory=dict)

    def firing(self, of: str) -> set[str]:
        found = self.seen.now(f'ALERTS{{alertstate="firing",release="{of}"}}')
        return {one.labels["alertname"] for one in found}

    def fired(self, of: str) -> set[str]:
        """Ever in this run."""
        found = self.seen.now(
            f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing",release="{of}"}}[1h]))'
        )
        return {one.labels["alertname"] for one in found}

    async def until_fired(self, of: str, *alerts: str) -> None:
        await asyncio.to_thread(wait_for, lambda: set(alerts) <= self.fired(of), 300, f"{alerts} to fire at {of}")

    async def until(self, expr: str, what: str) -> None:
        await asyncio.to_thread(wait_for, lambda: self.seen.now(expr), 180, what)

    def fault(self, emulator: str, **fault: object) -> str:
        """Its number, for `repair`."""
        reply = requests.post(f"{self.fleet.control[emulator]}/faults", json=fault, timeout=60)
        assert reply.ok, reply.text
        return str(reply.json()["id"])

    def repair(self, emulator: str, *faults: str) -> None:
        for one in faults:
            assert requests.delete(f"{self.fleet.control[emulator]}/faults/{one}", timeout=60).ok

    def one(self, of: str, service: str) -> Member:
        return next(member for member in self.pods[of] if member.service == service)

    def begin(self, of: str) -> None:
        """Start the load; a few hits are no events, as ever."""
        self.loads[of] = ExitStack()
        self.loads[of].enter_context(load.running(self.one(of, "collector").url, bad=50, pause=PAUSE, batch=BATCH))

    def end(self, of: str) -> None:
        self.loads.pop(of).close()


def _rules(folder: Path) -> list[Path]:
    """Both releases', as the chart renders them."""
    files = []
    for name, project in ((OURS, "my-project"), (SHOP, "other-project")):
        own = {"freshnessSeconds": 10, "inFlightSeconds": 3}  # a busy machine is late by a second or two
        values = {"project": project, "observability": {"rules": {"enabled": True}, "slo": own}}
        for number, doc in enumerate(release.release(values, name, "default").of("Rules", "GlobalRules")):
            text = yaml.safe_dump(doc["spec"], width=100_000)
            files.append(prometheus.compressed(text, folder / f"{name}-{number}.yaml"))
    return files


def _fill(url: str) -> None:
    """Events that no compression makes small, until there is no room for more."""
    for _ in range(60):
        note = base64.b64encode(os.urandom(45_000)).decode()
        reply = requests.post(f"{url}/events", json={"user_id": "ada", "type": "view", "note": note}, timeout=30)
        if reply.status_code == 503:
            return


def _taken(url: str) -> bool:
    return requests.get(f"{url}/pixel.gif?user_id=ada&type=view", timeout=30).status_code == 200


@pytest.mark.timeout(1200)  # twenty alerts, one after the other; on a busy machine twice as long
async def test_alerts_fire_under_faults_and_end_after_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to one release is no business of the other's, and a restart of everything nobody's."""
    require("prometheus", "apt-get install prometheus")
    trouble = threading.Event()
    async with fleet.running(tmp_path / "fleet") as ships:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", ships.environment["PUBSUB_EMULATOR_HOST"])
        provision = {**ships.environment, "PIPE_PROJECT": PROJECTS[SHOP], "PIPE_SCHEMA": str(SCHEMA_FILE)}
        made = [sys.executable, "-m", "services.provision"]
        await asyncio.to_thread(subprocess.run, made, cwd=process.ROOT, env=provision, check=True)
        patient = {"PIPE_PUBLISH_TIMEOUT_SECONDS": "5"}  # a busy machine is no outage
        small = {**patient, "PIPE_SPOOL_MAX_BYTES": "1048576"}
        ours = [ships.add(service, small if service == "collector" else None) for service in SERVICES]
        ours += [ships.add("collector", patient), ships.add("processor"), ships.add("loader")]
        of_shop = {"PIPE_PROJECT": PROJECTS[SHOP]}
        shop = [ships.add(one, of_shop | (patient if one == "collector" else {})) for one in SERVICES]
        await ships.start(*ours, *shop)
        other = tmp_path / "schema.yaml"
        extra = "      visit:       {type: STRING, from: param.visit}\n      params:"
        other.write_text(SCHEMA_FILE.read_text().replace("      params:", extra))
        shop.append(ships.add("processor", {"PIPE_PROJECT": PROJECTS[SHOP], "PIPE_SCHEMA": str(other)}))
        ports = {OURS: process.free_port(), SHOP: process.free_port()}
        urls = {member.name: f"http://{HOST}:{member.admin}" for member in ships.members}
        urls |= {f"{name}-reconcile": f"http://{HOST}:{port}" for name, port in ports.items()}
        releases = {**{member.name: SHOP for member in shop}, f"{SHOP}-reconcile": SHOP}
        with (
            # One Job is the report of all the days that pass here.
            reconcile_job.running(ships.environment, PROJECTS[OURS], ports[OURS], tmp_path / "job.json"),
            prometheus.running(tmp_path, urls, _rules(tmp_path), releases=releases, trouble=trouble) as seen,
        ):

            def job() -> AbstractContextManager[None]:
                report = tmp_path / "shop-job.json"
                return reconcile_job.running(ships.environment, PROJECTS[SHOP], ports[SHOP], report)

            run = Run(ships, seen, {OURS: ours, SHOP: shop}, trouble, job)

            async def provisioned() -> None:
                named = {**provision, "PIPE_SCHEMA": str(other)}
                await asyncio.to_thread(subprocess.run, made, cwd=process.ROOT, env=named, check=True)

            try:
                await _through_all(run, provisioned)
            finally:
                for one in list(run.loads):
                    run.end(one)
    assert set(PROOFS) == ALERTS


async def _through_all(run: Run, provisioned: Callable[[], Awaitable[None]]) -> None:
    run.begin(OURS)
    run.begin(SHOP)
    table = _refused(run, SHOP, "rejects_log", "PERMISSION_DENIED")
    await _restarted(run)
    await _pubsub_is_away(run)
    await asyncio.gather(_bigquery_refuses(run), _packs_are_stolen(run))
    await run.until_fired(SHOP, "PixelpipeTableSuspended")
    run.repair("bigquery", table)
    collector = run.one(SHOP, "collector")
    await run.fleet.stop(collector, signal.SIGKILL)
    await run.until_fired(SHOP, "PixelpipeMetricsAbsent")
    await run.fleet.start(collector)
    other = run.pods[SHOP][-1]
    await run.fleet.start(other)
    newer = {"schema": "hit/2", "encoding": "zstd", "count": "1", "pack": "newer"}
    await asyncio.to_thread(Topics(PROJECTS[SHOP]).publish, resource_names.HITS_TOPIC, b"of tomorrow", newer)
    await run.until_fired(SHOP, "PixelpipeSchemaDiffers", "PixelpipeColumnRefused", "PixelpipeNewerFormat")
    await provisioned()
    assert await run.fleet.stop(other, signal.SIGTERM) == 0
    processor = run.one(SHOP, "processor")
    assert await run.fleet.stop(processor, signal.SIGTERM) == 0
    await asyncio.to_thread(_take, PROJECTS[SHOP], "hit/2")
    await run.fleet.start(processor)
    await _counts_differ(run)
    for one in PROJECTS:
        wanted = {alert for alert, proof in PROOFS.items() if proof.release == one}
        fired = run.fired(one)
        assert wanted <= fired
        assert fired <= wanted | ALSO[one], f"{fired - wanted - ALSO[one]} fired at {one}"
    with run.job():  # by whose report nothing is missing
        for one in PROJECTS:
            await asyncio.to_thread(wait_for, lambda one=one: not run.firing(one), 180, f"all to end at {one}")


async def _counts_differ(run: Run) -> None:
    """What a collector acknowledged yesterday has not arrived, and then it has. No Job has run before."""
    await run.until_fired(SHOP, "PixelpipeReconciliationFailed")
    client = run.fleet.bigquery()
    await asyncio.to_thread(_tally, client, "collector", "acknowledged")
    with run.job():
        await run.until_fired(SHOP, "PixelpipeCountsDiffer")
    await asyncio.to_thread(_tally, client, "loader", "loaded")


def _tally(client: Any, source: str, outcome: str) -> None:
    """Seven hits of yesterday, by the table of tallies."""
    hour = (datetime.now(UTC) - timedelta(hours=20)).replace(minute=0, second=0, microsecond=0)
    at = {"day": hour.date().isoformat(), "hour": hour.isoformat(), "received_at": hour.isoformat()}
    own = {"tally_id": f"a {source}", "source": source, "sequence": 0, "final": True, "protocol": "native"}
    row = {**at, **own, "outcome": outcome, "hits": 7}
    table = f"{PROJECTS[SHOP]}.{resource_names.DATASET}.{TALLIES}{LOG_SUFFIX}"
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", schema=client.get_table(table).schema, autodetect=False
    )
    client.load_table_from_json([row], table, job_config=config).result(timeout=90)


def _refused(run: Run, of: str, table: str, code: str) -> str:
    resource_ = f"{PROJECTS[of]}.{resource_names.DATASET}.{table}"
    return run.fault("bigquery", effect="error", method="AppendRows", code=code, resource=resource_)


def _take(project: str, schema: str) -> None:
    """The one message of this format, off the subscription of hits, where nobody else reads any more."""
    topics, path = Topics(project), subscription_path(project, resource_names.HITS_SUBSCRIPTION)

    def taken() -> bool:
        found = topics.subscriber.pull(subscription=path, max_messages=1000, return_immediately=True, timeout=60)
        mine = [one.ack_id for one in found.received_messages if one.message.attributes.get("schema") == schema]
        if others := [one.ack_id for one in found.received_messages if one.ack_id not in mine]:
            topics.subscriber.modify_ack_deadline(subscription=path, ack_ids=others, ack_deadline_seconds=0)
        if mine:
            topics.subscriber.acknowledge(subscription=path, ack_ids=mine)
        return bool(mine)

    wait_for(taken, 300, f"the message of {schema}")  # each time it comes later


async def _restarted(run: Run) -> None:
    """One of two after the other, so that every counter of a release begins again, and nothing fires."""
    await run.until('pixelpipe_loader_end_to_end_seconds_count{release="pixelpipe"} > 100', "rows")
    for member in run.pods[OURS]:
        assert await run.fleet.stop(member, signal.SIGTERM) == 0
        await run.fleet.start(member)
    # The rules look back as far as this.
    await run.until('count_over_time(pixelpipe_processor_hits_total{release="shop"}[1m]) > 30', "half a minute of hits")
    assert not run.fired(OURS)
    recorded = run.seen.now('{__name__=~"pixelpipe:.+"}')
    assert len(recorded) > 40
    assert all(math.isfinite(one.values[0][1]) for one in recorded), "no number"


async def _pubsub_is_away(run: Run) -> None:
    """From one release, after a message that is no pack; the other has no traffic meanwhile, and Google is behind."""
    what = {"schema": "hit/1", "encoding": "zstd", "count": "1", "pack": "x"}
    await asyncio.to_thread(Topics(PROJECTS[OURS]).publish, resource_names.HITS_TOPIC, b"no pack", what)
    topic = f"projects/{PROJECTS[OURS]}/topics/{resource_names.HITS_TOPIC}"
    away = run.fault("pubsub", effect="error", method="Publish", resource=topic)
    run.trouble.set()
    run.end(SHOP)
    collectors = [member for member in run.pods[OURS] if member.service == "collector"]
    broken = collectors[1].process
    assert broken is not None
    # From now on its disk takes no file that is larger than a small pack's.
    resource.prlimit(broken.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    for member in collectors:
        await asyncio.to_thread(_fill, member.url)
    of_it = [alert for alert, proof in PROOFS.items() if proof.stage == "pubsub"]
    await run.until_fired(OURS, *of_it)
    await run.until_fired(SHOP, "PixelpipeNoTraffic")
    run.repair("pubsub", away)
    for member in collectors:  # one that has spooled nothing finds out by its next hit that Pub/Sub answers
        await asyncio.to_thread(wait_for, lambda url=member.url: _taken(url), 180, f"{member.name} to take a hit")
    run.trouble.clear()
    run.begin(SHOP)


async def _bigquery_refuses(run: Run) -> None:
    """First it is too much, then not permitted, and many hits are no events; what waited is late."""
    with load.rejects(run.one(OURS, "collector").url, pause=PAUSE, batch=BATCH):
        full = _refused(run, OURS, "*", "RESOURCE_EXHAUSTED")
        await run.until_fired(
            OURS,
            "PixelpipeNearQuota",
            "PixelpipeAppendErrors",
            "PixelpipeRowsNotArriving",
            "PixelpipeRejectsJump",
            "PixelpipeValidityBurn",
        )
    denied = _refused(run, OURS, "*", "PERMISSION_DENIED")
    run.repair("bigquery", full)
    await run.until_fired(OURS, "PixelpipePermissionDenied")
    run.repair("bigquery", denied)
    await run.until_fired(OURS, "PixelpipeFreshnessBurn")


async def _packs_are_stolen(run: Run) -> None:
    """A stranger on our subscription acknowledges what the processor never sees."""
    processor, topics, alert = run.one(SHOP, "processor"), Topics(PROJECTS[SHOP]), "PixelpipeLedgerOff"
    await run.fleet.stop(processor, signal.SIGKILL)

    def stolen() -> bool:
        topics.pull(resource_names.HITS_SUBSCRIPTION)
        return alert in run.fired(SHOP)

    await asyncio.to_thread(wait_for, stolen, 300, f"{alert} to fire at {SHOP}")
    await run.fleet.start(processor)


def test_the_table_of_proofs_is_whole() -> None:
    assert set(PROOFS) == ALERTS
