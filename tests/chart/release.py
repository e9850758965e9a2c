"""The chart rendered by Helm itself, without a cluster."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.process import ROOT

CHART = ROOT / "charts" / "pixelpipe"
CI = CHART / "ci"
SCHEMA_FILE = CHART / "files" / "schema.yaml"
GOLDEN = Path(__file__).parent / "golden"
# The renders that are kept whole: the base of all others, and the three that differ most from it. What the other cases
# are there to show is asserted in test_features.py.
KEPT = ("minimal", "persistent", "values-dev", "values-gke")
# The files in ci/, one for every feature, and those that come with the chart, used as the README says.
SHIPPED = {
    "values-dev": {},
    "values-gke": {"project": "my-project", "gateway": {"hosts": ["pixel.example.com"]}},
    "values-small": {"project": "my-project"},
}
CASES = sorted([*SHIPPED, *(path.name.removesuffix("-values.yaml") for path in CI.glob("*-values.yaml"))])
Values = Mapping[str, Any]
Doc = dict[str, Any]
_HEAD = re.compile(r"^kind: (\w+)\nmetadata:\n  name: (\S+)$", re.MULTILINE)


def load(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.load(path.read_text(), yaml.CSafeLoader)
    return values


def values_of(case: str) -> dict[str, Any]:
    if case in SHIPPED:
        return merged(load(CHART / f"{case}.yaml"), SHIPPED[case])
    return load(CI / f"{case}-values.yaml")


def merged(*layers: Values) -> dict[str, Any]:
    """As Helm merges files of values: maps by key, all else replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def render(values: Values, name: str = "pixelpipe", namespace: str = "web") -> Mapping[str, str]:
    """What each template gives."""
    return _rendered(json.dumps(values), name, namespace)


@cache
def _rendered(values: str, name: str, namespace: str) -> Mapping[str, str]:
    """The chart is loaded for each render, which changes it."""
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(values=json.loads(values), name=name, namespace=namespace, is_install=True)


def documents(values: Values, name: str = "pixelpipe", namespace: str = "web") -> dict[str, str]:
    """What `helm template` prints and the notes, by kind and name; of the chart's schema file only that it is there."""
    schema = SCHEMA_FILE.read_text().rstrip("\n")
    indented = "".join(f"    {line}\n" for line in schema.splitlines()).rstrip("\n")
    # Of what pods are given, and of the file as the notes say it.
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (schema, schema + "\n")]
    found = {}
    for path, part in render(values, name, namespace).items():
        if path.endswith("NOTES.txt"):
            notes = part.replace(f"sha256 {digests[1][:12]}", "sha256 (of schema.yaml)")
            found["NOTES"] = "".join(f"# {line}".rstrip() + "\n" for line in notes.splitlines())
            continue
        for text in re.split(r"^---\n", part, flags=re.MULTILINE):
            if (match := _HEAD.search(text)) is not None:
                text = text.replace(indented, "    (schema.yaml)").replace(digests[0], "(of schema.yaml)")
                found[f"{match[1]} {match[2]}"] = text.strip() + "\n"
    return dict(sorted(found.items()))


def golden(case: str) -> str:
    """The documents of `minimal`; of each other case those that are not the same there, and which it has not."""
    found = documents(values_of(case))
    base = {} if case == "minimal" else documents(values_of("minimal"))
    missing = "".join(f"# no {name}\n" for name in base if name not in found)
    return missing + "".join(f"---\n{text}" for name, text in found.items() if base.get(name) != text)


@dataclass(frozen=True)
class Release:
    """The objects of one release."""

    docs: Sequence[Doc]

    def of(self, *kinds: str) -> list[Doc]:
        return [doc for doc in self.docs if doc["kind"] in kinds]

    def one(self, kind: str, ending: str = "") -> Doc:
        """The only object of the kind whose name ends so."""
        (found,) = [doc for doc in self.of(kind) if doc["metadata"]["name"].endswith(ending)]
        return found

    def pods(self) -> Iterator[tuple[Doc, Doc]]:
        """Each object that makes pods, and the pod it makes: metadata and spec."""
        for doc in self.docs:
            match doc["kind"]:
                case "Pod":
                    yield doc, doc
                case "Deployment" | "StatefulSet" | "Job":
                    yield doc, doc["spec"]["template"]
                case "CronJob":
                    yield doc, doc["spec"]["jobTemplate"]["spec"]["template"]


def release(values: Values, name: str = "pixelpipe", namespace: str = "web") -> Release:
    parts = render(values, name, namespace)
    docs: list[Doc] = []
    for path, part in parts.items():
        if path.endswith(".yaml"):
            docs += [doc for doc in yaml.load_all(part, yaml.CSafeLoader) if doc]
    return Release(docs)


@cache
def case(name: str) -> Release:
    """One of CASES, rendered once: read it only."""
    return release(values_of(name))


def env(container: Doc) -> dict[str, str]:
    found = {one["name"]: one.get("value", "") for one in container["env"]}  # none where a Secret has it
    assert len(found) == len(container["env"]), "a variable is set twice"
    return found
