"""A schema file that is wrong ends the upgrade in the hook, before any pod is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart import release
from tests.process import ROOT

BROKEN = {
    "not YAML": ("tables: [\n", "not YAML"),
    "no tables": ("tabels: {}\n", "tables"),
    "a type that is none": ("tables: {events: {columns: {day: {type: DAY, from: event.day}}}}\n", "DAY"),
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_the_hook_refuses_a_broken_schema_file(broken: str, tmp_path: Path) -> None:
    """The Job's own command and environment, on the file its ConfigMap holds."""
    schema, said = BROKEN[broken]
    found = release.release({"project": "my-project", "schema": schema})
    job, config_map = found.one("Job", "provision"), found.one("ConfigMap", "provision")
    for doc in (job, config_map):
        assert "pre-upgrade" in doc["metadata"]["annotations"]["helm.sh/hook"]
    assert config_map["data"]["schema.yaml"] == schema
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and job["spec"]["backoffLimit"] <= 1, "it would not fail soon"
    (container,) = pod["containers"]
    for name, text in config_map["data"].items():
        (tmp_path / name).write_text(text)
    (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "schema"]
    variables = release.env(container)
    variables["PIPE_SCHEMA"] = str(tmp_path / Path(variables["PIPE_SCHEMA"]).relative_to(mount))
    python, *rest = container["command"]
    assert python == "python"
    done = subprocess.run([sys.executable, *rest], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
