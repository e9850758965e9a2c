"""Builds every image, runs them, carries pixels through the pipeline's three: `python -m tests.images`, as root.

Prints a table and the closing line of the checks; the same figures go to .local/images.json. Exit code 1 if a check
failed, or a tool is missing where REQUIRE_TOOLS=1; 0 with the reason where one is missing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import process
from tests.chart import release
from tests.images import build
from tests.images.build import IMAGES, Failed, say
from tests.images.chart import Cluster
from tests.images.container import Container
from tests.process import ROOT, wait_for
from tests.test_arrows import ALLOWED

PROJECT = "images"
SERVICES = ("loader", "processor", "collector")  # readers before the writer
# What an image must not be able to import, beside the services that its arrows leave out.
NOBODY = ("pip", "setuptools", "pytest", "tests", "mypy", "hypothesis")
REFUSED = {
    "collector": ("pyarrow", "google.cloud.bigquery", "google.cloud.bigquery_storage_v1", "rich"),
    "processor": ("google.cloud.bigquery", "google.cloud.bigquery_storage_v1", "rich"),
    "loader": ("rich", "ua_parser"),
    "ops": (),
    "emulators": ("google.cloud.bigquery", "yaml", "rich"),
}
DEVELOPMENT = ("duckdb", "sqlglot")


# Parts of services that an image carries.
SERVED = {name: ALLOWED[name] | {name} for name in IMAGES if name != "emulators"}


class Report:
    """The checks made, and the figures of each image."""

    def __init__(self) -> None:
        self.passed, self.failed = 0, 0
        self.images: dict[str, dict[str, float]] = {}

    def check(self, what: str, found: Any, wanted: Any) -> None:
        if found == wanted:
            self.passed += 1
        else:
            self.failed += 1
            say(f"FAILED {what}: {found!r}, not {wanted!r}")

    def figures(self, image: str, **figures: float) -> None:
        self.images.setdefault(image, {}).update(figures)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    parser.add_argument("--hits", type=int, default=5000, help="fired at the containers (%(default)s)")
    parser.add_argument("--built", action="store_true", help="use the images as the last run built them")
    options = parser.parse_args()
    if absent := build.missing():
        say(f"images: needs {', '.join(absent)}: apt-get install --no-install-recommends {' '.join(absent)}")
        return int(os.environ.get("REQUIRE_TOOLS") == "1")
    report = Report()
    try:
        build.clear()
        if not options.built:
            _build()
        for image in IMAGES:
            report.figures(image, megabytes=build.size(build.reference(image)) / 1e6)
        report.check(
            "the smallest image", min(report.images, key=lambda one: report.images[one]["megabytes"]), "collector"
        )
        with ExitStack() as stack:
            _run(report, options.hits, stack)
        with ExitStack() as stack:
            _run_the_chart(report, stack)
    except (Failed, AssertionError) as error:
        report.failed += 1
        say(f"FAILED {error}")
    finally:
        build.clear()
    _print(report)
    return int(report.failed > 0)


def _build() -> None:
    begin = time.monotonic()
    build.base()
    say(f"base: {build.size(build.BASE) / 1e6:.0f} MB, {time.monotonic() - begin:.0f} s")
    with ThreadPoolExecutor(2) as pool:

        def timed(image: str) -> str:
            begin = time.monotonic()
            build.build(image)
            return f"{image}: built in {time.monotonic() - begin:.0f} s"

        for line in pool.map(timed, IMAGES):
            say(line)


def _run(report: Report, hits: int, stack: ExitStack) -> None:
    folder = Path(stack.enter_context(TemporaryDirectory()))
    pubsub = stack.enter_context(process.running("emulators.pubsub", "--port", "0")).ready
    arguments = ("--rest-port", "0", "--grpc-port", "0", "--data", str(folder / "bigquery.duckdb"))
    bigquery = stack.enter_context(process.running("emulators.bigquery", *arguments)).ready
    env = {
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub['grpc']}",
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{bigquery['rest']}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{bigquery['grpc']}",
        "NO_PROXY": "127.0.0.1",
        "PIPE_PROJECT": PROJECT,
    }
    ops = Container("ops", env, "sleep", "infinity")
    ops.start()
    ops.python("-m", "services.provision")
    public, *admin = (process.free_port() for _ in range(1 + len(SERVICES)))
    containers = {}
    for name, port in zip(SERVICES, admin, strict=True):
        own = {"PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": str(port)}
        if name == "collector":
            own |= {"PIPE_PORT": str(public), "PIPE_DRAIN_DELAY_SECONDS": "1", "PIPE_PUBLISH_TIMEOUT_SECONDS": "10"}
        one = containers[name] = Container(name, env | own, admin_port=port)
        report.figures(name, cold_start_s=one.start(), rss_start_mb=one.memory("VmRSS") / 1e6)
        report.check(f"{name} /livez", one.get("/livez"), 200)
        report.check(f"{name} /readyz", one.get("/readyz"), 200)
    url, big = f"http://127.0.0.1:{public}", env["BIGQUERY_EMULATOR_HOST"]
    load = ("-m", "services.ops", "load", "--url", url, "--bigquery", big, "--project", PROJECT, "--connections", "32")

    outcome = json.loads(ops.python(*load, "--hits", str(hits), timeout=300))
    say(f"through the three containers: {json.dumps(outcome)}")
    report.check("hits acknowledged", outcome["acknowledged"], hits)
    report.check("rows and rejects", outcome["rows"] + outcome["rejects"], hits)
    report.check("lost, duplicated", (outcome["lost"], outcome["duplicated"]), (0, 0))

    _stop_under_load(report, containers, ops, load, hits)
    for name in IMAGES:
        one = containers.get(name) or (ops if name == "ops" else _emulators(report))
        _look(report, one)
        if name == "emulators":
            report.check("the emulator's exit code after SIGTERM", one.stop(), 0)
    for name, one in containers.items():
        report.check(f"{name}'s exit code after SIGTERM", one.stop(), 0)
    ops.signal("KILL")


def _run_the_chart(report: Report, stack: ExitStack) -> None:
    """A pixel through the dev release: emulators, provisioning, services and smoke test as the chart asks for them."""
    found = release.case("values-dev")
    folder = Path(stack.enter_context(TemporaryDirectory()))
    cluster = Cluster(found, folder, stack)
    for name in ("pubsub", "bigquery"):
        cluster.start(found.one("Deployment", name))
    for service in found.of("Service"):
        cluster.expose(service)
    code, said = cluster.ends(found.one("Job", "provision"), 120)
    report.check(f"the chart's provisioning ends well:\n{said}", code, 0)
    for name in SERVICES:
        cluster.start(found.one("Deployment", name))
    code, said = cluster.ends(found.one("Pod", "smoke"), 200)
    report.check(f"the chart's smoke test finds its row:\n{said}", code, 0)
    say("through the chart's own pods: a pixel is a row")


def _stop_under_load(
    report: Report, containers: dict[str, Container], ops: Container, load: tuple[str, ...], hits: int
) -> None:
    """SIGTERM to all three while hits come in: each ends with 0, and what was acknowledged is there after a restart."""
    before = _hits(containers["collector"])
    with ThreadPoolExecutor(1) as pool:
        firing = pool.submit(ops.python, *load, "--hits", str(hits * 5), "--wait", "90", timeout=300)
        wait_for(lambda: _hits(containers["collector"]) > before + hits // 5, 60, "the collector to be under load")
        for name in ("collector", "processor", "loader"):
            report.figures(name, rss_load_mb=containers[name].memory("VmHWM") / 1e6)
            containers[name].signal("TERM")
        for name, one in containers.items():
            report.check(f"{name}'s exit code after SIGTERM under load", one.exit_code(), 0)
        report.check("load is still going on when they end", firing.done(), False)
        for name in SERVICES:
            containers[name].start()
        outcome = json.loads(firing.result(310))
    say(f"SIGTERM under load, then started again: {json.dumps(outcome)}")
    report.check("acknowledged before and after", outcome["acknowledged"] > hits // 5, True)
    report.check("lost, duplicated after SIGTERM", (outcome["lost"], outcome["duplicated"]), (0, 0))


def _hits(collector: Container) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{collector.admin_port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("pixelpipe_collector_hits_total"))


def _emulators(report: Report) -> Container:
    """The emulators' image: BigQuery as its process, Pub/Sub beside it."""
    one = Container(
        "emulators",
        {},
        *("python", "-m", "emulators", "bigquery", "--host", "127.0.0.1", "--rest-port", "0", "--grpc-port", "0"),
        *("--data", "/tmp/bigquery.duckdb"),
    )
    one.start()
    said = wait_for(
        lambda: [line for line in one.logs().splitlines() if line.startswith("{")], 60, "the emulator's ports"
    )
    report.check("the emulator's ports", sorted(json.loads(said[0])), ["grpc", "rest"])
    report.figures("emulators", rss_start_mb=one.memory("VmRSS") / 1e6)
    usage = one.python("-m", "emulators", "pubsub", "--help")
    report.check("the image has the Pub/Sub emulator", "A local Pub/Sub" in usage, True)
    return one


def _look(report: Report, one: Container) -> None:
    """Who it runs as and what it carries, said by a program inside it."""
    name, module = one.image, build.module(one.image)
    allowed = {f"services/{part}" for part in (*SERVED[name], "__init__.py")} if name in SERVED else {name}
    absent = [build.module(other) for other in IMAGES if build.module(other).replace(".", "/") not in allowed]
    if name != "emulators":
        absent += DEVELOPMENT
    found = one.look(*NOBODY, *REFUSED[name], *absent, module)
    report.check(f"{name}: what it can import", found["imported"], [module])
    report.check(f"{name}: user and group", found["user"], [65532, 65532])
    report.check(f"{name}: folders it can write", found["writable"], [])
    schema = {"schema.yaml"} if name != "emulators" else set()
    report.check(f"{name}: its code", set(found["code"]), allowed | schema)
    report.check(f"{name}: packages its lock does not name", set(found["distributions"]) - build.locked(name), set())
    report.check(f"{name}: files that are not compiled", found["uncompiled"], [])
    service = "services.ops" if name == "ops" else f"services.{name}.service"
    if name in SERVICES:
        report.figures(
            name,
            import_s=_import(one, service),
            import_uncompiled_s=_import(one, service, "-X", "pycache_prefix=/tmp/none"),
        )


def _import(one: Container, module: str, *options: str) -> float:
    """Seconds to import a service; the faster of two."""
    program = f"import time; begin = time.perf_counter(); import {module}; print(time.perf_counter() - begin)"
    return min(float(one.python(*options, "-c", program)) for _ in range(2))


def _print(report: Report) -> None:
    columns = (
        ("megabytes", "MB"),
        ("rss_start_mb", "RSS MB"),
        ("rss_load_mb", "under load"),
        ("cold_start_s", "start s"),
        ("import_s", "import s"),
        ("import_uncompiled_s", "uncompiled"),
    )
    print(f"{'image':<10}" + "".join(f"{title:>12}" for _, title in columns))
    for image, figures in report.images.items():
        cells = (f"{figures[key]:.2f}" if key in figures else "" for key, _ in columns)
        print(f"{image:<10}" + "".join(f"{cell:>12}" for cell in cells))
    (ROOT / ".local" / "images.json").write_text(json.dumps(report.images, indent=2) + "\n")
    print(f"{report.passed} passed, {report.failed} failed")


if __name__ == "__main__":
    sys.exit(main())
