"""Documents avoid the phrases that read as translated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_links import DOCUMENTS, prose
from tests.process import ROOT

PHRASES = re.compile(
    r"unless told|told apart|lies twice|\bmend(?:s|ed|ing|able)?\b|look(?:s|ing)? away|for company|foreseen|foresaw"
    r"|\bis no (?:JSON|pack|event|UUID|object|address)|has them done|comes twice|stands still|makes? anew",
    re.IGNORECASE,
)
WRITTEN = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # entries of the past stay as they were


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_plain(path: Path) -> None:
    assert PHRASES.findall(prose(path.read_text())) == []
