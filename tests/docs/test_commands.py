"""Values of the chart that documents name are there. Commands: test_typed.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.chart.release import CHART
from tests.docs.test_links import DOCUMENTS
from tests.process import ROOT


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_value_is_one_of_the_chart(path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r'--set(?:-file)? "?([\w.]+)=', path.read_text()):
        place = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]
