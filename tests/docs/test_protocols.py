"""Routes, readers and docs/protocols.md hold the same protocols, and the document every path."""

from __future__ import annotations

import re

from services.collector.routes import NAMES, PROTOCOLS, ROUTES, Table
from services.processor.protocols.readers import READERS
from tests.docs import protocols
from tests.process import ROOT

TEXT = (ROOT / protocols.DOCUMENT).read_text()
GENERAL = {"What all have in common", "Paths"}


def test_every_protocol_has_paths_a_reader_and_a_section() -> None:
    assert {route.protocol for route in (*ROUTES, *NAMES.values()) if not route.own} == set(PROTOCOLS)
    assert set(READERS) - protocols.CONFIGURED == set(PROTOCOLS)
    assert set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE)) - GENERAL == protocols.sections()
    for reader in map(protocols.module, PROTOCOLS):
        assert f"<!-- fields of {reader}: " in TEXT


def test_every_section_has_lines_to_copy_and_says_what_is_not_taken() -> None:
    for section in TEXT.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        if heading not in GENERAL:
            assert text.count("```") >= 2, heading
            assert "c.example.com" in text, heading
            assert "Not taken: " in text, heading


def test_every_path_is_in_the_table() -> None:
    table = protocols.paths()
    assert [route.path for route in ROUTES if f"`{route.path}`" not in table] == []


def test_paths_of_ones_own_in_the_document_are_right() -> None:
    examples = re.findall(r"^ +PIPE_PATHS=(\S+)$", TEXT, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        table = Table(example.split(","))
        for entry in example.split(","):
            path, _, wanted = entry.partition("=")
            found = table.at(re.sub(r"\{\w+\}", "t", path))
            assert found is not None and found[0].name == wanted
    (switched,) = re.findall(r"^ +PIPE_PROTOCOLS=(\S+)$", TEXT, re.MULTILINE)
    assert {route.protocol for route in Table((), switched.split(",")) if not route.own} == set(switched.split(","))
