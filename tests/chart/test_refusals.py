"""Bad values are refused: a typo by its name, a contradiction by its fix, and in one line where the chart speaks."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.chart import release
from tests.chart.release import merged

GOOD = {"project": "my-project"}


def refused(values: dict[str, Any], name: str = "pixelpipe") -> str:
    with pytest.raises(helm_python.HelmError) as caught:
        release.render(values, name=name)
    return str(caught.value)


def test_a_missing_project_is_one_clear_line() -> None:
    for values in ({}, {"project": ""}):
        text = refused(values)
        assert "project is not set: --set project=YOUR_PROJECT" in text
        assert len(text.strip().splitlines()) == 1, text


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"projct": "x"}, "projct"),
        ({"collector": {"replica": 3}}, "replica"),
        ({"collector": {"settings": {"publishTimout": 1}}}, "publishTimout"),
        ({"processor": {"settings": {"lingerSeconds": 1}}}, "lingerSeconds"),
        ({"provision": {"settings": {"dataset": "other"}}}, "dataset"),
        ({"processor": {"kind": "StatefulSet"}}, "kind"),
        ({"collector": {"image": {"tags": "1"}}}, "tags"),
        ({"collector": {"spool": {"persistent": True}}}, "persistent"),
        ({"loader": {"serviceAccount": {"annotation": {}}}}, "annotation"),
        ({"loader": {"autoscaling": {"minReplicas": 1}}}, "minReplicas"),
        ({"autoscaling": {"enabled": True}}, "enabled"),
        ({"gateway": {"host": "pixel.example.com"}}, "host"),
        ({"ops": {"resources": {"request": {}}}}, "request"),
        ({"emulators": {"bigtable": {}}}, "bigtable"),
        ({"networkPolicy": {"scraper": []}}, "scraper"),
        ({"tracing": {"url": "http://collector:4318"}}, "url"),
    ],
)
def test_a_typo_is_named(values: dict[str, Any], name: str) -> None:
    text = refused(merged(GOOD, values))
    assert f"'{name}' not allowed" in text


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"project": "My Project"}, "/project"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"collector": {"replicas": "2"}}, "/collector/replicas"),
        ({"collector": {"settings": {"lingerSeconds": 2}}}, "/collector/settings/lingerSeconds"),
        ({"collector": {"settings": {"ack": "later"}}}, "/collector/settings/ack"),
        ({"collector": {"settings": {"headers": "referer"}}}, "/collector/settings/headers"),
        ({"collector": {"settings": {"headers": ["a,b"]}}}, "/collector/settings/headers/0"),
        ({"processor": {"settings": {"logLevel": "loud"}}}, "/processor/settings/logLevel"),
        ({"collector": {"spool": {"size": "2G"}}}, "/collector/spool/size"),
        ({"loader": {"image": {"digest": "abc"}}}, "/loader/image/digest"),
        ({"bigquery": {"dataset": "my-data"}}, "/bigquery/dataset"),
        ({"pubsub": {"hitsTopic": "no"}}, "/pubsub/hitsTopic"),
        ({"gateway": {"hosts": ["https://pixel.example.com"]}}, "/gateway/hosts/0"),
        ({"gateway": {"certificates": ["pixel,track"]}}, "/gateway/certificates/0"),
        ({"collector": {"autoscaling": {"min": 0}}}, "/collector/autoscaling/min"),
        ({"emulators": {"image": {"tag": "latest"}}}, "/emulators/image/tag"),
        ({"compact": {"schedule": "daily"}}, "/compact/schedule"),
        ({"reconcile": {"schedule": "daily"}}, "/reconcile/schedule"),
        ({"reconcile": {"mail": {"to": "a@example.com\nBcc: b@example.com"}}}, "/reconcile/mail/to"),
        ({"reconcile": {"mail": {"server": "smtps://user:password@smtp.example.com"}}}, "/reconcile/mail/server"),
        ({"tracing": {"endpoint": "collector:4318"}}, "/tracing/endpoint"),
        ({"tracing": {"endpoint": "http://collector:4318", "ratio": 1.5}}, "/tracing/ratio"),
    ],
)
def test_a_wrong_value_is_found_by_its_path(values: dict[str, Any], path: str) -> None:
    assert f"'{path}'" in refused(merged(GOOD, values))


REGIONAL = "gke-l7-regional-external-managed"
CONTRADICTIONS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"autoscaling": {"keda": {"enabled": True}}},
        "set autoscaling.hpa.enabled=false or autoscaling.keda.enabled=false",
        {"autoscaling": {"hpa": {"enabled": False}}},
    ),
    (
        {"autoscaling": {"hpa": {"enabled": False, "backlog": True}}},
        "set autoscaling.hpa.enabled=true",
        {"autoscaling": {"hpa": {"enabled": True}}},
    ),
    (
        {"gateway": {"enabled": True}, "ingress": {"enabled": True, "hosts": ["pixel.example.com"]}},
        "set gateway.enabled=false or ingress.enabled=false",
        {"gateway": {"enabled": False}},
    ),
    (
        {"ingress": {"enabled": True}},
        "set ingress.hosts={pixel.example.com}",
        {"ingress": {"hosts": ["pixel.example.com"]}},
    ),
    (
        {"gateway": {"enabled": True, "existing": {"name": "web"}, "address": "pixel"}},
        "unset them or that",
        {"gateway": {"address": ""}},
    ),
    (
        {"gateway": {"enabled": True, "existing": {"name": "web"}, "className": REGIONAL, "certificates": ["pixel"]}},
        "unset them or that",
        {"gateway": {"certificates": []}},
    ),
    (
        {"gateway": {"enabled": True, "className": REGIONAL, "certificateMap": "pixel"}},
        "set gateway.certificates={NAME}",
        {"gateway": {"certificates": ["pixel"], "certificateMap": ""}},
    ),
    (
        {"gateway": {"enabled": True, "certificates": ["pixel"]}},
        f"set gateway.className={REGIONAL}",
        {"gateway": {"className": REGIONAL}},
    ),
    (
        {"gateway": {"enabled": True, "className": REGIONAL}, "networkPolicy": {"enabled": True}},
        "set networkPolicy.from[0].ipBlock.cidr",
        {"networkPolicy": {"from": [{"ipBlock": {"cidr": "192.168.254.0/23"}}]}},
    ),
    (
        {"collector": {"spool": {"storage": "persistent"}}},
        "set collector.kind=StatefulSet, or collector.spool.storage=emptyDir",
        {"collector": {"kind": "StatefulSet"}},
    ),
    (
        {"collector": {"kind": "StatefulSet"}},
        "collector.spool.storage=persistent, or collector.kind=Deployment",
        {"collector": {"spool": {"storage": "persistent"}}},
    ),
    (
        {"collector": {"kind": "StatefulSet", "spool": {"enabled": False, "storage": "persistent"}}},
        "set collector.spool.enabled=true",
        {"collector": {"spool": {"enabled": True}}},
    ),
    (
        {"collector": {"spool": {"size": "1Gi"}}},
        "set collector.spool.size=1280Mi",
        {"collector": {"spool": {"size": "1280Mi"}}},
    ),
    (
        {"reconcile": {"mail": {"to": "team@example.com"}}},
        "set reconcile.mail.from and reconcile.mail.server",
        {"reconcile": {"mail": {"from": "pixelpipe@example.com", "server": "smtps://smtp.example.com"}}},
    ),
    (
        {"reconcile": {"mail": {"to": "a@example.com", "from": "b@example.com", "server": "smtp://user@example.com"}}},
        "set both smtps://USER@HOST and reconcile.mail.passwordSecret",
        {"reconcile": {"mail": {"passwordSecret": "mail"}}},
    ),
    (
        {"loader": {"autoscaling": {"min": 22}}},
        "set loader.autoscaling.max=22",
        {"loader": {"autoscaling": {"max": 22}}},
    ),
    (
        {"processor": {"autoscaling": {"min": 0}}},
        "set autoscaling.hpa.backlog=true, or processor.autoscaling.min=1",
        {"processor": {"autoscaling": {"min": 1}}},
    ),
    (
        {"processor": {"autoscaling": {"min": 0}}, "autoscaling": {"hpa": {"backlog": True}}},
        "set processor.autoscaling.min=1, or let KEDA scale",
        {"processor": {"autoscaling": {"min": 1}}},
    ),
]


@pytest.mark.parametrize(("values", "fix", "repaired"), CONTRADICTIONS)
def test_a_contradiction_is_refused_with_the_fix_that_mends_it(
    values: dict[str, Any], fix: str, repaired: dict[str, Any]
) -> None:
    text = refused(merged(GOOD, values))
    assert fix in text
    assert len(text.strip().splitlines()) == 1, text
    assert release.render(merged(GOOD, values, repaired))


def test_a_name_no_service_can_have_is_refused() -> None:
    assert "set fullnameOverride" in refused(GOOD, name="7")
    assert release.render({**GOOD, "fullnameOverride": "seven"}, name="7")
