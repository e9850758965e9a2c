"""The schema file in the release: as it was given, seen by all who read it, and wrong ones stopped in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.shared.schema import DEFAULT_FILE
from tests.chart import release
from tests.chart.release import Doc, Release
from tests.process import ROOT

GOOD = {"project": "my-project"}
TEXTS = {
    "default": DEFAULT_FILE.read_text(),
    "indented": "  tables:\n    events: {}\n",
    "templates": 'tables: {events: {description: "{{ .Values.project }} # \'"}}\n',
    "tail": "tables: {}\n\n\n",
    "unicode": "tables: {events: {description: Größe · 大きさ}}\n",
}


def texts(found: Release) -> list[str]:
    return [doc["data"]["schema.yaml"] for doc in found.of("ConfigMap")]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_arrives_as_it_was_given(text: str) -> None:
    given = "" if text == TEXTS["default"] else text
    found = texts(release.release({**GOOD, "schema": given}))
    assert len(found) == 2
    assert {one.rstrip("\n") for one in found} == {text.rstrip("\n")}


def test_a_change_rolls_the_pods_that_read_it_and_no_others() -> None:
    before, after = (release.release({**GOOD, "schema": text}) for text in ("", TEXTS["unicode"]))
    changed = {
        doc["metadata"]["name"]
        for doc in before.of("Deployment")
        if _template(doc) != _template(after.one("Deployment", doc["metadata"]["name"]))
    }
    assert changed == {"pixelpipe-processor", "pixelpipe-loader"}


def test_a_file_that_does_not_parse_ends_the_upgrade_before_any_pod_is_replaced(tmp_path: Path) -> None:
    """The Job is a hook that Helm waits for; its command, with its variables and its file, fails at once."""
    found = release.release({**GOOD, "schema": "tables: [\n"})
    job = found.one("Job", "provision")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    file = tmp_path / "schema.yaml"
    file.write_text(found.one("ConfigMap", "provision")["data"]["schema.yaml"])
    command = [sys.executable, *container["command"][1:]]
    environment = {**os.environ, **release.env(container), "PIPE_SCHEMA": str(file)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"{file}:2:1" in done.stderr


def _template(doc: Doc) -> Doc:
    template: Doc = doc["spec"]["template"]
    return template
