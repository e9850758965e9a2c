"""What services/LOGS.md says beside the table of the code's own lines, which `make docs` writes."""

from __future__ import annotations

import re

from tests.docs import logs
from tests.docs.documents import LOGS
from tests.process import ROOT


def test_the_table_has_every_line_and_no_other() -> None:
    found = logs.documented(LOGS.read_text())
    assert set(found) == set(logs.lines())
    assert len(found) > 30


def test_the_table_leads_to_runbooks_that_exist() -> None:
    named = set(re.findall(r"runbook (\w+)", LOGS.read_text()))
    assert named
    for name in named:
        assert (ROOT / "observability" / "runbooks" / f"{name}.md").is_file(), name
