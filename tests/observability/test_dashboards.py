"""Dashboards are fresh, complete, and about metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability import generate
from tests.observability import boards, unit
from tests.observability.boards import METRIC
from tests.process import ROOT

# What is exposed and not on any dashboard, and why.
NOT_SHOWN = {
    "process_virtual_memory_bytes": "the resident memory is what a limit counts",
    "process_max_fds": "a constant of the node",
    "process_start_time_seconds": "read by `pixelpipe ledger`",
}
FRESH = dict(generate.files())
UNITS = {"short", "s", "bytes", "Bps", "reqps", "wps", "cps", "percentunit", "currencyUSD"}
NAMES = [file.stem for file in boards.FILES]


def _exposed() -> set[str]:
    """Every metric of the services and their admin ports, histograms without their endings, and of the daily Job."""
    return {name for one in unit.EXPOSING for name in re.findall(r"^# TYPE (\S+)", unit.exposed(one), re.MULTILINE)}


def _rules() -> list[dict[str, str]]:
    groups = [group for path in unit.FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _used(expressions: list[str]) -> set[str]:
    found = {name for one in expressions for name in METRIC.findall(one)}
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


SHOWN = [target.expr for cloud in (True, False) for target in boards.targets(cloud=cloud)]


@pytest.mark.parametrize("path", FRESH, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_generated_is_fresh(path: Path) -> None:
    assert path.read_text() == FRESH[path], "run `make dashboards`, and look at what it changed"


def test_nothing_is_left_over() -> None:
    assert generate.left_over() == []
    assert {*boards.FILES, *unit.FILES} == set(FRESH)
    assert not [path for path in unit.FILES if "$" in path.read_text().replace("{{ $", "")], "a placeholder"


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_can_be_read_without_its_author(name: str) -> None:
    seen = set()
    for panel in boards.panels(name):
        title = panel["title"]
        assert title and title not in seen, title
        seen.add(title)
        assert re.fullmatch(r"\S.{9,}\.", panel["description"], re.DOTALL), title
        if panel["type"] == "text":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        assert panel["targets"], title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), title
        for target in panel["targets"]:
            assert target["legendFormat"], title
            assert "rate(" not in target["expr"] or "[$__rate_interval]" in target["expr"], title
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"], title


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_on_the_grid_and_not_on_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in boards.board(name)["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in boards.board(name)["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", [name for name in NAMES if name != "runbooks"])
def test_variables_choose_where_to_look(name: str) -> None:
    variables = {one["name"]: one for one in boards.board(name)["templating"]["list"]}
    assert list(variables) == ["datasource", "cluster", "namespace", "release"]
    for one in ("cluster", "namespace", "release"):
        assert variables[one]["allValue"] == ".*"  # also series without the label
    for panel in boards.panels(name):
        for target in panel["targets"]:
            ours = re.findall(r"\b(?:pixelpipe_|pixelpipe:|process_)[a-z0-9_:]+(.?)", target["expr"])
            assert set(ours) == {"{"} or not ours, panel["title"]
            for matchers in re.findall(r"\b(?:pixelpipe_|pixelpipe:|process_)[a-z0-9_:]+\{([^}]*)\}", target["expr"]):
                for variable in ("cluster", "namespace", "release"):
                    assert f'{variable}=~"${variable}"' in matchers, panel["title"]


# Not followed of Grafana's dashboard-linter: template-job-rule, template-instance-rule, target-job-rule and
# target-instance-rule. A release has three jobs, which whoever scrapes them names, and pods come and go: the label
# `release` finds them all, and where a panel tells pods apart it does so by `pod`.


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_read_only_and_asks_for_its_variables_anew(name: str) -> None:
    """The linter's uneditable-dashboard, template-datasource-rule and template-on-time-change-reload-rule."""
    board = boards.board(name)
    assert board["editable"] is False
    source, *others = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    for one in others:
        assert one["type"] == "query"
        assert one["refresh"] == 2, "when the time range changes"


def test_counters_are_seen_as_rates() -> None:
    """The linter's target-counter-agg-rule: a counter by itself says when its pod was started, and little more."""
    for target in [*boards.targets(cloud=False), *boards.targets(cloud=True)]:
        for found in re.finditer(r"(\w+_total)\b(\{[^}]*\})?(\[)?", target.expr):
            before = target.expr[: found.start()]
            assert found[3] and re.search(r"(rate|increase)\($", before), target


def test_links_lead_to_the_runbook_they_name() -> None:
    pages = {panel["id"]: panel["title"] for panel in boards.panels("runbooks")}
    links = [link for name in NAMES for panel in boards.panels(name) for link in panel.get("links") or ()]
    assert len(links) > 20
    for link in links:
        number = int(link["url"].removeprefix("/d/pixelpipe-runbooks?viewPanel=panel-"))
        assert link["title"] == f"Runbook: {pages[number]}"
    assert {link["title"].removeprefix("Runbook: ") for link in links} >= set(pages.values()) - {
        "PixelpipeMetricsAbsent",  # there is nothing to see
        "PixelpipeSchemaDiffers",  # pods, not what they do
        "PixelpipeNewerFormat",  # a line of what is given back
        "PixelpipePermissionDenied",  # one of the codes of the retries
        "PixelpipeValidityBurn",  # the rejects lead to their jump
    }


def test_whatever_is_asked_for_is_exposed_or_recorded() -> None:
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    asked = _used([*SHOWN, *(rule["expr"] for rule in _rules())])
    foreign = {name for name in asked if name.startswith(("container_", "kube_", "pubsub_"))}
    assert asked - foreign - recorded <= _exposed()
    assert recorded - {"pixelpipe:quota:bytes_per_second"} <= asked, "recorded for nobody"


def test_whatever_is_exposed_is_shown_or_said_not_to_be() -> None:
    assert _exposed() - _used(SHOWN) == set(NOT_SHOWN)


# A row access policy, and an example of a tenant's dataset.
IN_BIGQUERY = {"pixelpipe_all", "pixelpipe_shop"}


def test_readmes_name_only_metrics_that_exist() -> None:
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    folders = [ROOT / name for name in ("docs", "services", "charts", "observability")]
    for readme in [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*.md"))]:
        named = {name for name in _used([readme.read_text()]) if name.startswith("pixelpipe_")}
        assert named - recorded <= _exposed() | {"pixelpipe_"} | IN_BIGQUERY, readme


def test_the_picture_in_the_docs_is_one() -> None:
    """`make dashboard` draws it."""
    picture = generate.CHART / "dashboards" / "pipeline.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 300_000
    assert "dashboards/pipeline.png" in (generate.CHART / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_model_reads_a_dashboard_and_loses_nothing(name: str) -> None:
    """A field that its schema does not know would be gone; an empty one that it adds to a heatmap is none."""
    register_default_plugins()
    board = boards.board(name)
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(boards.board(name))))
    for panel in again["panels"]:
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] == "heatmap" and defaults.get("custom") == {}:
            del defaults["custom"]
    assert again == board


def test_files_fit_in_a_config_map() -> None:
    for file in boards.FILES:
        assert file.stat().st_size < 200_000
        json.loads(file.read_text())
