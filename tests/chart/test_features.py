"""What each case of ci/ without a golden render is there to show."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart import release
from tests.chart.release import KEPT, Doc, Release, case, env
from tests.process import ROOT

SERVICES = ("collector", "processor", "loader")


def container(found: Release, name: str) -> Doc:
    """The only container of this name."""
    (one,) = [one for _, pod in found.pods() for one in pod["spec"]["containers"] if one["name"] == name]
    return one


def names(found: Release) -> set[tuple[str, str]]:
    return {(doc["kind"], doc["metadata"]["name"]) for doc in found.docs}


def notes(name: str) -> str:
    return release.documents(release.values_of(name))["NOTES"]


def test_every_case_is_kept_whole_or_has_its_test() -> None:
    here = {
        "bare",
        "gateway",
        "guarded",
        "hpa-backlog",
        "ingress",
        "keda",
        "own",
        "regional",
        "shared-gateway",
        "sync",
        "values-small",
    }
    assert here | set(KEPT) == set(release.CASES)
    assert not here & set(KEPT)


def test_the_small_release_asks_for_little_and_keeps_two_collectors() -> None:
    found = case("values-small")
    for name in SERVICES:
        (container,) = found.one("Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"]["cpu"] == "50m"
        assert "cpu" not in container["resources"]["limits"]
    assert found.one("HorizontalPodAutoscaler", "collector")["spec"]["minReplicas"] == 2
    assert len(found.of("PodDisruptionBudget")) == 3


def test_what_the_document_adds_to_the_small_release_scales_its_pullers_to_zero() -> None:
    section = (ROOT / "docs" / "cost.md").read_text().partition("\n## Up to 50 hits a second\n")[2]
    (block,) = re.findall(r"```yaml\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    more = yaml.safe_load(block)
    small = release.values_of("values-small")
    scaled = release.release(release.merged(small, more))
    assert not scaled.of("HorizontalPodAutoscaler")
    assert [scaled.one("ScaledObject", name)["spec"]["minReplicaCount"] for name in SERVICES] == [2, 0, 0]
    del more["autoscaling"]
    with pytest.raises(helm_python.HelmError, match="scales to 0 only by what waits"):
        release.render(release.merged(small, more))


def test_all_that_can_be_left_out_is() -> None:
    found = case("bare")
    assert {doc["kind"] for doc in found.docs} == {"ConfigMap", "Deployment", "Pod", "Service", "ServiceAccount"}
    assert [doc["metadata"]["name"] for doc in found.of("ServiceAccount")] == ["pixelpipe-ops"]
    for name in SERVICES:
        spec = found.one("Deployment", name)["spec"]
        assert spec["template"]["spec"]["serviceAccountName"] == "pixels"
        assert spec["replicas"] == (3 if name == "collector" else 2)
    collector = found.one("Deployment", "collector")["spec"]["template"]["spec"]
    assert "PIPE_SPOOL" not in env(collector["containers"][0])
    assert [volume["name"] for volume in collector["volumes"]] == ["tmp", "schema"]
    assert "ephemeral-storage" not in str(collector["containers"][0]["resources"])
    assert "answered 503" in notes("bare")
    assert "python -m services.provision" in notes("bare")


def test_a_gateway_has_https_limits_and_googles_health_check() -> None:
    found = case("gateway")
    gateway = found.one("Gateway")
    assert gateway["metadata"]["annotations"] == {"networking.gke.io/certmap": "pixel"}
    assert gateway["spec"]["addresses"] == [{"type": "NamedAddress", "value": "pixel"}]
    assert [(one["protocol"], one["port"]) for one in gateway["spec"]["listeners"]] == [("HTTP", 80), ("HTTPS", 443)]
    assert found.one("HTTPRoute")["spec"]["hostnames"] == ["pixel.example.com"]
    policy = found.one("GCPBackendPolicy")["spec"]["default"]
    assert (policy["maxRatePerEndpoint"], policy["securityPolicy"]) == (1500, "pixel")
    check = found.one("HealthCheckPolicy")["spec"]["default"]["config"]
    assert check["httpHealthCheck"] == {"portSpecification": "USE_SERVING_PORT", "requestPath": "/robots.txt"}
    assert 'src="https://pixel.example.com/pixel.gif' in notes("gateway")
    assert "WARNING" not in notes("gateway")


ASKING = release.SCHEMA_FILE.read_text().replace(
    "      params:", "      country: {type: STRING, from: geo.country}\n      params:", 1
)
PLACE = "{client_region},{client_region_subdivision},{client_city}"


def test_a_regional_gateway_has_certificates_of_its_region() -> None:
    gateway = case("regional").one("Gateway")
    assert gateway["spec"]["gatewayClassName"] == "gke-l7-regional-external-managed"
    assert "annotations" not in gateway["metadata"]
    plain, secure = gateway["spec"]["listeners"]
    assert plain["protocol"] == "HTTP" and "tls" not in plain
    assert secure["tls"] == {"mode": "Terminate", "options": {"networking.gke.io/cert-manager-certs": "pixel,null"}}
    # Its requests come from the proxy-only subnet, its health checks from Google's networks.
    (public, _scraped) = case("regional").one("NetworkPolicy", "collector")["spec"]["ingress"]
    networks = {peer["ipBlock"]["cidr"] for peer in public["from"] if "ipBlock" in peer}
    assert networks == {"130.211.0.0/22", "35.191.0.0/16", "192.168.254.0/23"}
    assert "WARNING" not in notes("regional")


def test_an_external_load_balancer_says_where_clients_are_if_a_column_asks() -> None:
    """Google bills custom headers by the request, so there is none that nobody reads."""
    assert "filters" not in case("gateway").one("HTTPRoute")["spec"]["rules"][0]
    assert "customRequestHeaders" not in case("ingress").one("BackendConfig")["spec"]

    def asked(values: release.Values, name: str) -> Any:
        return yaml.safe_load(release.documents({**values, "schema": ASKING})[f"{name} pixelpipe-collector"])["spec"]

    for name in ("gateway", "regional", "shared-gateway"):
        (rule,) = asked(release.values_of(name), "HTTPRoute")["rules"]
        assert rule["filters"] == [
            {
                "type": "RequestHeaderModifier",
                "requestHeaderModifier": {"set": [{"name": "X-Client-Geo-Location", "value": PLACE}]},
            }
        ]
    headers = asked(release.values_of("ingress"), "BackendConfig")["customRequestHeaders"]["headers"]
    assert headers == [f"X-Client-Geo-Location:{PLACE}"]
    inside = release.merged(
        release.values_of("gateway"), {"gateway": {"className": "gke-l7-rilb", "certificateMap": ""}}
    )
    assert "filters" not in asked(inside, "HTTPRoute")["rules"][0]


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, ["Expose the"]),
        ({"gateway": {"enabled": True, "certificateMap": "pixel"}}, []),
        ({"gateway": {"enabled": True, "className": "gke-l7-rilb"}}, ["Expose the"]),
        ({"gateway": {"enabled": True}, "collector": {"settings": {"headers": ["referer"]}}}, ["Add"]),
        ({"processor": {"settings": {"geoDatabase": "/places/GeoLite2-City.mmdb"}}}, []),
    ],
)
def test_columns_of_places_that_nothing_fills_are_warned_about(more: dict[str, Any], warned: list[str]) -> None:
    values = release.merged(release.values_of("minimal"), more)
    found = release.documents({**values, "schema": ASKING})["NOTES"]
    assert re.findall(r"columns from geo\.\*, .*will be NULL\.\s(Add|Expose the)\b", found) == warned
    assert "geo.*" not in release.documents(values)["NOTES"]


def test_a_route_joins_a_gateway_of_others() -> None:
    found = case("shared-gateway")
    assert not found.of("Gateway")
    route = found.one("HTTPRoute")["spec"]
    assert [(one["namespace"], one["name"]) for one in route["parentRefs"]] == [("gateways", "web")]
    assert "hostnames" not in route
    policy = found.one("GCPBackendPolicy")["spec"]["default"]
    assert not {"maxRatePerEndpoint", "securityPolicy"} & set(policy)
    assert found.one("HealthCheckPolicy")


def test_an_ingress_has_its_certificate_and_backend() -> None:
    found, hosts = case("ingress"), ["pixel.example.com", "pixel.example.org"]
    ingress = found.one("Ingress")
    assert ingress["metadata"]["annotations"] == {
        "kubernetes.io/ingress.class": "gce",
        "networking.gke.io/managed-certificates": "pixelpipe-collector",
        "kubernetes.io/ingress.global-static-ip-name": "pixel",
    }
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == hosts
    assert found.one("ManagedCertificate")["spec"]["domains"] == hosts
    backend = found.one("BackendConfig")["spec"]
    assert (backend["healthCheck"]["port"], backend["healthCheck"]["requestPath"]) == (8080, "/robots.txt")
    assert backend["securityPolicy"] == {"name": "pixel"}
    assert found.one("Service", "collector")["metadata"]["annotations"] == {
        "cloud.google.com/backend-config": '{"default":"pixelpipe-collector"}',
        "cloud.google.com/neg": '{"ingress": true}',
        "example.com/owner": "web",
    }


def test_a_network_policy_admits_balancers_scrapers_and_whom_it_is_told() -> None:
    found = case("guarded")
    google = {"130.211.0.0/22", "35.191.0.0/16"}
    for name, port in zip((*SERVICES, "reconcile"), (9101, 9102, 9103, 9104), strict=True):
        policy = found.one("NetworkPolicy", name)["spec"]
        assert policy["policyTypes"] == ["Ingress"]
        *public, scraped = policy["ingress"]
        assert scraped["ports"] == [{"port": port, "protocol": "TCP"}]
        (scrapers,) = scraped["from"]
        (chosen,) = scrapers["namespaceSelector"]["matchExpressions"]
        assert chosen["values"] == ["gmp-system", "gke-gmp-system"]
        if name != "collector":
            assert not public
            continue
        (rule,) = public
        assert rule["ports"] == [{"port": 8080, "protocol": "TCP"}]
        assert {peer["ipBlock"]["cidr"] for peer in rule["from"] if "ipBlock" in peer} == google
        assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}} in rule["from"]
    no_job = {"networkPolicy": {"enabled": True}, "reconcile": {"enabled": False}}
    bare = release.release({"project": "my-project", **no_job})
    assert len(bare.of("NetworkPolicy")) == 3
    assert found.one("PodMonitoring")["spec"]["endpoints"][0]["interval"] == "15s"
    assert found.one("PodMonitor")["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [({}, 75), ({"podMonitor": "2m"}, 255), ({"podMonitoring": "5s"}, 75), ({"podMonitor": "30m"}, 1800)],
)
def test_the_daily_job_is_there_for_two_scrapes(intervals: dict[str, str], seconds: int) -> None:
    """On its own port, which each Prometheus finds by its name; nothing sends requests there. Half of its time is left
    for the report."""
    values = {"project": "my-project", **{kind: {"interval": interval} for kind, interval in intervals.items()}}
    found = release.release(values)
    job = container(found, "reconcile")
    assert job["ports"] == [{"name": "admin", "containerPort": 9104, "protocol": "TCP"}]
    assert found.one("CronJob", "reconcile")["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] >= 2 * seconds
    served = job["command"][job["command"].index("--metrics") :]
    assert served == ["--metrics", "0.0.0.0:9104", "--metrics-seconds", str(seconds)]
    assert "ports" not in container(found, "compact")


def test_pullers_are_scaled_on_cpu_and_on_what_waits_for_them() -> None:
    found = case("hpa-backlog")
    waiting = {"processor": ("pixelpipe-hits-processor", "100"), "loader": ("pixelpipe-rows-loader", "200")}
    for name, (subscription, packs) in waiting.items():
        cpu, backlog = found.one("HorizontalPodAutoscaler", name)["spec"]["metrics"]
        assert cpu["resource"]["name"] == "cpu"
        assert backlog["external"] == {
            "metric": {
                "name": "pubsub.googleapis.com|subscription|num_undelivered_messages",
                "selector": {"matchLabels": {"resource.labels.subscription_id": subscription}},
            },
            "target": {"type": "AverageValue", "averageValue": packs},
        }
    assert len(found.one("HorizontalPodAutoscaler", "collector")["spec"]["metrics"]) == 1


def test_keda_scales_pullers_to_zero_and_the_collector_never() -> None:
    found = case("keda")
    assert not found.of("HorizontalPodAutoscaler")
    scaled = {name: found.one("ScaledObject", name)["spec"] for name in SERVICES}
    assert {name: spec["minReplicaCount"] for name, spec in scaled.items()} == {
        "collector": 2,
        "processor": 0,
        "loader": 0,
    }
    assert [trigger["type"] for trigger in scaled["collector"]["triggers"]] == ["cpu"]
    for name, subscription in (("processor", "pixelpipe-hits-processor"), ("loader", "pixelpipe-rows-loader")):
        cpu, backlog = scaled[name]["triggers"]
        assert (cpu["type"], backlog["type"]) == ("cpu", "prometheus")
        assert f'subscription_id="{subscription}"' in backlog["metadata"]["query"]
        assert "/projects/my-project/" in backlog["metadata"]["serverAddress"]
    assert found.one("TriggerAuthentication")["spec"] == {"podIdentity": {"provider": "gcp"}}


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("collector", f"europe-docker.pkg.dev/images/my-project/pixelpipe-collector@sha256:{'a' * 64}"),
        ("processor", "example.com/processors/pixel:7"),
        ("loader", "europe-docker.pkg.dev/images/my-project/pixelpipe-loader:2026-03-01.1"),
    ],
)
def test_images_are_those_that_were_named(name: str, image: str) -> None:
    one = container(case("own"), name)
    assert (one["image"], one["imagePullPolicy"]) == (image, "Always")


def test_names_pods_and_tasks_are_as_someone_wants_them() -> None:
    found = case("own")
    assert all(name.startswith("pixels-") for _, name in names(found))
    assert all(pod["spec"]["imagePullSecrets"] == [{"name": "registry"}] for _, pod in found.pods())
    schema = {doc["data"]["schema.yaml"] for doc in found.of("ConfigMap")}
    assert schema == {release.values_of("own")["schema"]}
    own: dict[str, Any] = release.values_of("own")["processor"]
    pod = found.one("Deployment", "processor")["spec"]["template"]
    assert pod["metadata"]["annotations"].items() >= own["podAnnotations"].items()
    assert (pod["spec"]["nodeSelector"], pod["spec"]["tolerations"]) == (own["nodeSelector"], own["tolerations"])
    assert own["extraVolumes"][0] in pod["spec"]["volumes"]
    assert own["extraVolumeMounts"][0] in container(found, "processor")["volumeMounts"]
    account = found.one("ServiceAccount", "processor")
    assert account["metadata"]["annotations"] == own["serviceAccount"]["annotations"]
    resources = container(found, "collector")["resources"]
    assert resources["limits"]["ephemeral-storage"] == "4Gi" and resources["requests"]["cpu"] == 1
    assert found.one("CronJob", "compact")["spec"]["schedule"] == "0 8 * * *"
    assert found.one("CronJob", "reconcile")["spec"]["schedule"] == "50 7 * * *"
    webhook = {"name": "PIPE_WEBHOOK", "valueFrom": {"secretKeyRef": {"name": "report-webhook", "key": "url"}}}
    password = {"name": "PIPE_MAIL_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "report-mail", "key": "password"}}}
    for one in (webhook, password):
        assert one in container(found, "reconcile")["env"] and one not in container(found, "compact")["env"]
    mail = container(found, "reconcile")["command"][-6:]
    server = "smtps://reports%40example.com@smtp.example.com"
    assert mail == ["--mail-to", "team@example.com", "--mail-from", "pixelpipe@example.com", "--mail-server", server]
    smoke = found.one("Pod", "smoke")["spec"]["containers"][0]["command"]
    assert smoke[-4:] == ["--wait", "60", "--query", "user=smoke&kind=test"]
    assert env(container(found, "provision"))["PIPE_LOCATION"] == "europe-west4"
    assert {env(container(found, name))["PIPE_DATASET"] for name in ("loader", "compact")} == {"shop"}
    assert env(container(found, "processor"))["PIPE_HITS_SUBSCRIPTION"] == "shop-hits-processor"
    assert env(container(found, "collector"))["PIPE_HASH_KEY_FILE"] == "/hash-keys/keys"
    hash_keys = {"name": "hash-keys", "secret": {"secretName": "hash-keys", "defaultMode": 0o440}}
    assert hash_keys in found.one("Deployment", "collector")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "hash-keys", "mountPath": "/hash-keys", "readOnly": True} in container(found, "collector")[
        "volumeMounts"
    ]
    assert "--dataset shop" in notes("own") and "given with this release" in notes("own")


def test_code_can_be_synced_into_running_pods() -> None:
    found = case("sync")
    assert {doc["metadata"]["name"] for doc in found.of("Deployment")} >= {"pixelpipe-pubsub", "pixelpipe-bigquery"}
    for name in SERVICES:
        pod = found.one("Deployment", name)["spec"]["template"]["spec"]
        (first,) = pod["initContainers"]
        assert first["command"] == ["cp", "-r", "/app/services", "/code/"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(found, name)["volumeMounts"]}
        assert mounts["code"] == "/app"
        shell, _, script = container(found, name)["command"]
        assert shell == "sh" and f"python -m services.{name} &" in script and "trap" in script


def test_the_ledger_allows_for_what_no_scrape_has_seen() -> None:
    """A killed pod takes what it counted since with it: as many seconds as lie between two scrapes."""
    default, gke = release.load(release.CHART / "values.yaml"), release.load(release.CHART / "values-gke.yaml")
    for values in (default, release.merged(default, gke)):
        interval = int(values["podMonitoring"]["interval"].removesuffix("s"))
        assert values["observability"]["slo"]["inFlightSeconds"] >= 30 + interval
