from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from services.processor.protocols import Unreadable, snowplow
from services.shared.hit import Hit
from tests.growth import assert_linear
from tests.processor.protocols.hits import hit

ENVELOPE = {"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"}
UNSTRUCT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0"
WEB_PAGE = "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"
SESSION = "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"
ORDER = "iglu:com.acme/order_completed/jsonschema/1-0-0"

BOUGHT = {"order_id": "o-1", "total": 12.5, "items": [{"sku": "a", "n": 2}], "note": "thanks 🙂"}
SELF_DESCRIBING = {"schema": UNSTRUCT, "data": {"schema": ORDER, "data": BOUGHT}}
ENTITIES = {"schema": CONTEXTS, "data": [{"schema": WEB_PAGE, "data": {"id": "page-1"}}]}

BROWSER = {
    "e": "pv",
    "url": "https://shop.example/cart?x=1",
    "page": "Cart 🙂",
    "refr": "https://www.google.com/",
    "eid": "4a6f5b1e-7c8b-4a39-8f6f-0f8a9d1c2b3a",
    "tv": "js-4.10.1",
    "tna": "sp",
    "aid": "shop",
    "p": "web",
    "cookie": "1",
    "cs": "UTF-8",
    "lang": "en-GB",
    "res": "1280x720",
    "cd": "24",
    "tz": "Europe/Berlin",
    "vp": "1280x633",
    "ds": "1265x900",
    "vid": "3",
    "sid": "f1b4c0de-2f64-4f6e-9be2-24cf7d6d7f55",
    "duid": "0b9f2f6e-51f3-4a2e-a8d0-1f62ac8f7d11",
    "uid": "u-1",
    "dtm": "1764439197000",
    "stm": "1764439199000",
    "co": json.dumps(ENTITIES),
}
COMMON = {
    "event_id": BROWSER["eid"],
    "event_time": "2025-11-29T17:59:58.000000Z",
    "client_event_time": "1764439197000",
    "sent_at": "2025-11-29T17:59:59.000000Z",
    "user_id": "u-1",
    "anonymous_id": BROWSER["duid"],
    "session_id": BROWSER["sid"],
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    "context": {"web_page": [{"id": "page-1"}]},
    **{
        name: BROWSER[name]
        for name in ("tv", "tna", "aid", "p", "cookie", "cs", "lang", "res", "cd", "tz", "vp", "ds", "vid")
    },
}


def _base64(value: Any, padded: bool = True) -> str:
    text = base64.urlsafe_b64encode(json.dumps(value, ensure_ascii=False).encode()).decode()
    return text if padded else text.rstrip("=")


def _posted(**fields: Any) -> Hit:
    return hit("snowplow", {**BROWSER, **fields}, envelope=ENVELOPE)


def test_a_page_view_of_the_browser() -> None:
    assert snowplow.read(_posted()) == {**COMMON, "type": "page_view", "e": "pv"}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("by_get", [True, False])
@pytest.mark.parametrize("in_base64", [True, False])
def test_a_self_describing_event(padded: bool, by_get: bool, in_base64: bool) -> None:
    item = {**BROWSER, "e": "ue"}
    if in_base64:
        del item["co"]
        item |= {"ue_px": _base64(SELF_DESCRIBING, padded), "cx": _base64(ENTITIES, padded)}
    else:
        item |= {"ue_pr": json.dumps(SELF_DESCRIBING)}
    one = hit("snowplow", query=urlencode(item)) if by_get else hit("snowplow", item, envelope=ENVELOPE)
    assert snowplow.read(one) == {
        **COMMON,
        "e": "ue",
        "type": "order_completed",
        "schema": ORDER,
        "properties": BOUGHT,
    }


@pytest.mark.parametrize(
    ("fields", "kind", "properties"),
    [
        (
            {"e": "se", "se_ca": "shop", "se_ac": "add", "se_la": "red", "se_pr": "pcs", "se_va": "2.5"},
            "add",
            {"category": "shop", "action": "add", "label": "red", "property": "pcs", "value": Decimal("2.5")},
        ),
        ({"e": "se", "se_ca": "shop", "se_va": "many"}, "struct", {"category": "shop", "value": "many"}),
        (
            {"e": "pp", "pp_mix": "0", "pp_max": "0", "pp_miy": "10", "pp_may": "900"},
            "page_ping",
            {"pp_mix": 0, "pp_max": 0, "pp_miy": 10, "pp_may": 900},
        ),
        (
            {"e": "tr", "tr_id": "o-1", "tr_tt": "99.5", "tr_cu": "EUR"},
            "transaction",
            {"tr_id": "o-1", "tr_tt": 99.5, "tr_cu": "EUR"},
        ),
        (
            {"e": "ti", "ti_id": "o-1", "ti_sk": "a", "ti_qu": "2"},
            "transaction_item",
            {"ti_id": "o-1", "ti_sk": "a", "ti_qu": 2},
        ),
        ({"e": "zz"}, "zz", None),
    ],
)
def test_each_kind_of_event(fields: dict[str, str], kind: str, properties: Any) -> None:
    found = snowplow.read(_posted(**fields))
    assert (found["type"], found["e"], found.get("properties")) == (kind, fields["e"], properties)
    assert not any(name in found for name in fields if name != "e")


def test_fields_of_another_kind_stay_as_they_are() -> None:
    found = snowplow.read(_posted(se_ca="shop"))
    assert (found["se_ca"], found.get("properties")) == ("shop", None)


def test_an_event_of_the_python_tracker() -> None:
    item = {
        "e": "ue", "eid": "e-1", "dtm": "1764439199000", "stm": "1764439200000", "tv": "py-1.1.0", "p": "srv",
        "uid": "u-1", "nuid": "network-1", "ue_px": _base64(SELF_DESCRIBING),
    }  # fmt: skip
    assert snowplow.read(hit("snowplow", item, envelope=ENVELOPE)) == {
        "event_id": "e-1",
        "event_time": "2025-11-29T17:59:59.000000Z",
        "sent_at": "2025-11-29T18:00:00.000000Z",
        "user_id": "u-1",
        "anonymous_id": "network-1",
        "type": "order_completed",
        "schema": ORDER,
        "properties": BOUGHT,
        "e": "ue",
        "tv": "py-1.1.0",
        "p": "srv",
    }


def test_a_true_time_is_not_corrected() -> None:
    found = snowplow.read(_posted(ttm="1577836800000"))
    assert (found["event_time"], found["dtm"]) == ("2020-01-01T00:00:00.000000Z", "1764439197000")
    assert found["sent_at"] == COMMON["sent_at"] and "client_event_time" not in found


def test_apps_name_session_and_device_in_an_entity() -> None:
    session = {"sessionId": "s-1", "userId": "device-1"}
    entities = {"schema": CONTEXTS, "data": [{"schema": SESSION, "data": session}, {"schema": SESSION, "data": {}}]}
    found = snowplow.read(hit("snowplow", {"e": "pv", "eid": "e-1", "co": json.dumps(entities)}))
    assert (found["session_id"], found["anonymous_id"]) == ("s-1", "device-1")
    assert found["context"] == {"client_session": [session, {}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ue_px", _base64(SELF_DESCRIBING)[:31]),
        ("ue_px", base64.b64encode(_base64(SELF_DESCRIBING).encode()).decode()),
        ("ue_px", "é"),
        ("ue_pr", json.dumps(SELF_DESCRIBING)[:40]),
        ("ue_pr", "[1]"),
        ("ue_pr", json.dumps({"schema": UNSTRUCT, "data": {"data": {}}})),
        ("ue_pr", json.dumps({"schema": UNSTRUCT, "data": {"schema": 7, "data": {}}})),
        ("cx", "e30"),
        ("cx", "!"),
        ("co", json.dumps({"data": "x"})),
        ("co", "[" * 600 + "]" * 600),
    ],
)
def test_what_is_broken_costs_only_itself(name: str, value: str) -> None:
    item = {**BROWSER, "e": "ue", name: value}
    expected = {**COMMON, "e": "ue", "type": "unstruct", name: value}
    if name == "co":  # in place of the good one
        del expected["context"]
    assert snowplow.read(hit("snowplow", item, envelope=ENVELOPE)) == expected


@pytest.mark.parametrize(
    ("data", "context"),
    [
        ([], None),
        ([{"data": 1}, 2, None], {"entities": [{"data": 1}, 2, None]}),
        ([{"schema": "own", "data": 1}, {"schema": "own"}], {"own": [1, None]}),
        ([{"schema": "iglu:a//jsonschema/1-0-0", "data": 1}], {"iglu:a//jsonschema/1-0-0": [1]}),
        ([{"schema": "iglu:a/__proto__/jsonschema/1-0-0", "data": 1}], {"__proto__": [1]}),
    ],
)
def test_odd_entities_are_kept(data: Any, context: Any) -> None:
    found = snowplow.read(hit("snowplow", {"e": "pv", "co": json.dumps({"data": data})}))
    assert found.get("context") == context


def test_half_a_character_inside_the_inner_json_is_repaired() -> None:
    inner = json.dumps({"data": {"schema": ORDER, "data": {"note": "cut \ud83d"}}})
    assert snowplow.read(_posted(e="ue", ue_pr=inner))["properties"] == {"note": "cut \ufffd"}


def test_data_that_is_no_object_is_a_property() -> None:
    inner = json.dumps({"data": {"schema": ORDER, "data": [1, 2]}})
    assert snowplow.read(_posted(e="ue", ue_pr=inner))["properties"] == {"data": [1, 2]}


def test_a_visitor_who_asks_for_anonymity_is_marked() -> None:
    found = snowplow.read(hit("snowplow", {"e": "pv", "sp_anonymous": "no"}, headers={"sp-anonymous": "*"}))
    assert found["sp_anonymous"] == "true"


@pytest.mark.parametrize(
    ("sent", "anonymous"),
    [
        ({"sid": "s-1", "co": json.dumps(ENTITIES)}, "s-1"),
        ({"co": json.dumps(ENTITIES)}, "page-1"),
        ({}, "e-1"),
        ({"uid": "u-1", "sid": "s-1"}, None),
    ],
)
def test_a_visitor_without_ids_is_the_visit_or_the_page_view_and_not_who_has_the_address(
    sent: dict[str, str], anonymous: str | None
) -> None:
    one = hit("snowplow", {"e": "pv", "eid": "e-1", **sent}, headers={"sp-anonymous": "*", "user-agent": "a"})
    found = snowplow.read(one)
    assert (found.get("anonymous_id"), found["event_id"]) == (anonymous, "e-1")


def test_a_server_that_names_nobody_is_the_visitor_who_asks_from_there() -> None:
    first, again, other = (
        snowplow.read(hit("snowplow", {"e": "pv", "aid": aid}, headers={"user-agent": "a"}))["anonymous_id"]
        for aid in ("shop", "shop", "blog")
    )
    assert first == again != other and first.startswith("day-")


def test_nothing_that_is_sent_hides_a_canonical_name() -> None:
    found = snowplow.read(_posted(user_id="other", event_id="other", properties="x", consent="yes", snowplow="x"))
    assert (found["user_id"], found["event_id"]) == ("u-1", BROWSER["eid"])
    assert found["snowplow"] == {
        "user_id": "other", "event_id": "other", "properties": "x", "consent": "yes", "snowplow": "x"
    }  # fmt: skip


@pytest.mark.parametrize(
    "one",
    [
        hit("snowplow"),
        hit("snowplow", query="x=1"),
        hit("snowplow", query="e="),
        hit("snowplow", {}),
        hit("snowplow", {"e": ["pv"]}),
        hit("snowplow", [], query="e=pv"),
        hit(
            "snowplow",
            query="e=pv",
            text='{"data":[{"e":"pv","url":"https://shop.example/?x&e=pv"',
            envelope={"uncut": "x"},
        ),
        hit("snowplow", "e=pv"),
        hit("snowplow", 7),
        hit("snowplow", b"null"),
        hit("snowplow", b'{"e":"pv"'),
    ],
)
def test_what_is_no_event_is_unreadable(one: Hit) -> None:
    with pytest.raises(Unreadable):
        snowplow.read(one)


SELF_DESCRIBED = (
    {"e": "ue", "ue_px": _base64(SELF_DESCRIBING), "cx": _base64(ENTITIES)},
    {"e": "ue", "ue_pr": json.dumps(SELF_DESCRIBING), "co": json.dumps(ENTITIES), "ttm": "1", "eid": "x"},
)


@pytest.mark.slow
def test_a_query_takes_linear_work() -> None:
    assert_linear(
        lambda text: snowplow.read(hit("snowplow", query=text)), "e=pv&cx=", "e30&dtm=", "1", refused=Unreadable
    )
