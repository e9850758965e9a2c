"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.process import ROOT

SERVICES = ROOT / "services"
BUILDINGS = ("services", "emulators", "local", "observability")
# What each part may import of ours, beside itself.
ALLOWED: dict[str, set[str]] = {
    "shared": set(),
    "collector": {"shared"},
    "processor": {"shared"},
    "loader": {"shared"},
    "provision": {"shared"},
    "ops": {"shared", "collector", "processor", "loader", "provision"},
    "emulators": set(),
    "local": {"shared", "collector", "processor", "loader", "provision", "ops", "emulators"},
    "observability": {"shared"},
}
# What each part may import of the heavy or foreign packages; what is not named here, nobody may.
FOREIGN = {
    "google.cloud.pubsub_v1": {"shared/subscriber.py", "shared/subscriber_client.py", "provision", "ops"},
    "google.pubsub_v1": {"shared/publisher.py", "provision", "ops", "emulators", "local/raw_hits.py"},
    "google.auth": {
        "shared/credentials.py",
        "shared/fault.py",
        "shared/publisher.py",
        "loader",
        "ops",
        "provision",
        "local",
    },
    "google.cloud.bigquery": {"loader", "provision", "ops", "local"},
    "google.cloud.bigquery_storage_v1": {"loader", "emulators"},
    "google.cloud.bigquery_storage": {"loader"},
    "duckdb": {"emulators"},
    "sqlglot": {"emulators"},
    "rich": {"local", "ops"},
    "pyarrow": {"shared/rows.py", "shared/tally_rows.py", "processor", "loader", "ops", "emulators"},
    "grafana_foundation_sdk": {"observability"},
    "opentelemetry.sdk": {"shared/tracing.py", "shared/trace_export.py"},
    "opentelemetry.exporter": {"shared/trace_export.py"},
    "yaml": {
        *(
            f"shared/schema_{name}.py"
            for name in (
                "columns",
                "file",
                "lookups",
                "nodes",
                "privacy",
                "sources",
                "tenant_tables",
                "tenants",
                "transforms",
                "yaml",
            )
        ),
        "processor/enrich/data_file.py",
    },
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


FILES = sorted(path for building in BUILDINGS for path in (ROOT / building).rglob("*.py"))


def _part(module: str) -> str:
    """services.loader.worker → loader, emulators.pubsub → emulators, services → ""."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "services" else first


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    inside = path.relative_to(SERVICES) if path.is_relative_to(SERVICES) else path.relative_to(ROOT)
    part = inside.parts[0] if len(inside.parts) > 1 else ""
    for name in _imports(path):
        if name.partition(".")[0] in (*BUILDINGS, "tests"):
            allowed = ALLOWED.get(part, set()) | {part, "__version__"}
            assert _part(name) in allowed, f"{inside} imports {name}"
        for package, allowed in FOREIGN.items():
            if name == package or name.startswith(package + "."):
                assert {part, str(inside)} & allowed, f"{inside} imports {name}"


def _reached(path: Path, seen: set[Path]) -> set[Path]:
    """The files of services that importing `path` imports, whoever imports them."""
    for name in _imports(path):
        module = SERVICES.parent.joinpath(*name.split("."))
        for found in (module.with_suffix(".py"), module.parent.with_suffix(".py")):
            if found.is_file() and found not in seen:
                seen.add(found)
                _reached(found, seen)
    return seen


def test_the_collector_imports_no_subscriber() -> None:
    reached = _reached(SERVICES / "collector" / "service.py", set())
    assert SERVICES / "shared" / "publisher.py" in reached
    assert SERVICES / "shared" / "subscriber.py" not in reached


def test_every_part_has_its_arrows() -> None:
    parts = {path.name for path in SERVICES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert parts | set(BUILDINGS) - {"services"} == set(ALLOWED)


def test_the_wire_format_of_hits_needs_no_google_client() -> None:
    for name in ("hit", "zstd_frame", "identity", "errors"):
        assert not [item for item in _imports(SERVICES / "shared" / f"{name}.py") if item.startswith("google")]


def test_names_that_say_nothing_are_not_used() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "helper", "base", "common", "misc")]


def test_no_file_holds_more_than_one_thing() -> None:
    for path in FILES:
        most = 350 if path.is_relative_to(SERVICES) else 500
        assert len(path.read_text().splitlines()) <= most, path


def test_no_function_does_more_than_one_thing() -> None:
    for path in FILES:
        if path.name == "metrics.py" or not path.is_relative_to(SERVICES):  # the list of a service's metrics is long
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
