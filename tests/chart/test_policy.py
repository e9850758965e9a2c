"""What every pod, Service and policy of every case must be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.shared import config, tracing
from tests.chart import release, settings
from tests.chart.release import CASES, Doc, Release

SERVICES = ("collector", "processor", "loader")
EMULATORS = {"PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"}

pytestmark = pytest.mark.parametrize("case", CASES)


def containers(found: Release) -> Iterator[tuple[Doc, Doc, Doc]]:
    """Each container with the object that makes it and its pod."""
    for owner, pod in found.pods():
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            yield owner, pod, container


def test_every_pod_is_restricted(case: str) -> None:
    """The restricted pod security standard, and a disk that cannot be written to."""
    for owner, pod, container in containers(release.case(case)):
        where = f"{owner['kind']} {owner['metadata']['name']}"
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, where
        assert security["runAsUser"] == security["runAsGroup"] == 65532, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, where
        assert pod["spec"]["automountServiceAccountToken"] is False, where
        assert pod["spec"]["enableServiceLinks"] is False, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), where
        assert all("hostPath" not in volume for volume in pod["spec"]["volumes"]), where


def test_every_container_has_its_resources(case: str) -> None:
    for _, _, container in containers(release.case(case)):
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"]), container["name"]
        assert "memory" in resources["limits"], container["name"]
        for name, limit in resources["limits"].items():
            assert _quantity(resources["requests"].get(name, limit)) <= _quantity(limit), (container["name"], name)


def test_every_image_has_a_version(case: str) -> None:
    for _, _, container in containers(release.case(case)):
        image = container["image"]
        assert re.search(r"(@sha256:[0-9a-f]{64}|:[\w][\w.-]*)$", image), image
        assert not image.endswith(":latest"), image
        assert "{" not in image, image


def test_every_container_says_what_it_runs(case: str) -> None:
    """An image's own command may change; SIGTERM must reach Python, so no shell but for the development loop."""
    for _, _, container in containers(release.case(case)):
        if case == "sync" and container["name"] in {*SERVICES, "code"}:
            continue
        assert container["command"][0] == "python", container["name"]


def test_every_server_has_its_probes(case: str) -> None:
    for owner, _, container in containers(release.case(case)):
        if owner["kind"] in {"Deployment", "StatefulSet"} and container["name"] != "code":
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                (way,) = {"httpGet", "tcpSocket"} & set(container[probe])
                assert container[probe][way]["port"] in ports
            if container["name"] in SERVICES:
                assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
                assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}


def test_every_port_is_the_one_the_service_listens_on(case: str) -> None:
    """Container ports, variables, scraping and the code agree; the admin port is in no Service."""
    found = release.case(case)
    for _, pod, container in containers(found):
        if container["name"] in SERVICES:
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            variables = release.env(container)
            assert str(ports["admin"]) == variables["PIPE_ADMIN_PORT"]
            assert pod["metadata"]["annotations"]["prometheus.io/port"] == variables["PIPE_ADMIN_PORT"]
            default = {field.name: field.default for field in settings.every(container["name"])}
            assert ports["admin"] == default["admin_port"]
            if container["name"] == "collector":
                assert ports["http"] == default["port"] == int(variables["PIPE_PORT"])
            else:
                assert set(ports) == {"admin"}
    for service in found.of("Service"):
        (pod,) = {id(pod): pod for _, pod in found.pods() if _selects(service["spec"]["selector"], pod)}.values()
        named = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in named - {"admin"}
            assert port["protocol"] == "TCP"


def test_every_selector_selects_one_components_pods(case: str) -> None:
    found = release.case(case)
    pods = [pod for _, pod in found.pods()]
    for owner, pod in found.pods():
        if owner["kind"] in {"Deployment", "StatefulSet"}:
            wanted = owner["spec"]["selector"]["matchLabels"]
            assert [one for one in pods if _selects(wanted, one)] == [pod]
            assert set(wanted) == {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}
            for spread in pod["spec"].get("topologySpreadConstraints", []):
                assert spread["labelSelector"]["matchLabels"] == wanted
    for doc in found.of("PodDisruptionBudget", "NetworkPolicy"):
        selector = doc["spec"].get("selector") or doc["spec"]["podSelector"]
        assert len([pod for pod in pods if _selects(selector["matchLabels"], pod)]) == 1, doc["metadata"]["name"]
        for peer in [peer for rule in doc["spec"].get("ingress", []) for peer in rule["from"] if "podSelector" in peer]:
            assert [pod for pod in pods if _selects(peer["podSelector"]["matchLabels"], pod)]
    for doc in found.of("PodMonitoring", "PodMonitor"):
        (endpoint,) = doc["spec"].get("endpoints") or doc["spec"]["podMetricsEndpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("admin", "/metrics")
        (expression,) = doc["spec"]["selector"]["matchExpressions"]
        assert sorted(expression["values"]) == sorted((*SERVICES, "reconcile"))
        chosen = [pod for pod in pods if _selects(doc["spec"]["selector"]["matchLabels"], pod)]
        by_component = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in chosen}
        assert set(by_component) >= {*SERVICES, "reconcile"}
        for name in expression["values"]:  # each has the port, or it would not be found
            assert "admin" in {
                port["name"] for one in by_component[name]["spec"]["containers"] for port in one["ports"]
            }


def test_every_reference_is_to_something_that_is_there(case: str) -> None:
    found = release.case(case)
    there = {(doc["kind"], doc["metadata"]["name"]) for doc in found.docs}
    for doc in found.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = doc["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in there
        for trigger in doc["spec"].get("triggers", []):
            if "authenticationRef" in trigger:
                assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in there
    for doc in found.of("HealthCheckPolicy", "GCPBackendPolicy"):
        assert (doc["spec"]["targetRef"]["kind"], doc["spec"]["targetRef"]["name"]) in there
    for doc in found.of("HTTPRoute"):
        (rule,) = doc["spec"]["rules"]
        assert [("Service", one["name"]) in there for one in rule["backendRefs"]] == [True]
        (parent,) = doc["spec"]["parentRefs"]
        assert (("Gateway", parent["name"]) in there) == (parent["namespace"] == "web")
    for doc in found.of("StatefulSet"):
        assert ("Service", doc["spec"]["serviceName"]) in there
    for doc in found.of("Ingress"):
        certificate = doc["metadata"]["annotations"]["networking.gke.io/managed-certificates"]
        assert ("ManagedCertificate", certificate) in there
        for rule in doc["spec"]["rules"]:
            (path,) = rule["http"]["paths"]
            service = found.one("Service", path["backend"]["service"]["name"])
            assert path["backend"]["service"]["port"]["name"] in {one["name"] for one in service["spec"]["ports"]}
            assert f'"{certificate}"' in service["metadata"]["annotations"]["cloud.google.com/backend-config"]


def test_every_account_is_made_or_meant_to_be_there(case: str) -> None:
    found = release.case(case)
    made = {doc["metadata"]["name"]: doc for doc in found.of("ServiceAccount")}
    values = release.values_of(case)
    for owner, pod in found.pods():
        name = pod["spec"].get("serviceAccountName")
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        if name is None:
            assert component in {"pubsub", "bigquery"}
        elif values.get(component, {}).get("serviceAccount", {}).get("create") is not False:
            hooked = "helm.sh/hook" in made[name]["metadata"].get("annotations", {})
            early = owner["metadata"].get("annotations", {}).get("helm.sh/hook", "test") != "test"
            assert hooked == early, "a hook's account must be a hook, and no other may be: it would go with it"


def test_nobody_may_ask_kubernetes_anything(case: str) -> None:
    assert not release.case(case).of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Secret")


def test_every_mount_has_its_volume_and_every_key_its_file(case: str) -> None:
    found = release.case(case)
    files = {doc["metadata"]["name"]: set(doc["data"]) for doc in found.of("ConfigMap")}
    for owner, pod, container in containers(found):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        claims = {one["metadata"]["name"] for one in owner["spec"].get("volumeClaimTemplates", [])}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) <= set(volumes) | claims
        for volume in volumes.values():
            if not volume.get("configMap", {}).get("optional") and "configMap" in volume:
                assert volume["configMap"]["name"] in files
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), "an emptyDir without a bound"
        if "env" not in container:
            continue
        variables = release.env(container)
        if "PIPE_SCHEMA" in variables:
            folder, _, file = variables["PIPE_SCHEMA"].rpartition("/")
            assert file in files[volumes[mounts[folder]]["configMap"]["name"]]
        if "PIPE_SPOOL" in variables:
            assert variables["PIPE_SPOOL"] in mounts


def test_every_variable_is_a_setting_and_is_accepted(case: str) -> None:
    for _, _, container in containers(release.case(case)):
        name = container["name"]
        if "env" not in container:
            continue
        variables = release.env(container)
        pipe = {key: value for key, value in variables.items() if key.startswith("PIPE_")}
        traces = {key: value for key, value in variables.items() if key.startswith("OTEL_")}
        assert set(variables) - set(pipe) - set(traces) <= EMULATORS
        if name in settings.SERVICES:
            config.read(settings.type_of(name), pipe)  # refuses what it does not know, and what it cannot take
        else:
            assert set(pipe) - {"PIPE_WEBHOOK", "PIPE_MAIL_PASSWORD"} == {"PIPE_PROJECT", "PIPE_DATASET", "PIPE_SCHEMA"}
        assert (set(variables) >= EMULATORS) == release.values_of(case).get("emulators", {}).get("enabled", False)


def test_the_services_are_told_where_traces_go_and_nobody_else(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = release.values_of(case).get("tracing", {})
    for _, _, container in containers(release.case(case)):
        traces: dict[str, str] = (
            {key: value for key, value in release.env(container).items() if key.startswith("OTEL_")}
            if "env" in container
            else {}
        )
        if container["name"] not in SERVICES or not wanted:
            assert not traces
            continue
        assert traces.pop("OTEL_SERVICE_NAME") == f"pixels-{container['name']}"  # the name of the Deployment
        assert traces == {
            "OTEL_EXPORTER_OTLP_ENDPOINT": wanted["endpoint"],
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(wanted["ratio"]),
        }
        for key, value in traces.items():
            monkeypatch.setenv(key, value)
        tracing.start(container["name"], "p")  # raises what a service would
        assert tracing.on
        tracing.stop()


def test_a_pods_end_leaves_time_for_all_that_the_service_does(case: str) -> None:
    for _, pod, container in containers(release.case(case)):
        if container["name"] in SERVICES and "env" in container:
            variables = release.env(container)
            needed = float(variables["PIPE_SHUTDOWN_TIMEOUT_SECONDS"]) + 15  # services/loader/README.md
            if container["name"] == "collector":
                needed += (
                    float(variables["PIPE_DRAIN_DELAY_SECONDS"])
                    + float(variables["PIPE_SHUTDOWN_TIMEOUT_SECONDS"])
                    + 10
                )
            assert needed <= pod["spec"]["terminationGracePeriodSeconds"] < needed + 3
            assert "lifecycle" not in container, "a hook that sleeps would add to the time that drain takes"


def test_the_balancer_drains_while_the_collector_serves(case: str) -> None:
    found = release.case(case)
    for doc in found.of("GCPBackendPolicy", "BackendConfig"):
        draining = doc["spec"].get("default", doc["spec"])["connectionDraining"]["drainingTimeoutSec"]
        for _, _, container in containers(found):
            if container["name"] == "collector":
                variables = release.env(container)
                assert draining == float(variables["PIPE_DRAIN_DELAY_SECONDS"]) + float(
                    variables["PIPE_SHUTDOWN_TIMEOUT_SECONDS"]
                )


def test_the_balancer_keeps_no_log_of_its_own(case: str) -> None:
    """GKE's Ingress logs every request unless it is told not to: whole addresses and URLs, and half a dollar a GiB."""
    found = release.case(case)
    for doc in found.of("GCPBackendPolicy"):
        assert doc["spec"]["default"]["logging"] == {"enabled": False}
    for doc in found.of("BackendConfig"):
        assert doc["spec"]["logging"] == {"enable": False}


def test_replicas_are_set_where_nothing_else_sets_them(case: str) -> None:
    found = release.case(case)
    scaled = {doc["spec"]["scaleTargetRef"]["name"] for doc in found.of("HorizontalPodAutoscaler", "ScaledObject")}
    for doc in found.of("Deployment", "StatefulSet"):
        assert ("replicas" in doc["spec"]) == (doc["metadata"]["name"] not in scaled)


def test_every_object_is_in_the_releases_namespace_with_its_labels(case: str) -> None:
    for doc in release.case(case).docs:
        assert doc["metadata"]["namespace"] == "web", doc["kind"]
        labels = doc["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "pixelpipe"
        assert all(isinstance(value, str) and len(value) <= 63 for value in labels.values())
        assert all(isinstance(value, str) for value in doc["metadata"].get("annotations", {}).values())


def test_hooks_come_in_order_and_leave(case: str) -> None:
    """What a Job needs has less weight than it, comes with it, and is made anew each time."""
    hooks = [doc for doc in release.case(case).docs if "helm.sh/hook" in doc["metadata"].get("annotations", {})]
    for doc in hooks:
        notes = doc["metadata"]["annotations"]
        # What succeeded goes, so that nothing is left after `helm uninstall`.
        assert notes["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        if doc["kind"] in {"Job", "Pod"}:
            pod = doc["spec"]["template"]["spec"] if doc["kind"] == "Job" else doc["spec"]
            assert all(one["terminationMessagePolicy"] == "FallbackToLogsOnError" for one in pod["containers"])
        if doc["kind"] == "Job":
            emulated = release.values_of(case).get("emulators", {}).get("enabled", False)
            assert notes["helm.sh/hook"] == ("post-install,post-upgrade" if emulated else "pre-install,pre-upgrade")
            for other in hooks:
                theirs = other["metadata"]["annotations"]
                if other["kind"] in {"ServiceAccount", "ConfigMap"}:
                    assert theirs["helm.sh/hook"] == notes["helm.sh/hook"]
                    assert int(theirs["helm.sh/hook-weight"]) < int(notes["helm.sh/hook-weight"])


def _selects(labels: dict[str, str], pod: Doc) -> bool:
    return labels.items() <= pod["metadata"]["labels"].items()


_UNITS = {"m": 1e-3, "": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def _quantity(value: Any) -> float:
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", str(value))
    assert match, value
    return float(match[1]) * _UNITS[match[2]]
