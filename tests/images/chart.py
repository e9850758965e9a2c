"""The dev release as the chart renders it, run by podman: what a pod asks for is what its containers get.

All pods share one network namespace with nothing but loopback in it. Names of Services are addresses of loopback there,
and `forward.py` does what a Service does: it hands the Service's port on to the container's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.chart import release
from tests.chart.release import Doc, Release
from tests.images import build
from tests.images.build import podman
from tests.process import ROOT, wait_for

FORWARD = ROOT / "tests" / "images" / "forward.py"
READY_SECONDS = 120


class Cluster:
    """Runs the pods of a release; everything it started ends with `stack`, all its files are in `folder`."""

    def __init__(self, found: Release, folder: Path, stack: ExitStack) -> None:
        self._found, self._folder, self._stack = found, folder, stack
        self._network = ""  # the container whose network namespace all share, and a process in it
        self._pid = 0
        self._files = {doc["metadata"]["name"]: doc["data"] for doc in found.of("ConfigMap")}
        self._hosts = folder / "hosts"
        services = found.of("Service")
        self._addresses = {doc["metadata"]["name"]: f"127.1.0.{number}" for number, doc in enumerate(services, 1)}
        lines = [f"{address} {name}" for name, address in self._addresses.items()]
        self._hosts.write_text("127.0.0.1 localhost\n" + "\n".join(lines) + "\n")

    def start(self, owner: Doc) -> str:
        """Start the pod that an object makes and wait for its probes; the id of its last container."""
        (pod,) = [pod for doc, pod in self._found.pods() if doc is owner]
        spec, volumes = pod["spec"], self._volumes(owner["metadata"]["name"], pod["spec"])
        for one in spec.get("initContainers", []):
            first = self._create(spec, one, volumes)
            podman("start", first)
            assert _ended(first) == 0, _logs(first)
        for one in spec["containers"]:
            last = self._create(spec, one, volumes)
            podman("start", last)
            if not self._network:
                self._network, self._pid = last, int(_state(last, "Pid"))
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in one:
                    self._wait(last, one, one[probe])
        return last

    def expose(self, service: Doc) -> None:
        """Hand on what comes to a Service's ports; one of the container's own number needs nothing."""
        address = self._addresses[service["metadata"]["name"]]
        for port in service["spec"]["ports"]:
            target = self._port(service, port["targetPort"])
            if port["port"] == target:
                continue
            process = subprocess.Popen(
                [*self._inside(), sys.executable, str(FORWARD), address, str(port["port"]), str(target)]
            )
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)

    def ends(self, owner: Doc, timeout: float) -> tuple[int, str]:
        """Run the pod of a Job or a test to its end: the exit code and what it printed."""
        one = self.start(owner)
        return _ended(one, timeout), _logs(one)

    def _inside(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._pid}/ns/net"]

    def _port(self, service: Doc, name: str) -> int:
        wanted = service["spec"]["selector"].items()
        (pod,) = [pod for _, pod in self._found.pods() if wanted <= pod["metadata"]["labels"].items()]
        (port,) = [
            port["containerPort"] for one in pod["spec"]["containers"] for port in one["ports"] if port["name"] == name
        ]
        return int(port)

    def _wait(self, id: str, container: Doc, probe: Doc) -> None:
        """Until the probe succeeds, asked as the kubelet asks."""
        kind, asked = next((key, probe[key]) for key in ("httpGet", "tcpSocket") if key in probe)
        (port,) = [one["containerPort"] for one in container["ports"] if one["name"] == asked["port"]]
        program = (
            f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}{asked['path']}', timeout=5)"
            if kind == "httpGet"
            else f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        )

        def succeeds() -> bool:
            assert _state(id, "Status") == "running", f"{container['name']} ended:\n{_logs(id)}"
            command = [*self._inside(), sys.executable, "-c", program]
            return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

        wait_for(succeeds, READY_SECONDS, f"{container['name']} to answer its probe {probe}")

    def _volumes(self, pod: str, spec: Doc) -> dict[str, Path]:
        """A folder for each volume, as the kubelet makes them: an emptyDir belongs to the pod's group."""
        found = {}
        for volume in spec["volumes"]:
            folder = found[volume["name"]] = self._folder / pod / volume["name"]
            folder.mkdir(parents=True)
            if "configMap" in volume:
                for name, text in self._files[volume["configMap"]["name"]].items():
                    (folder / name).write_text(text)
                folder.chmod(0o755)
            else:
                assert set(volume) == {"name", "emptyDir"}, volume
                os.chown(folder, 0, spec["securityContext"]["fsGroup"])
                folder.chmod(0o2770)
        return found

    def _create(self, spec: Doc, container: Doc, volumes: dict[str, Path]) -> str:
        security, pod = container["securityContext"], spec["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = [f"--volume={self._hosts}:/etc/hosts:ro"]
        for mount in container["volumeMounts"]:
            ending = ":ro" if mount.get("readOnly") else ""
            mounts.append(f"--volume={volumes[mount['name']]}:{mount['mountPath']}{ending}")
        command = [*container["command"], *container.get("args", [])]
        (image,) = re.findall(r"^pixelpipe-(\w+):", container["image"])
        return podman(
            *("create", "--pull=never", "--runtime=runc"),
            f"--network=container:{self._network}" if self._network else "--network=none",
            *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
            f"--user={pod['runAsUser']}:{pod['runAsGroup']}",
            f"--group-add={pod['fsGroup']}",
            f"--entrypoint={json.dumps(command)}",
            *mounts,
            *build.ulimits(),
            *build.environment(release.env(container) if "env" in container else {}),
            build.reference(image),
        ).strip()


def _state(id: str, field: str) -> str:
    return podman("inspect", "--format", "{{.State." + field + "}}", id).strip()


def _ended(id: str, timeout: float = 120) -> int:
    return int(podman("wait", id, timeout=timeout).strip())


def _logs(id: str) -> str:
    return build.run("sh", "-c", 'exec "$@" 2>&1', "logs", "podman", *build.STORAGE, "logs", id)
