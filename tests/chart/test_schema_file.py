"""The schema file in the release: as it was given, seen by all who read it, and wrong ones stopped in time."""

from __future__ import annotations

import pytest

from tests.chart import release
from tests.chart.release import SCHEMA_FILE, Doc, Release

GOOD = {"project": "my-project"}
TEXTS = {
    "default": SCHEMA_FILE.read_text(),
    "indented": "  tables:\n    events: {}\n",
    "templates": 'tables: {events: {description: "{{ .Values.project }} # \'"}}\n',
    "tail": "tables: {}\n\n\n",
    "unicode": "tables: {events: {description: Größe · 大きさ}}\n",
}


def texts(found: Release) -> list[str]:
    return [doc["data"]["schema.yaml"] for doc in found.of("ConfigMap")]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_arrives_as_it_was_given(text: str) -> None:
    given = "" if text == TEXTS["default"] else text
    found = texts(release.release({**GOOD, "schema": given}))
    assert len(found) == 2
    assert {one.rstrip("\n") for one in found} == {text.rstrip("\n")}


def test_a_change_rolls_the_pods_of_all_services() -> None:
    before, after = (release.release({**GOOD, "schema": text}) for text in ("", TEXTS["unicode"]))
    changed = {
        doc["metadata"]["name"]
        for doc in before.of("Deployment")
        if _template(doc) != _template(after.one("Deployment", doc["metadata"]["name"]))
    }
    assert changed == {"pixelpipe-collector", "pixelpipe-processor", "pixelpipe-loader"}


def _template(doc: Doc) -> Doc:
    template: Doc = doc["spec"]["template"]
    return template
