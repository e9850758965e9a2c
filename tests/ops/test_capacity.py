"""`python -m services.ops capacity`: its values are ones that the chart takes, and they hold the rate."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from services.ops import capacity, capacity_model
from services.ops.__main__ import main
from tests.chart.release import CHART, merged, render


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """As Helm understands `--set a.b=c`."""
    whole: dict[str, Any] = {}
    for path, value in values.items():
        part: Any = value
        for key in reversed(path.split(".")):
            part = {key: part}
        whole = merged(whole, part)
    return whole


@pytest.mark.parametrize("rate", [0.01, 10, 1_000, 20_000, 1_000_000])
@pytest.mark.parametrize("minutes", [60, 10_000])
def test_the_chart_takes_what_is_printed(rate: float, minutes: float) -> None:
    plan = capacity_model.plan(rate, outage_seconds=minutes * 60)
    made = render({"project": "my-project", **nested(capacity.values(plan))})
    (document,) = (text for name, text in made.items() if name.endswith("autoscaling.yaml"))
    ranges = {}
    for scaler in filter(None, yaml.safe_load_all(document)):
        name = scaler["metadata"]["labels"]["app.kubernetes.io/component"]
        ranges[name] = scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]
    assert ranges == {name: (one.fewest, one.most) for name, one in plan.services.items()}


def test_requests_of_memory_fit_the_charts_limits() -> None:
    limits = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, service in capacity_model.plan(1_000_000).services.items():
        limit = limits[name]["resources"]["limits"]["memory"]
        mebibytes = int(limit[:-2]) * {"Mi": 1, "Gi": 1024}[limit[-2:]]
        assert service.pods.gib * 1024 <= mebibytes


@pytest.mark.parametrize("rate", [1, 100, 10_000, 1_000_000])
def test_the_most_pods_hold_the_peak_and_the_spool_the_outage(rate: float) -> None:
    plan = capacity_model.plan(rate, peak=7, outage_seconds=1800)
    for service in plan.services.values():
        assert service.most * service.pods.cpu * service.pods.target >= 7 * rate * service.pods.cpu_ms / 1000
        assert service.fewest <= service.on_average <= service.most
    twice = capacity_model.plan(rate, peak=7, outage_seconds=3600)
    assert twice.spool_bytes == pytest.approx(2 * plan.spool_bytes, rel=0.01)


def test_a_spool_that_no_emptydir_may_hold_gets_a_disk() -> None:
    """Autopilot gives a pod at most 10 GiB of its node's disk."""
    hours = capacity.values(capacity_model.plan(1_000, outage_seconds=24 * 3600))
    assert "collector.spool.size" in hours and "collector.spool.storage" not in hours
    days = capacity.values(capacity_model.plan(1_000, outage_seconds=4 * 24 * 3600))
    assert (days["collector.kind"], days["collector.spool.storage"]) == ("StatefulSet", "persistent")


def test_it_prints_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "--hits-per-second", "1000000"]) == 0
    text = capsys.readouterr().out
    assert (
        "of a small region's quota at the peak: ask Google for more" in text
        and "--set collector.autoscaling.min=350" in text
    )
    assert main(["capacity", "--hits-per-second", "1000000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["met_first"] == "BigQuery append"
    assert found["values"]["collector.autoscaling.min"] == found["pods"]["collector"] == 350


@pytest.mark.parametrize("wrong", [("--hits-per-second", "0"), ("--hits-per-second", "10", "--peak", "0.5")])
def test_what_is_no_rate_is_refused(wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["capacity", *wrong])
    assert refused.value.code == 2
    assert "use a number from" in capsys.readouterr().err
