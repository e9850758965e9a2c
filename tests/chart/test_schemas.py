"""Every object of every case against the schema of its kind."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from referencing import Registry, Resource

from tests.chart import release
from tests.chart.release import CASES
from tests.child import ROOT

SCHEMAS = ROOT.parent / "shared" / "schemas"
OLDEST = [version for version in utils.all_versions() if utils.major_minor(version) == "1.30"][-1]
# Kinds whose schemas are at hand nowhere: what matters of them is in the golden renders and the tests beside this one.
UNKNOWN = {
    "gateway.networking.k8s.io/v1/Gateway",
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "networking.gke.io/v1/ManagedCertificate",
    "cloud.google.com/v1/BackendConfig",
    "keda.sh/v1alpha1/ScaledObject",
    "monitoring.coreos.com/v1/PodMonitor",
    "keda.sh/v1alpha1/TriggerAuthentication",
}
CUSTOM = {
    "networking.gke.io/v1/HealthCheckPolicy",
    "networking.gke.io/v1/GCPBackendPolicy",
    "monitoring.googleapis.com/v1/PodMonitoring",
    "monitoring.googleapis.com/v1/Rules",
}


def kind(doc: release.Doc) -> str:
    return f"{doc['apiVersion']}/{doc['kind']}"


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_object(case: str, version: str) -> None:
    for doc in release.case(case).docs:
        if kind(doc) not in UNKNOWN | CUSTOM:
            kubernetes(doc["apiVersion"], doc["kind"], version).validate(doc)


def test_a_wrong_field_would_be_found() -> None:
    doc = copy.deepcopy(release.case("minimal").one("Deployment", "collector"))
    doc["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="livenessprobe"):
        kubernetes("apps/v1", "Deployment", OLDEST).validate(doc)


@pytest.mark.parametrize("case", CASES)
def test_gke_takes_every_resource_of_its_own(case: str) -> None:
    for doc in release.case(case).docs:
        if kind(doc) in CUSTOM:
            _custom(kind(doc)).validate(doc)


def test_every_custom_kind_the_chart_makes_was_checked() -> None:
    made = {kind(doc) for case in CASES for doc in release.case(case).docs}
    assert made >= UNKNOWN
    assert made >= CUSTOM - {"monitoring.googleapis.com/v1/Rules"}


def test_skaffold_takes_its_file() -> None:
    found = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    jsonschema.Draft7Validator(_read("skaffold-v4beta13.json")).validate(found)


@cache
def kubernetes(api_version: str, kind: str, version: str) -> Any:
    """As kubernetes_validate does in strict mode, with each schema read once: it is most of the time otherwise."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{version}-local-strict"
    group, _, tail = api_version.rpartition("/")
    name = f"{group.split('.')[0]}-{tail}" if group else tail
    schema = json.loads((folder / f"{kind.lower()}-{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_definitions(folder))


@cache
def _definitions(folder: Path) -> Any:
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@cache
def _custom(kind: str) -> Any:
    return jsonschema.Draft202012Validator(_read(kind.replace("/", "_") + ".json"))


def _read(name: str) -> Any:
    if not SCHEMAS.is_dir():
        pytest.skip(f"the schemas of Google's own kinds are not at {SCHEMAS}")
    return json.loads((SCHEMAS / name).read_text())
