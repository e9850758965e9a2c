"""Every object of every case against the schema of its kind: Kubernetes' own, or the custom resource's definition."""

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
from tests.process import ROOT

SCHEMAS = ROOT.parent / "shared" / "schemas"
OLDEST = [version for version in utils.all_versions() if utils.major_minor(version) == "1.30"][-1]
CUSTOM_GROUPS = {
    "cloud.google.com",
    "gateway.networking.k8s.io",
    "keda.sh",
    "monitoring.coreos.com",
    "monitoring.googleapis.com",
    "networking.gke.io",
}
# Nobody publishes its definition: what matters of it is in the golden renders and the tests beside this one.
UNPUBLISHED = {"cloud.google.com/v1/BackendConfig"}

# Rules and dashboards are too long for a golden render, so no case of ci/ has them.
RULES = ("gmp", "prometheusOperator")


@cache
def found(case: str) -> release.Release:
    if case not in RULES:
        return release.case(case)
    return release.release({"project": "my-project", "observability": {"rules": {"enabled": True, "kind": case}}})


def kind(doc: release.Doc) -> str:
    return f"{doc['apiVersion']}/{doc['kind']}"


def is_custom(doc: release.Doc) -> bool:
    return doc["apiVersion"].partition("/")[0] in CUSTOM_GROUPS


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_object(case: str, version: str) -> None:
    for doc in release.case(case).docs:
        if not is_custom(doc):
            kubernetes(doc["apiVersion"], doc["kind"], version).validate(doc)


def test_a_wrong_field_would_be_found() -> None:
    doc = copy.deepcopy(release.case("minimal").one("Deployment", "collector"))
    doc["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="livenessprobe"):
        kubernetes("apps/v1", "Deployment", OLDEST).validate(doc)


@pytest.mark.parametrize("case", [*CASES, *RULES])
def test_every_custom_resource_fits_its_definition(case: str) -> None:
    for doc in found(case).docs:
        if is_custom(doc) and kind(doc) not in UNPUBLISHED:
            definitions()[kind(doc)].validate(doc)


def test_a_wrong_field_of_a_custom_resource_would_be_found() -> None:
    doc = copy.deepcopy(release.case("keda").of("ScaledObject")[0])
    definition = definitions()[kind(doc)]
    doc["spec"]["maxReplicas"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        definition.validate(doc)
    del doc["spec"]["maxReplicas"], doc["spec"]["triggers"]
    with pytest.raises(jsonschema.ValidationError, match="triggers"):
        definition.validate(doc)


def test_every_custom_kind_the_chart_can_make_was_checked() -> None:
    made = {kind(doc) for case in [*CASES, *RULES] for doc in found(case).docs if is_custom(doc)}
    assert made - UNPUBLISHED <= set(definitions())
    assert made >= {
        "gateway.networking.k8s.io/v1/Gateway",
        "gateway.networking.k8s.io/v1/HTTPRoute",
        "keda.sh/v1alpha1/ScaledObject",
        "keda.sh/v1alpha1/TriggerAuthentication",
        "monitoring.coreos.com/v1/PodMonitor",
        "monitoring.coreos.com/v1/PrometheusRule",
        "monitoring.googleapis.com/v1/GlobalRules",
        "monitoring.googleapis.com/v1/PodMonitoring",
        "monitoring.googleapis.com/v1/Rules",
        "networking.gke.io/v1/GCPBackendPolicy",
        "networking.gke.io/v1/HealthCheckPolicy",
        "networking.gke.io/v1/ManagedCertificate",
        *UNPUBLISHED,
    }


def test_skaffold_takes_its_file() -> None:
    schema = json.loads((_schemas() / "skaffold-v4beta13.json").read_text())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load((ROOT / "skaffold.yaml").read_text()))


@cache
def kubernetes(api_version: str, kind: str, version: str) -> Any:
    """As kubernetes_validate does in strict mode, with each schema read once: it is most of the time otherwise."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{version}-local-strict"
    group, _, tail = api_version.rpartition("/")
    name = f"{group.split('.')[0]}-{tail}" if group else tail
    schema = json.loads((folder / f"{kind.lower()}-{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_references(folder))


@cache
def _references(folder: Path) -> Any:
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@cache
def definitions() -> dict[str, Any]:
    """A validator for each version of each custom resource, as strict as an API server with field validation."""
    validators = {}
    for file in (_schemas() / "crds").glob("*.yaml"):
        for doc in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            if doc is None:
                continue
            spec = doc["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                # The API server knows these of every object, whatever the definition says.
                schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
                name = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
                validators[name] = jsonschema.Draft202012Validator(schema)
    return validators


def _strict(schema: Any) -> Any:
    """The same schema, which takes no field that it does not name, as JSON Schema says it."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    # Keys of `properties` are names of fields, not words of the schema.
    strict = {
        key: {name: _strict(part) for name, part in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        strict["additionalProperties"] = False
    if schema.get("nullable"):
        strict["type"] = [schema["type"], "null"]
    return strict


def _schemas() -> Path:
    if not SCHEMAS.is_dir():
        pytest.skip(f"the schemas of custom resources and of skaffold are not at {SCHEMAS}")
    return SCHEMAS
