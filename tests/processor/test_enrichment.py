"""Enrichments in a schema file: what is asked for runs, fills its columns, and harms nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.processor import sources
from services.processor.enrich import geo, language, page, referrer, user_agent, utm
from services.processor.parse import Parser, Reject, Row
from services.shared import schema, schema_file
from services.shared.schema import FIXED_SOURCES
from tests.processor.parsing import NOW, WIDE, a_hit, row_of

COLUMNS = """\
      browser: {type: STRING, from: agent.browser}
      is_bot: {type: BOOL, from: agent.is_bot}
      medium: {type: STRING, from: referrer.medium}
      campaign: {type: STRING, from: [utm.campaign, param.campaign]}
      country: {type: STRING, from: geo.country}
"""
N = "      n: {type: INT64, from: param.n, on_error: reject}\n"
ENRICHED = WIDE.replace(N, N + COLUMNS, 1)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def test_columns_are_filled_and_parameters_stay_where_they_are() -> None:
    headers = {"user-agent": FIREFOX, "x-client-geo-location": "DE,DEBE,Berlin"}
    query = "referrer=https%3A%2F%2Ft.co%2Fa&utm_campaign=spring&campaign=other"
    row = row_of(a_hit(query, headers=headers), schema_file.parse(ENRICHED))
    assert (row["browser"], row["is_bot"], row["medium"], row["country"]) == ("Firefox", False, "social", "DE")
    assert row["campaign"] == "spring"
    assert json.loads(row["rest"]) == {
        "referrer": "https://t.co/a",
        "utm_campaign": "spring",
        "campaign": "other",
    }


def test_what_cannot_be_told_is_null_and_the_next_source_is_asked() -> None:
    row = row_of(a_hit("campaign=mine"), schema_file.parse(ENRICHED))
    assert [row[name] for name in ("browser", "is_bot", "medium", "country")] == [None] * 4
    assert row["campaign"] == "mine"


def test_a_posted_event_is_enriched_like_a_query() -> None:
    body = {"referrer": "", "utm_campaign": 7}
    row = row_of(a_hit("", body), schema_file.parse(ENRICHED))
    assert (row["medium"], row["campaign"]) == ("direct", "7")


def test_a_required_column_without_a_value_is_missing() -> None:
    text = ENRICHED.replace("{type: STRING, from: geo.country}", "{type: STRING, mode: REQUIRED, from: geo.country}")
    result = Parser(schema_file.parse(text)).parse(a_hit(headers={"browser": "x"}), NOW)
    assert isinstance(result, Reject)
    assert (result.reason, result.column, result.value) == ("missing", "country", None)


def test_rejects_can_be_enriched() -> None:
    text = ENRICHED.replace("      reason:", "      browser: {type: STRING, from: agent.browser}\n      reason:")
    tables = schema_file.parse(text)
    parser, one = Parser(tables), a_hit("n=many", headers={"user-agent": FIREFOX})
    reject = parser.parse(one, NOW)
    assert isinstance(reject, Reject)
    names = [column.name for column in tables.rejects.columns]
    assert parser.reject_row(one, reject, NOW).values[names.index("browser")] == "Firefox"


def test_bots_can_have_a_table_of_their_own() -> None:
    tables = schema_file.parse(WIDE.replace("when: {param.type: [click, tap]}", 'when: {agent.is_bot: "true"}'))
    assert row_of(a_hit("x=1", headers={"user-agent": GOOGLEBOT}), tables)["table"] == "clicks"
    assert row_of(a_hit("x=1", headers={"user-agent": FIREFOX}), tables)["table"] == "events"
    assert row_of(a_hit("x=1"), tables)["table"] == "events"


def test_only_what_is_asked_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in schema.ENRICHMENTS:
        read = sources.ENRICH[name]
        monkeypatch.setitem(
            sources.ENRICH, name, lambda *given, name=name, read=read: [asked.append(name), read(*given)][1]
        )
    monkeypatch.setattr(user_agent, "load", lambda: asked.append("load"))
    one = a_hit("utm_source=a", headers={"user-agent": FIREFOX})
    assert isinstance(Parser(schema_file.parse(WIDE)).parse(one, NOW), Row)
    assert asked == []
    only = WIDE.replace(N, N + "      source: {type: STRING, from: utm.source}\n", 1)
    assert row_of(one, schema_file.parse(only))["source"] == "a"
    assert asked == ["utm"]
    asked.clear()
    assert isinstance(Parser(schema_file.parse(ENRICHED)).parse(one, NOW), Row)
    assert asked == ["load", "agent", "referrer", "utm", "geo"]  # each once, though two columns ask for the agent


@pytest.mark.parametrize(
    ("namespace", "found"),
    [
        ("agent", user_agent.Agent),
        ("referrer", referrer.Referrer),
        ("utm", utm.Utm),
        ("url", page.Page),
        ("language", language.Language),
        ("geo", geo.Geo),
    ],
)
def test_the_schema_file_knows_exactly_what_an_enrichment_gives(namespace: str, found: Any) -> None:
    assert tuple(FIXED_SOURCES[namespace]) == tuple(name.rstrip("_") for name in found.__annotations__)
    assert set(schema.ENRICHMENTS) == set(sources.ENRICH)
