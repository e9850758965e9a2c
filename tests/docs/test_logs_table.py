"""The table of log lines follows the code and keeps what was typed."""

from __future__ import annotations

from tests.docs import logs
from tests.docs.documents import LOGS

TEXT = LOGS.read_text()


def test_a_line_that_the_code_no_longer_logs_goes() -> None:
    gone = "| INFO | `no such line` | collector | | it is gone |\n"
    assert "no such line" not in logs.render(TEXT + gone)


def test_a_new_line_stands_with_its_component_and_without_a_meaning() -> None:
    rows = [line for line in TEXT.splitlines() if "`publish failed`" not in line]
    found = logs.render("\n".join(rows)).splitlines()
    (place,) = [number for number, line in enumerate(found) if "`publish failed`" in line]
    assert found[place] == "| ERROR | `publish failed` | collector.outbox | | |"
    assert "collector.outbox" in found[place - 1]


def test_a_line_that_moves_keeps_its_place_and_meaning() -> None:
    moved = TEXT.replace(
        "| ERROR | `publish failed` | collector.outbox |", "| WARNING | `publish failed` | elsewhere |"
    )
    assert moved != TEXT
    assert logs.render(moved) == logs.render(TEXT)


def test_fields_are_those_of_the_code() -> None:
    assert logs.render(TEXT.replace("`wanted`, `files`", "`wanted`, `other`")) == logs.render(TEXT)
