"""Every alert has its runbook, and what a runbook names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from observability.generate import CHART
from services.ops.__main__ import COMMANDS
from tests.observability.unit import EXPOSING, FILES, exposed
from tests.process import ROOT

PAGES = sorted((ROOT / "observability" / "runbooks").glob("*.md"))
SECTIONS = ["What users feel", "How to confirm", "Likely causes, in order", "Commands", "It is over when"]
ALERTS = {
    rule["alert"]
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
METRICS = {name for one in EXPOSING for name in re.findall(r"^# TYPE (\S+)", exposed(one), re.MULTILINE)}
SOURCE = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))


def test_each_alert_has_one_and_none_is_left_over() -> None:
    assert {page.stem for page in PAGES} == ALERTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_is_whole_and_names_what_exists(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for section in text.split("\n## ")[1:]:
        assert len(section.partition("\n")[2].strip()) > 10, section
    assert set(re.findall(r"\bPixelpipe[A-Z]\w+", text)) <= ALERTS
    assert set(re.findall(r"\bpixelpipe_\w+", text)) <= METRICS
    assert set(re.findall(r"services\.ops (\w+)", text)) <= set(COMMANDS)
    # What is quoted as a line of a log has a space and small letters; it is in the code, word for word.
    for quoted in re.findall(r"`([A-Za-z/]+ [^`$]*)`", text):
        if not quoted.startswith(("dead ", "schema is")):
            assert quoted in SOURCE, quoted


def test_values_that_runbooks_set_are_values_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for page in PAGES:
        for path in re.findall(r"--set ([\w.]+)=", page.read_text()):
            place = values
            for part in path.split("."):
                assert part in place, f"{page.stem}: {path}"
                place = place[part]
