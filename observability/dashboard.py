"""A dashboard out of rows of panels, with the variables and links that all have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.text import TextMode

from observability import panel
from observability.panel import DATASOURCE, Row

TAG = "pixelpipe"
_UPTO = {"cluster": "", "namespace": 'cluster=~"$cluster"', "release": 'cluster=~"$cluster",namespace=~"$namespace"'}


def dumped(uid: str, title: str, rows: Sequence[Row], runbooks: Sequence[Path]) -> str:
    """The dashboard's JSON; its panels are numbered from 1, rows included."""
    board = _begun(uid, title)
    for label, within in _UPTO.items():
        board = board.with_variable(
            builders.QueryVariable(label)
            .datasource(DATASOURCE)
            .query(f"label_values(pixelpipe_build_info{{{within}}}, {label})")
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".*")
            .multi(True)
            .current(dashboard.VariableOption(text="All", value="$__all"))
        )
    names = [page.stem for page in runbooks]
    number = 0
    for heading, panels in rows:
        number += 1
        board = board.with_row(builders.Row(heading).id(number))
        for one in panels:
            number += 1
            links = [_link(one.runbook, names.index(one.runbook) + 1)] if one.runbook else []
            board = board.with_panel(panel.built(one, number, links))
    return _json(board)


def book(pages: Sequence[Path]) -> str:
    """The dashboard that holds the runbooks, numbered as they are sorted, for the links of the others."""
    board = _begun("pixelpipe-runbooks", "pixelpipe / Runbooks")
    for number, page in enumerate(pages, 1):
        heading, _, content = page.read_text().partition("\n")
        board = board.with_panel(
            text.Panel()
            .id(number)
            .title(heading.removeprefix("# "))
            .description("What to do when this alert fires.")
            .mode(TextMode.MARKDOWN)
            .content(content.strip())
            .span(12)
            .height(14)
        )
    return _json(board)


def _begun(uid: str, title: str) -> builders.Dashboard:
    others = builders.DashboardLink("pixelpipe").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    source = builders.DatasourceVariable("datasource").type("prometheus")
    return (
        builders.Dashboard(title)
        .uid(uid)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(others.as_dropdown(False).include_vars(True).keep_time(True))
        .with_variable(source)
    )


def _link(alert: str, number: int) -> builders.DashboardLink:
    title = builders.DashboardLink(f"Runbook: {alert}").type(dashboard.DashboardLinkType.LINK)
    return title.url(f"/d/pixelpipe-runbooks?viewPanel=panel-{number}")


def _json(board: builders.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"
