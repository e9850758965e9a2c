"""What the processor makes of hits whose senders opted out: rows, in which nobody is recognized again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.processor.enrich import user_agent
from services.processor.parse import MISSING, Parser, Reject
from services.processor.protocols.readers import READERS
from services.shared import schema_file, user_agent_class
from services.shared.schema import DEFAULT_FILE
from tests.processor.parsing import NOW, a_hit, row_of
from tests.processor.protocols import hits
from tests.schemas import a_file

COLUMNS = """\
      user_id: {type: STRING, from: param.user_id}
      anonymous_id: {type: STRING, from: param.anonymous_id}
      visitor_id: {type: STRING, from: hit.visitor_id}
      consent: {type: STRING, from: [hit.opt_out, param.consent]}
      tenant: {type: STRING, from: [hit.tenant, param.tenant]}
      country: {type: STRING, from: geo.country}
      region: {type: STRING, from: geo.region}
      city: {type: STRING, from: geo.city}
      device: {type: STRING, from: agent.device}
      is_bot: {type: BOOL, from: agent.is_bot}
      browser: {type: STRING, from: agent.browser}
      os: {type: STRING, from: agent.os}
"""
SCHEMA = schema_file.parse(a_file(COLUMNS, "    require_any: [user_id, anonymous_id, visitor_id]\n"))
PARSER = Parser(SCHEMA)
HEADERS = {"user-agent": "mobile", "x-client-geo-location": "US,USCA,Mountain View"}


def _row(query: str, **fields: Any) -> dict[str, Any]:
    return row_of(a_hit(query, **fields), SCHEMA)


def test_an_event_that_names_nobody_counts_only_if_its_sender_opted_out() -> None:
    found = PARSER.parse(a_hit("type=page"), NOW)
    assert isinstance(found, Reject)
    assert found.reason == MISSING
    row = _row("type=page", opt_out="gpc", anonymized=True)
    assert [row[name] for name in ("user_id", "anonymous_id", "visitor_id", "consent")] == [None, None, None, "gpc"]


def test_a_recorded_signal_changes_nothing_else() -> None:
    assert isinstance(PARSER.parse(a_hit("type=page", opt_out="gpc"), NOW), Reject)
    row = _row("user_id=1", opt_out="dnt", headers=HEADERS)
    assert (row["user_id"], row["consent"], row["city"]) == ("1", "dnt", "Mountain View")


def test_columns_of_the_hit_go_before_parameters() -> None:
    row = row_of(
        a_hit("user_id=1&consent=denied&tenant=shop", visitor_id="v", tenant="north", opt_out="consent"), SCHEMA
    )
    assert [row[name] for name in ("visitor_id", "consent", "tenant")] == ["v", "consent", "north"]
    row = _row("user_id=1&consent=granted&tenant=shop")
    assert [row[name] for name in ("visitor_id", "consent", "tenant")] == [None, "granted", "shop"]


def test_of_the_place_country_and_region_stay() -> None:
    row = _row("", headers=HEADERS, anonymized=True)
    assert [row[name] for name in ("country", "region", "city")] == ["US", "US-CA", None]


def test_the_guard_writes_the_classes_that_are_read_here() -> None:
    agents = ("Mozilla/5.0 (X11; Linux x86_64)", "iPhone Mobile", "iPad", "Googlebot/2.1 (+http://g.example)", "?")
    found = {user_agent_class.of(agent) for agent in agents}
    assert found == set(user_agent.CLASSES)


@pytest.mark.parametrize("device", user_agent.CLASSES)
def test_of_the_browser_its_class_stays(device: str) -> None:
    row = _row("", headers={"user-agent": device}, anonymized=True)
    assert [row[name] for name in ("device", "is_bot", "browser", "os")] == [device, device == "bot", None, None]


WEB_PAGE = {"schema": "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0", "data": {"id": "page-1"}}
NOBODY = {
    "plausible": hits.hit("plausible", {"n": "pageview", "u": "https://a.example/", "d": "a.example"}),
    "umami": hits.hit("umami", {"type": "event", "payload": {"website": "w", "url": "/"}}),
    "matomo": hits.hit("matomo", text="idsite=1&action_name=x"),
    "snowplow": hits.hit("snowplow", {"e": "pv", "eid": "e-1", "aid": "shop"}),
    "snowplow with a page": hits.hit(
        "snowplow", {"e": "pv", "eid": "e-1", "co": msgspec.json.encode({"data": [WEB_PAGE]}).decode()}
    ),
    "snowplow, anonymous": hits.hit("snowplow", {"e": "pv", "eid": "e-1"}, headers={"sp-anonymous": "*"}),
}


@pytest.mark.parametrize("name", NOBODY)
def test_no_id_is_made_for_who_opted_out(name: str) -> None:
    one = NOBODY[name]
    one.headers["user-agent"] = "desktop"
    read = READERS[one.protocol]
    assert read(one)["anonymous_id"]
    assert "anonymous_id" not in read(msgspec.structs.replace(one, anonymized=True))


def test_the_file_at_the_root_takes_events_of_nobody_and_says_by_which_signal() -> None:
    schema = schema_file.load(DEFAULT_FILE)
    one = a_hit("type=page", opt_out="google_consent", anonymized=True, tenant="north", visitor_id="")
    row = row_of(one, schema)
    assert (row["consent"], row["tenant"], row["visitor_id"]) == ("google_consent", "north", None)
