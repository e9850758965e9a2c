"""What services/Dockerfile copies into each image, held to what the code imports; no image is built for it."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.images import build
from tests.process import ROOT
from tests.test_arrows import ALLOWED

RECIPE = (ROOT / "services" / "Dockerfile").read_text()
IGNORED = (ROOT / "services" / "Dockerfile.dockerignore").read_text().splitlines()
# Other programs that an image starts by name: the hook and the commands of the chart.
PROGRAMS = {"ops": ("services.ops", "services.provision"), "emulators": ("emulators",)}


def _stages() -> dict[str, tuple[str, list[str]]]:
    """By name: the stage it goes on from, and what it copies from the checkout."""
    stages: dict[str, tuple[str, list[str]]] = {}
    for block in re.split(r"(?m)^FROM ", RECIPE)[1:]:
        head = re.match(r"(\S+)(?: AS (\S+))?", block)
        assert head
        copied = re.findall(r"(?m)^COPY (?!--from)(\S+) \S+$", block)
        stages[head[2] or "final"] = (head[1], copied)
    return stages


def _copied(image: str) -> set[str]:
    """Paths of the checkout that are in an image's /app."""
    stages, name, found = _stages(), f"{image}-code", set[str]()
    while name != "scratch":
        name, paths = stages[name]
        found |= set(paths)
    return found


def _file(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    if (path / "__init__.py").exists():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


@cache
def _imports(path: Path) -> set[str]:
    """Every module that a file may import, in functions too, and not those for the type checker alone."""
    found, skipped = set[str](), set[ast.AST]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {child for part in node.body for child in ast.walk(part)}
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


@cache
def _needed(image: str) -> tuple[set[str], set[str]]:
    """What an image's programs import, directly or not: files of the checkout, and modules of packages."""
    waiting = [f"{program}.__main__" for program in PROGRAMS.get(image, (f"services.{image}",))]
    if image in PROGRAMS:  # these import the module of a command by its name
        waiting += [
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for program in PROGRAMS[image]
            for path in (ROOT / program.replace(".", "/")).rglob("*.py")
        ]
    files, foreign, seen = set[str](), set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen or not module:
            continue
        seen.add(module)
        if module.partition(".")[0] not in ("services", "emulators"):
            foreign.add(module)
        elif path := _file(module):
            files.add(str(path.relative_to(ROOT)))
            waiting += [*_imports(path), module.rpartition(".")[0]]
    return files, foreign


@cache
def _owners() -> dict[str, set[str]]:
    """Distributions by the module that they hold, as dotted names down to packages and files."""
    owners: dict[str, set[str]] = {}
    for one in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        for file in one.files or ():
            if file.suffix in (".py", ".so"):
                parts = [*file.parts[:-1], file.name.partition(".")[0]]
                owners.setdefault(".".join(parts).removesuffix(".__init__"), set()).add(name)
    return owners


def _distributions(module: str) -> set[str]:
    """Who brings a module; the longest known part of its name decides, since `google` has many owners."""
    while module:
        if found := _owners().get(module):
            return found
        module = module.rpartition(".")[0]
    return set()


@pytest.mark.parametrize("image", build.IMAGES)
def test_an_image_carries_the_code_that_its_programs_import(image: str) -> None:
    copied = _copied(image)
    missing = {
        file for file in _needed(image)[0] if not any(str(up) in copied for up in (Path(file), *Path(file).parents))
    }
    assert not missing


@pytest.mark.parametrize("image", build.IMAGES)
def test_an_image_carries_no_code_that_its_arrows_leave_out(image: str) -> None:
    parts = {Path(path).name for path in _copied(image) if (ROOT / path).is_dir()}
    assert parts == ALLOWED[image] | {image}


@pytest.mark.parametrize("image", build.IMAGES)
def test_who_reads_the_schema_file_has_it(image: str) -> None:
    reads = "services/shared/schema_file.py" in _needed(image)[0]
    assert ("schema.yaml" in _copied(image)) == reads


@pytest.mark.parametrize("image", build.IMAGES)
def test_an_images_lock_names_every_package_that_its_programs_import(image: str) -> None:
    lock = build.locked(image)
    wanted = {module: found for module in _needed(image)[1] if (found := _distributions(module))}
    assert "google-cloud-pubsub" in set().union(*wanted.values())
    assert not {module: found for module, found in wanted.items() if not found & lock}


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_an_images_packages_are_those_that_the_tests_run_on(lock: Path) -> None:
    found, tested = build.versions(lock.stem), build.versions("dev")
    assert found
    assert {name: (version, tested.get(name)) for name, version in found.items() if tested.get(name) != version} == {}


def test_only_the_emulators_image_has_their_packages() -> None:
    for image in build.IMAGES:
        assert ({"duckdb", "sqlglot"} <= build.locked(image)) == (image == "emulators")
        assert not {"pytest", "pip", "setuptools", "mypy"} & build.locked(image)


def test_the_context_has_all_that_is_copied_and_starts_from_nothing() -> None:
    assert "*" in IGNORED[:2]
    kept = {line[1:] for line in IGNORED if line.startswith("!")}
    for _, copied in _stages().values():
        for path in copied:
            assert path.split("/")[0] in kept, path


def test_the_base_is_a_tag_of_its_own_and_the_user_a_number() -> None:
    base = re.search(r"(?m)^ARG BASE_IMAGE=\S+/python:(\S+)$", RECIPE)
    assert base
    assert re.fullmatch(r"3\.\d+-slim-[a-z]+", base[1])
    assert base[1].endswith(build.SUITE)
    assert re.search(r"(?m)^USER 65532:65532$", RECIPE)
    assert re.search(r'(?m)^CMD \["pixelpipe"\]$', RECIPE)


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "the dev lock brings it"
    done = subprocess.run([hadolint, "services/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
