"""What documents have people type is there: targets of make, commands of the modules, values of the chart."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from tests.chart.release import CHART
from tests.docs import commands
from tests.docs.test_links import DOCUMENTS
from tests.process import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_is_there(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"(?:`|^\s*\$? *)make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
    assert set(re.findall(r"services\.ops ([a-z]\w*)", text)) <= commands.of_ops()
    for module in set(re.findall(r"python -m ((?:services|tests)(?:\.[a-z_]+)+)\b", text)):
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_value_is_one_of_the_chart(path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r'--set(?:-file)? "?([\w.]+)=', path.read_text()):
        place = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]


def test_commands_are_seen_at_all() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"(?:`|^\s*\$? *)make ([a-z-]+)", text, re.MULTILINE)) >= {"run", "test", "query"}
