"""skaffold.yaml and the chart agree: images, values, ports, the smoke test, and code that is synced."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import release
from tests.chart.release import CHART, Release, merged
from tests.process import ROOT, wait_for

SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
PROFILES = {profile["name"]: profile for profile in SKAFFOLD["profiles"]}
DIGEST = f"sha256:{'a' * 64}"


def artifacts(profile: str) -> dict[str, dict[str, Any]]:
    build = PROFILES[profile]["build"]
    return {one["image"]: one for one in build.get("artifacts", SKAFFOLD["build"]["artifacts"])}


def deployed(profile: str) -> Release:
    """The release that a profile makes, with what skaffold would fill in."""
    (one,) = PROFILES[profile]["deploy"]["helm"]["releases"]
    assert one["chartPath"] == str(CHART.relative_to(ROOT))
    layers = [release.load(ROOT / file) for file in one["valuesFiles"]]
    for path, file in one.get("setFiles", {}).items():
        layers.append(_at(path, (ROOT / file).read_text()))
    for path, value in one.get("setValues", {}).items():
        layers.append(_at(path, value))
    for path, template in one["setValueTemplates"].items():
        layers.append(_at(path, _fill(template, artifacts(profile), pushed=profile == "gke")))
    return release.release(merged(*layers), name=one["name"])


def _at(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    found: dict[str, Any] = value
    return found


def _fill(template: str, images: dict[str, Any], *, pushed: bool) -> str:
    if template == "{{.PROJECT}}":
        return "my-project"
    match = re.fullmatch(r"\{\{\.IMAGE_(REPO|TAG|DIGEST)_(\w+)\}\}", template)
    assert match, template
    image = {re.sub(r"[-/.:]", "_", name): name for name in images}[match[2]]
    repository = f"us-docker.pkg.dev/my-project/pixelpipe/{image}" if pushed else image
    return {"REPO": repository, "TAG": "0123abcd", "DIGEST": DIGEST if pushed else ""}[match[1]]


@pytest.mark.parametrize("profile", ["dev", "gke"])
def test_every_image_of_ours_is_built_and_every_built_image_is_used(profile: str) -> None:
    used = {
        re.sub(r"^.*/|[:@].*$", "", container["image"])
        for _, pod in deployed(profile).pods()
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    }
    assert used == set(artifacts(profile))


@pytest.mark.parametrize("profile", ["dev", "gke"])
def test_images_are_exactly_those_that_were_built(profile: str) -> None:
    for _, pod in deployed(profile).pods():
        for container in pod["spec"]["containers"]:
            assert container["image"].endswith(f"@{DIGEST}" if profile == "gke" else ":0123abcd")
            assert container["image"].startswith("us-docker.pkg.dev/" if profile == "gke" else "pixelpipe-")


@pytest.mark.parametrize("profile", ["dev", "gke"])
def test_artifacts_say_which_service_they_are(profile: str) -> None:
    for image, one in artifacts(profile).items():
        service = image.removeprefix("pixelpipe-")
        module = {"MODULE": "emulators"} if service == "emulators" else {}
        assert one["docker"]["buildArgs"] == {"SERVICE": service, **module}
        assert one["docker"]["dockerfile"] == "services/Dockerfile"


def test_dev_comes_by_itself_with_emulators_and_without_an_autoscaler() -> None:
    assert PROFILES["dev"]["activation"] == [{"command": "dev"}]
    found = deployed("dev")
    assert {doc["metadata"]["name"] for doc in found.of("Deployment")} >= {"pixelpipe-pubsub", "pixelpipe-bigquery"}
    assert found.one("Job", "provision")
    assert not found.of("HorizontalPodAutoscaler", "ScaledObject")


def test_ports_are_forwarded_to_services_and_pods_that_are_there() -> None:
    found = deployed("dev")
    for one in PROFILES["dev"]["portForward"]:
        if one["resourceType"] == "service":
            ports = {port["port"] for port in found.one("Service", one["resourceName"])["spec"]["ports"]}
        else:
            pod = found.one("Deployment", one["resourceName"])["spec"]["template"]
            ports = {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert one["port"] in ports
    local = [one["localPort"] for one in PROFILES["dev"]["portForward"]]
    assert len(set(local)) == len(local)
    assert {8080, 9050, 9101, 9102, 9103} <= set(local)


@pytest.mark.parametrize("profile", ["dev", "gke"])
def test_verify_runs_the_smoke_test_against_the_collectors_service(profile: str) -> None:
    (one,) = PROFILES[profile].get("verify", SKAFFOLD["verify"])
    container, found = one["container"], deployed(profile)
    assert container["image"] in artifacts(profile)
    in_chart = found.one("Pod", "smoke")["spec"]["containers"][0]
    assert [*container["command"], *container["args"]] == in_chart["command"]
    here, there = release.env(in_chart), {var["name"]: var["value"] for var in container.get("env", [])}
    assert there.items() <= here.items()
    assert ("BIGQUERY_EMULATOR_HOST" in there) == (profile == "dev")


def test_what_is_synced_is_what_the_image_would_carry() -> None:
    """Each pattern finds files, and puts them where `python -m services.NAME` finds them."""
    for image, one in artifacts("dev").items():
        service = image.removeprefix("pixelpipe-")
        if service in {"ops", "emulators"}:
            assert "sync" not in one
            continue
        for rule in one["sync"]["manual"]:
            assert rule["dest"] == "/app" and "strip" not in rule
            files = list(ROOT.glob(rule["src"]))
            assert files
            assert {file.relative_to(ROOT).parts[1] for file in files} <= {service, "shared"}
        (hook,) = one["sync"]["hooks"]["after"]
        assert hook["container"]["command"] == ["sh", "-c", "kill $(cat /tmp/pid)"]


def test_a_synced_process_starts_again_and_the_container_still_ends(tmp_path: Path) -> None:
    """The command of the chart, with a Python that only counts its starts; the hook's command; then SIGTERM."""
    (container,) = deployed("dev").one("Deployment", "collector")["spec"]["template"]["spec"]["containers"]
    shell, flag, script = container["command"]
    assert (shell, flag) == ("sh", "-c")
    starts, pid = tmp_path / "starts", tmp_path / "pid"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{starts}\nexec sleep 600\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    running = subprocess.Popen([shell, flag, script.replace("/tmp/pid", str(pid))], env=environment)

    def started(times: int) -> bool:
        there = starts.exists() and pid.exists() and pid.read_text().strip() != ""
        return there and starts.read_text().splitlines() == ["-m services.collector"] * times

    try:
        wait_for(lambda: started(1), 60, "the first start")
        wait_for(lambda: not _kill(pid), 60, "the hook")
        wait_for(lambda: started(2), 60, "the second start")
        running.send_signal(signal.SIGTERM)
        running.wait(40)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
    finally:
        running.kill()
        running.wait(10)


def _kill(pid: Path) -> int:
    return subprocess.run(["sh", "-c", f"kill $(cat {pid})"], capture_output=True, timeout=60).returncode
