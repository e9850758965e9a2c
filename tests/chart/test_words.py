"""A name stays what it is, also where YAML would read a number, a truth or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from services.shared import config
from tests.chart import release, settings
from tests.chart.test_schemas import OLDEST, kind, kubernetes

WORDS = ("20240101", "1e5", "null", "true", "0x10", "012")
LETTERS = ("null", "true", "null", "true", "null", "true")


def _values(word: str, letters: str) -> dict[str, Any]:
    """Every name that may be such a word; `letters` is for those that must begin with a letter."""
    topics = ("hitsTopic", "hitsSubscription", "rowsTopic", "rowsSubscription", "deadTopic", "deadSubscription")
    account = {"serviceAccount": {"name": word}}
    return {
        "project": "my-project",
        "nameOverride": word,
        "fullnameOverride": "pixels",
        "image": {"pullSecrets": [word]},
        "bigquery": {"dataset": word},
        "pubsub": dict.fromkeys(topics, letters),
        "collector": {"kind": "StatefulSet", "spool": {"storage": "persistent", "storageClass": word}, **account},
        "processor": {**account, "nodeSelector": {"pool": word}, "podAnnotations": {"owner": word}},
        "loader": account,
        "provision": {**account, "settings": {"location": word}},
        "ops": account,
        "autoscaling": {"hpa": {"backlog": True}},
        "gateway": {"enabled": True, "address": word, "certificateMap": word, "securityPolicy": word},
    }


@pytest.mark.parametrize(("word", "letters"), list(zip(WORDS, LETTERS, strict=True)))
def test_a_service_gets_the_name_it_was_given(word: str, letters: str) -> None:
    found = release.release(_values(word, letters), namespace=word)
    for _, pod in found.pods():
        for container in pod["spec"]["containers"]:
            name, variables = container["name"], release.env(container)
            if name in settings.SERVICES:
                pipe = {key: value for key, value in variables.items() if key.startswith("PIPE_")}
                cfg: Any = config.read(settings.type_of(name), pipe)
                named = {"dataset": word, "location": word} | {
                    f"{part}_{what}": letters for part in ("hits", "rows", "dead") for what in ("topic", "subscription")
                }
                for field in settings.every(name):
                    if field.name in named:
                        assert getattr(cfg, field.name) == named[field.name], (name, field.name)
            else:
                assert variables["PIPE_DATASET"] == word, name


@pytest.mark.parametrize("word", WORDS)
def test_kubernetes_is_given_text(word: str) -> None:
    for doc in release.release(_values(word, "null"), namespace=word).docs:
        assert doc["metadata"]["namespace"] == word
        assert doc["metadata"]["labels"]["app.kubernetes.io/name"] == word
        assert all(isinstance(value, str) for value in doc["metadata"].get("annotations", {}).values())
        if kind(doc).split("/")[0] in {"apps", "batch", "policy", "autoscaling", "v1"}:
            kubernetes(doc["apiVersion"], doc["kind"], OLDEST).validate(doc)
        elif doc["kind"] == "Gateway":
            assert doc["spec"]["addresses"] == [{"type": "NamedAddress", "value": word}]
        elif doc["kind"] == "GCPBackendPolicy":
            assert doc["spec"]["default"]["securityPolicy"] == word
