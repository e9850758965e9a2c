"""Helm's own lint and yamllint have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import helm_python
import pytest

from tests.chart import release
from tests.chart.release import CASES, CHART, GOLDEN
from tests.process import ROOT


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_is_content(case: str) -> None:
    report = helm_python.lint(CHART, release.values_of(case), strict=True, namespace="web", kube_version="v1.30.0")
    assert report["errors"] == []
    # An icon is for those who publish charts.
    assert [one["error"] for one in report["messages"] if "icon is recommended" not in one["error"]] == []


def test_helm_lint_would_find_something() -> None:
    report = helm_python.lint(CHART, {"projct": "x"}, strict=True)
    assert any("projct" in one["error"] for one in report["messages"])


def test_yamllint_is_content() -> None:
    files = [CHART / "Chart.yaml", *CHART.glob("values*.yaml"), *(CHART / "ci").glob("*.yaml"), *GOLDEN.glob("*.yaml")]
    command = [str(Path(sys.executable).parent / "yamllint"), "--strict", "skaffold.yaml", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout + done.stderr == ""
