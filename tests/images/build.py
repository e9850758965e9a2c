"""Builds the images with buildah, without a daemon and without an image registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import services
from tests.process import ROOT

IMAGES = ("collector", "processor", "loader", "ops", "emulators")
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
DATA = ROOT / ".local" / "images"
SUITE = "trixie"  # the Debian whose Python is the one of the recipe's BASE_IMAGE
BASE = f"localhost/pixelpipe-base:{SUITE}"
# A storage of our own, that `make clean` removes; vfs needs nothing of the kernel.
STORAGE = ("--root", str(DATA / "storage"), "--runroot", str(DATA / "run"), "--storage-driver", "vfs")
# So that pip in a build reaches the package index as it does on this machine.
_PIP = (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt"))


class Failed(Exception):
    """A command did not end well; the text has its output."""


def run(*command: str, timeout: float = 600, given: str | None = None) -> str:
    """The command's stdout. Raises Failed with all it said, or when it takes longer."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, input=given
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} took more than {timeout:.0f} s:\n{error.stderr!r}") from None
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def podman(*arguments: str, timeout: float = 120, given: str | None = None) -> str:
    return run("podman", *STORAGE, *arguments, timeout=timeout, given=given)


def missing() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def module(image: str) -> str:
    """What the image's process is: a service, but for the emulators."""
    return image if image == "emulators" else f"services.{image}"


def reference(image: str) -> str:
    return f"localhost/pixelpipe-{image}:test"


def base() -> None:
    """A small Debian with Python and nothing of ours, standing in for the official Python image."""
    tar = DATA / f"base-{SUITE}.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        partial = tar.with_name("partial-" + tar.name)
        include = "--include=python3,python3-venv,ca-certificates"
        run("mmdebstrap", "--quiet", "--variant=minbase", include, SUITE, str(partial))
        partial.replace(tar)
    if subprocess.run(("podman", *STORAGE, "image", "exists", BASE), check=False, timeout=60).returncode:
        podman("import", "--quiet", str(tar), BASE)


def build(image: str) -> None:
    """One image by services/Dockerfile, on our base."""
    mounts = [f"--volume={path}:{path}:ro" for path in _PIP if path.exists()]
    arguments = {
        "BASE_IMAGE": BASE,
        "SERVICE": image,
        "MODULE": module(image),
        "VERSION": services.__version__,
        "REVISION": _revision(),
    }
    run(
        *("buildah", *STORAGE, "bud", "--isolation=chroot", "--layers=false", "--pull-never", "--quiet"),
        *("--ignorefile", "services/Dockerfile.dockerignore", *mounts),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        *("--tag", reference(image), "--file", "services/Dockerfile", "."),
    )


def _revision() -> str:
    try:
        return run("git", "rev-parse", "HEAD").strip()
    except (Failed, FileNotFoundError):
        return "unknown"


def size(name: str) -> int:
    """Bytes of an image, unpacked."""
    return int(podman("image", "inspect", "--format", "{{.Size}}", name))


def versions(lock: str) -> dict[str, str]:
    """The distributions of a lock with their versions."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)", text)
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in found}


def locked(image: str) -> set[str]:
    """The distributions an image may carry, by its lock."""
    return set(versions(image))


def clear() -> None:
    """Remove what builds left beside the images, and containers of a run that was cut off."""
    for container in podman("ps", "--all", "--quiet").split():  # with those that share its network, which are gone then
        podman("rm", "--depend", "--force", "--ignore", "--time", "0", container, timeout=600)
    podman("image", "prune", "--force", timeout=600)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment(pairs: dict[str, str]) -> Sequence[str]:
    return [f"--env={name}={value}" for name, value in pairs.items()]


def ulimits() -> Sequence[str]:
    """podman asks for more open files and processes than a sandbox may give."""
    limit = min(4096, os.sysconf("SC_OPEN_MAX"))
    return [f"--ulimit=nofile={limit}", "--ulimit=nproc=4096"]
