"""What documents take from the code is as `make docs` writes it today."""

from __future__ import annotations

import pytest

from services.shared import schema
from tests.docs import logs, markers, schema_file
from tests.docs.documents import LOGS, documents
from tests.process import ROOT


def test_documents_are_fresh() -> None:
    """All in one test: to make them at import would cost each worker two seconds before its first test."""
    fresh = dict(documents())
    stale = [str(path.relative_to(ROOT)) for path, text in fresh.items() if path.read_text() != text]
    assert stale == [], "run `make docs`, and look at what it changed"
    assert len(fresh) > 15


def test_every_log_line_has_a_meaning() -> None:
    known = logs.documented(LOGS.read_text())
    assert len(known) > 30
    for line, (_, meaning) in known.items():
        assert len(meaning) > 5, f"say in services/LOGS.md what this means: {line}"


def test_every_source_has_a_meaning_and_no_other() -> None:
    assert set(schema_file.OPEN) == {*schema.OPEN_SOURCES, schema.LOOKUP}
    known = {f"{space}.{name}" for space, names in schema.FIXED_SOURCES.items() for name in names}
    assert set(schema_file.SOURCES) == known


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = f"before\n{markers.begin('x')}old\n{markers.end('x')}after\n"
    assert markers.put(text, "x", "new") == f"before\n{markers.begin('x')}\nnew\n{markers.end('x')}after\n"
    with pytest.raises(ValueError, match="each once"):
        markers.put(text, "y", "new")
