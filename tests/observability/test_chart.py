"""The chart gives rules and dashboards the names of its release, and the objectives of its values."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.ops import prices
from tests.chart import release, test_schemas
from tests.observability import boards
from tests.observability.unit import FILES, INSTALL
from tests.tools import require

PREFIX = "observability/runbooks/"


def _release(kind: str = "gmp", name: str = "pixelpipe", **more: Any) -> release.Release:
    own = {"project": "my-project", "podMonitoring": {"enabled": True}}
    switched = {"observability": {"dashboards": {"enabled": True}, "rules": {"enabled": True, "kind": kind}}}
    return release.release(release.merged(own, switched, more), name)


def _rules(found: release.Release) -> list[dict[str, Any]]:
    return [
        rule
        for doc in found.of("Rules", "GlobalRules", "PrometheusRule")
        for group in doc["spec"]["groups"]
        for rule in group["rules"]
    ]


def _plain() -> list[dict[str, Any]]:
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_nothing_of_it_is_there_unless_wanted() -> None:
    kinds = {doc["kind"] for doc in release.case("minimal").docs}
    assert not kinds & {"Rules", "GlobalRules", "PrometheusRule"}
    assert not [doc for doc in release.case("minimal").of("ConfigMap") if "grafana" in str(doc["metadata"]["labels"])]


@pytest.mark.parametrize("kind", ["gmp", "prometheusOperator"])
@pytest.mark.parametrize("name", ["pixelpipe", "a.shop", "x" * 53])
def test_prometheus_takes_the_rules(kind: str, name: str, tmp_path: Path) -> None:
    docs = _release(kind, name).of("Rules", "GlobalRules", "PrometheusRule")
    assert len(docs) == (2 if kind == "gmp" else 1)
    for doc in docs:
        assert len(doc["metadata"]["name"]) <= 63
        file = tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump(doc["spec"]))
        done = subprocess.run(
            [require("promtool", INSTALL), "check", "rules", str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_rules_are_the_plain_ones() -> None:
    """But for the namespace, where runbooks are, and how a number is written."""
    found = []
    for rule in _rules(_release()):
        text = json.dumps(rule).replace('"web', '"default').replace(PREFIX, "runbooks/")
        found.append(json.loads(text))
        if number := re.fullmatch(r"vector\((.*)\)", found[-1]["expr"]):
            found[-1]["expr"] = f"vector({float(number[1]):.10g})"
    wanted = _plain()
    assert len(found) == len(wanted) > 60
    for rule in wanted:
        assert rule in found


def test_a_release_sees_itself_alone_and_its_own_objectives() -> None:
    own = {
        "project": "other-project",
        "pubsub": {"hitsSubscription": "shop-h", "rowsSubscription": "shop-r", "deadSubscription": "shop-d"},
        "observability": {
            "runbooks": "https://wiki.example.com/",
            "slo": {"availability": 0.95, "freshnessSeconds": 600, "inFlightSeconds": 900},
            "quota": {"append": 3e9},
            "prices": {"pubsub": 12.5},
        },
    }
    found = _rules(_release(name="a.shop", **own))
    text = json.dumps(found)
    for gone in (
        '"default',
        "pixelpipe-hits",
        "pixelpipe-rows",
        "pixelpipe-dead",
        "my-project",
        '"pixelpipe\\',
        "runbooks/",
    ):
        assert gone not in text, gone
    assert 'namespace=\\"web\\",release=\\"a.shop\\"' in text
    recorded = {(rule.get("record"), *sorted(rule["labels"].values())): rule["expr"] for rule in found}
    assert recorded["pixelpipe:slo_objective:ratio", "a.shop", "availability", "web"] == "vector(0.95)"
    assert float(recorded["pixelpipe:quota:bytes_per_second", "a.shop", "append", "web"][7:-1]) == 3e9
    assert recorded["pixelpipe:price:dollars_per_tib", "a.shop", "pubsub", "web"] == "vector(12.5)"
    assert recorded["pixelpipe:slo_objective:in_flight_seconds", "a.shop", "web"] == "vector(900)"
    assert 'le=~\\"600(' in text and 'le=~\\"10(' not in text and "longer than 600 s" in text
    assert "https://wiki.example.com/PixelpipeLedgerOff.md" in text


def test_gke_takes_the_rules() -> None:
    (rules,) = _release().of("Rules")
    test_schemas.definitions()["monitoring.googleapis.com/v1/Rules"].validate(rules)


def test_autoscalers_that_rules_look_at_are_those_the_chart_makes() -> None:
    for name in ("pixelpipe", "shop", "a.shop"):
        found = _release(name=name)
        text = json.dumps(_rules(found))
        for part in ("processor", "loader"):
            made = found.one("HorizontalPodAutoscaler", part)["metadata"]["name"]
            assert f'(keda-hpa-)?{made}\\"' in text


def test_grafana_is_given_every_dashboard() -> None:
    found = _release(pubsub={"hitsSubscription": "other-hits"})
    maps = [doc for doc in found.of("ConfigMap") if doc["metadata"]["labels"].get("grafana_dashboard") == "1"]
    data = {name: json.loads(text) for doc in maps for name, text in doc["data"].items()}
    assert set(data) == {file.name for file in boards.FILES}
    assert data["loader.json"] == boards.board("loader")
    assert "other-hits" in json.dumps(data["pipeline.json"])


def test_without_the_daily_job_nobody_waits_for_its_report() -> None:
    alerts = {rule.get("alert") for rule in _rules(_release(reconcile={"enabled": False}))}
    assert "PixelpipeCountsDiffer" not in alerts
    assert "absent_over_time" not in json.dumps(_rules(_release(reconcile={"enabled": False})))


def test_series_are_told_apart_by_release() -> None:
    labels = _release().one("PodMonitoring")["spec"]["targetLabels"]
    assert labels == {"fromPod": [{"from": "app.kubernetes.io/instance", "to": "release"}]}


def test_the_operators_prometheus_tells_them_apart_too() -> None:
    """Unlike Google's it is told to in terms of relabelling."""
    (endpoint,) = _release(podMonitor={"enabled": True}).one("PodMonitor")["spec"]["podMetricsEndpoints"]
    (rule,) = endpoint["relabelings"]
    assert rule["targetLabel"] == "release"
    assert rule["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"]


@pytest.mark.parametrize("kind", ["gmp", "prometheusOperator"])
def test_a_prometheus_picks_its_objects_by_label(kind: str) -> None:
    """As that of kube-prometheus-stack does."""
    labels = {"release": "prometheus"}
    switched = {"podMonitor": {"enabled": True, "labels": labels}, "observability": {"rules": {"labels": labels}}}
    for doc in _release(kind, **switched).of("PodMonitor", "PrometheusRule", "Rules", "GlobalRules"):
        assert doc["metadata"]["labels"]["release"] == "prometheus"
        assert doc["metadata"]["labels"]["app.kubernetes.io/instance"] == "pixelpipe"


def test_a_cluster_without_either_prometheus_is_asked_for_nothing_it_lacks() -> None:
    """By default every object is of Kubernetes itself: Helm refuses a release with a kind that a cluster lacks."""
    groups = {doc["apiVersion"].rpartition("/")[0] for doc in release.case("minimal").docs}
    assert groups <= {"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io"}
    operator = {"podMonitoring": {"enabled": False}, "podMonitor": {"enabled": True}}
    google = {"monitoring.googleapis.com/v1"}
    assert not google & {doc["apiVersion"] for doc in _release("prometheusOperator", **operator).docs}
    assert "monitoring.coreos.com/v1" not in {doc["apiVersion"] for doc in _release("gmp").docs}


def test_two_releases_in_a_namespace_have_nothing_in_common() -> None:
    """No object, no group of rules, no series that one of them records and both would read."""
    found = [_release(name=name) for name in ("pixelpipe", "a.shop")]
    objects = [{(doc["kind"], doc["metadata"]["name"]) for doc in one.docs} for one in found]
    assert not objects[0] & objects[1]
    groups = [
        {group["name"] for doc in one.of("Rules", "GlobalRules") for group in doc["spec"]["groups"]} for one in found
    ]
    assert not groups[0] & groups[1]
    for one, name in zip(found, ("pixelpipe", "a.shop"), strict=True):
        for rule in _rules(one):
            read = set(re.findall(r'release="([^"]*)"', rule["expr"]))
            assert read <= {name}, rule
            if "record" in rule and not read:
                assert rule["labels"]["release"] == name, rule


def test_prices_are_those_that_ops_cost_reckons_with() -> None:
    values = yaml.safe_load((release.CHART / "values.yaml").read_text())["observability"]["prices"]
    assert values["pubsub"] == prices.PUBSUB_TIB
    assert values["append"] == pytest.approx(prices.WRITE_GIB * 1024)
    recorded = {rule["labels"]["price"]: rule["expr"] for rule in _plain() if "price" in rule["labels"]}
    assert recorded == {name: f"vector({value})" for name, value in values.items()}
