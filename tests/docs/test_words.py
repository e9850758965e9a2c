"""Documents avoid the phrases that read as translated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_links import DOCUMENTS, prose
from tests.process import ROOT

PHRASES = re.compile(
    r"unless told|told apart|\blies? (?:twice|there|in|on)\b|\bmend(?:s|ed|ing|able)?\b|look(?:s|ing)? away|for company"
    r"|\bis no (?:JSON|pack|event|UUID|object|address)|ha(?:s|ve) (?:it|them) done|c[ao]mes? twice|stands? still"
    r"|makes? anew|foreseen|foresaw|\bby which\b|\bto bear\b|must have meant it|the data's way|holds these arrows"
    r"|learn one, know three|what is on its way",
    re.IGNORECASE,
)
WRITTEN = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # entries of the past stay as they were


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_plain(path: Path) -> None:
    assert PHRASES.findall(prose(path.read_text())) == []
