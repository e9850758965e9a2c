"""What the chart decides by the cluster it meets: named templates of it, called with what a cluster would say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest

from tests.chart.release import CHART

Call = Callable[[str, Any], str]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Calls a named template in a copy of the chart. `lookup` finds nothing here: no cluster is asked."""
    copy = tmp_path_factory.mktemp("chart") / "pixelpipe"
    shutil.copytree(CHART, copy)
    for file in copy.glob("templates/*.yaml"):
        file.unlink()
    shutil.rmtree(copy / "templates" / "tests")

    def called(name: str, argument: Any) -> str:
        text = json.dumps({"argument": argument})
        Path(copy, "templates", "probe.yaml").write_text(
            f'said: {{{{ `{text}` | fromJson | dig "argument" "" | include "{name}" | quote }}}}\n'
        )
        with helm_python.Chart.load(copy) as chart:
            rendered = chart.render(values={"project": "my-project"}, name="x", namespace="y")
        (said,) = [part for path, part in rendered.items() if path.endswith("probe.yaml")]
        return str(json.loads(said.removeprefix("said: ")))

    return called


@pytest.mark.parametrize(
    ("version", "may"),
    [("v1.30.4", "false"), ("v1.36.2-gke.100", "false"), ("v1.37.0-gke.1", "true"), ("v1.37.1", "true")],
)
def test_an_autoscaler_goes_to_zero_where_kubernetes_lets_it(version: str, may: str, call: Call) -> None:
    assert call("pixelpipe.scalesToZero", version) == may


HPA = {"autoscaling": {"hpa": {"enabled": True}, "keda": {"enabled": False}}}
KEDA = {"autoscaling": {"hpa": {"enabled": False}, "keda": {"enabled": True}}}
NONE = {"autoscaling": {"hpa": {"enabled": False}, "keda": {"enabled": False}}}


@pytest.mark.parametrize(
    ("values", "live", "replicas"),
    [
        (HPA, {}, ""),  # an install, or `helm template`: the autoscaler's business
        (HPA, {"running": 7}, "7"),  # switched on, or an upgrade: as many as run
        (HPA, {"running": 7, "autoscaler": True}, "7"),
        (KEDA, {"running": 0, "autoscaler": True, "keda": True}, "0"),
        (HPA, {"running": 0}, "0"),  # someone's pause
        (HPA, {"running": 0, "autoscaler": True, "keda": True, "min": 1}, "1"),  # from KEDA: it would stay at 0
        (HPA, {"running": 0, "autoscaler": True, "keda": True, "min": 0}, "0"),  # it may start from there by itself
        (HPA, {"running": 7, "autoscaler": True, "keda": True, "min": 1}, "7"),
        (NONE, {}, "2"),
        (NONE, {"running": 7}, "2"),  # nobody but the values scales it
        (NONE, {"running": 7, "autoscaler": True}, "7"),  # switched off: not fewer at once
        (NONE, {"running": 1, "autoscaler": True}, "2"),
    ],
)
def test_switching_an_autoscaler_shrinks_nothing(
    values: dict[str, Any], live: dict[str, Any], replicas: str, call: Call
) -> None:
    assert call("pixelpipe.replicas", {"values": values, "wanted": 2, **live}) == replicas
