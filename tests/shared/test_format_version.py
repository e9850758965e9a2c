"""A message of a newer version is for a newer pod; one of no known format is for nobody."""

from __future__ import annotations

import pytest

from services.shared import format_version, hit, rows
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat


def test_the_version_read_here_passes() -> None:
    format_version.check("hit/1", "hit/1")


@pytest.mark.parametrize("found", ["hit/2", "hit/10", "hit/9999"])
def test_a_newer_version_is_for_a_newer_pod(found: str) -> None:
    with pytest.raises(NewerFormat, match=f"schema is '{found}', 'hit/1' is read here"):
        format_version.check(found, "hit/1")


@pytest.mark.parametrize(
    "found",
    [None, "", "hit", "hit/", "hit/0", "hit/01", "hit/-2", "hit/2x", "hit/99999", "rows/2", "hit/\u0662"],
)
def test_anything_else_is_poison(found: str | None) -> None:
    with pytest.raises(Poison, match="'hit/1' is read here"):
        format_version.check(found, "hit/1")


def test_an_older_version_is_poison() -> None:
    with pytest.raises(Poison):
        format_version.check("hit/1", "hit/2")


def test_both_wire_formats_are_checked_so() -> None:
    with pytest.raises(NewerFormat):
        hit.read(b"", {"schema": "hit/2"})
    with pytest.raises(NewerFormat):
        rows.unpack(b"", {"schema": "rows/2"})
