from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from services.processor.protocols import Unreadable, matomo
from tests.processor.protocols.hits import hit

PAGE = {
    "action_name": "Cart 🙂",
    "idsite": "1",
    "rec": "1",
    "r": "412093",
    "h": "19",
    "m": "0",
    "s": "2",
    "url": "https://shop.example/cart?x=1",
    "urlref": "https://www.google.com/",
    "_id": "8f2b1c3d4e5f6071",
    "_idn": "1",
    "send_image": "0",
    "pf_net": "3",
    "uadata": '{"brands":[{"brand":"Chromium","version":"156"}],"platform":"Linux"}',
    "pv_id": "sX2b1c",
    "cookie": "1",
    "res": "1280x720",
}
FLAT = {name: PAGE[name] for name in ("idsite", "rec", "r", "h", "m", "s", "_idn", "send_image", "pf_net", "pv_id")}
READ = {
    "anonymous_id": "8f2b1c3d4e5f6071",
    "type": "page",
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    "context": {"uadata": {"brands": [{"brand": "Chromium", "version": "156"}], "platform": "Linux"}},
    **FLAT,
    "cookie": "1",
    "res": "1280x720",
}
ITEMS = [["SKU-1", "Shoe", "Shoes", 49.9, 2], ["SKU-2", "Sock", ["Socks", "Men"], "3.5"], ["SKU-3"]]


def _read(**fields: Any) -> dict[str, Any]:
    found = matomo.read(hit("matomo", query=urlencode({"idsite": "1", "rec": "1", **fields})))
    assert (found.pop("idsite"), found.pop("rec")) == ("1", "1")
    return found


@pytest.mark.parametrize("way", ["query", "form", "both", "bulk", "bulk with an address", "bulk of objects"])
def test_a_page_view_however_it_is_sent(way: str) -> None:
    query = urlencode(PAGE)
    first, _, second = query.partition("&rec")
    one = {
        "query": hit("matomo", query=query),
        "form": hit("matomo", text=query),
        "both": hit("matomo", query=first, text="rec" + second),
        "bulk": hit("matomo", text="?" + query, envelope={"token_auth": "s3cret"}),
        "bulk with an address": hit("matomo", text="https://a.example/matomo.php?" + query),
        "bulk of objects": hit("matomo", PAGE, envelope={"token_auth": "s3cret"}),
    }[way]
    assert matomo.read(one) == READ


def test_an_event_with_a_user_and_dimensions() -> None:
    assert _read(e_c="Video", e_a="Play", e_n="Intro", e_v="12.5", uid="u-1", dimension1="gold", ca="1", pv_id="x") == {
        "user_id": "u-1",
        "type": "Play",
        "properties": {
            "category": "Video",
            "action": "Play",
            "name": "Intro",
            "value": Decimal("12.5"),
            "dimension1": "gold",
        },
        "ca": "1",
        "pv_id": "x",
    }


def test_a_visitor_without_a_cookie_is_told_by_site_address_and_browser() -> None:
    def read(**sent: str) -> dict[str, Any]:
        query = urlencode({"idsite": "1", "rec": "1", "_id": "", **sent})
        return matomo.read(hit("matomo", query=query, headers={"user-agent": "a"}))

    first, again, other = (read(idsite=site)["anonymous_id"] for site in ("1", "1", "2"))
    assert first == again != other and first.startswith("day-")
    assert "anonymous_id" not in read(uid="u-1")


def test_a_visitor_id_that_is_set_comes_before_the_one_of_the_cookie() -> None:
    found = _read(cid="1111111111111111", _id="2222222222222222")
    assert (found["anonymous_id"], found["_id"]) == ("1111111111111111", "2222222222222222")


def test_an_order() -> None:
    found = _read(
        idgoal="0", ec_id="o-1", revenue="103.3", ec_st="99.8", ec_tx="0", ec_sh="3.5", ec_items=json.dumps(ITEMS)
    )
    assert found == {
        "type": "order",
        "properties": {
            "idgoal": 0,
            "order_id": "o-1",
            "revenue": Decimal("103.3"),
            "subtotal": Decimal("99.8"),
            "tax": 0,
            "shipping": Decimal("3.5"),
            "items": [
                {"sku": "SKU-1", "name": "Shoe", "category": "Shoes", "price": Decimal("49.9"), "quantity": 2},
                {"sku": "SKU-2", "name": "Sock", "category": ["Socks", "Men"], "price": Decimal("3.5")},
                {"sku": "SKU-3"},
            ],
        },
    }


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"ping": "1", "e_a": "Play"}, "ping"),
        ({"ping": "0"}, "page"),
        ({"idgoal": "0", "revenue": "5"}, "cart"),
        ({"ec_items": "[]"}, "cart"),
        ({"idgoal": "7"}, "goal"),
        ({"download": "https://shop.example/a.pdf"}, "download"),
        ({"link": "https://else.example/"}, "link"),
        ({"search": "red shoes", "search_count": "0"}, "search"),
        ({"c_n": "Banner", "c_p": "a.png"}, "content_impression"),
        ({"c_n": "Banner", "c_i": "click"}, "content_interaction"),
        ({"ca": "1"}, "action"),
        ({"ca": "0"}, "page"),
        ({"e_a": ""}, "page"),
        ({}, "page"),
    ],
)
def test_types(fields: dict[str, str], kind: str) -> None:
    assert _read(**fields)["type"] == kind


@pytest.mark.parametrize(
    ("fields", "moment"),
    [
        ({"cdt": "2025-11-28 12:00:01"}, "2025-11-28T12:00:01.000000Z"),
        ({"cdt": "1764331201"}, "2025-11-28T12:00:01.000000Z"),
        ({"cdt": "2025-11-28T13:00:01+01:00"}, "2025-11-28T12:00:01.000000Z"),
        ({"cdt": "yesterday"}, "yesterday"),
        ({"cdo": "60"}, "2025-11-29T17:59:00.000000Z"),
        ({"cdo": "60", "cdt": "2025-11-28 12:00:01"}, "2025-11-28T11:59:01.000000Z"),
        ({"cdo": "60", "cdt": "yesterday"}, "yesterday"),
        ({"cdo": "-60"}, None),
        ({"cdo": "9" * 18}, None),
        ({"cdo": "1000000000", "cdt": "0001-01-01 00:00:00"}, "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times_of_servers_and_of_pages_that_were_offline(fields: dict[str, str], moment: str | None) -> None:
    assert _read(**fields).get("event_time") == moment


@pytest.mark.parametrize("name", ["token_auth", "token.auth", " Token_Auth", "token_auth[]", "token_auth\0x"])
def test_a_token_is_in_nothing_that_is_read(name: str) -> None:
    query = urlencode([("idsite", "1"), (name, "s3cret"), (name, "s3cret"), ("tokens", "5")])
    for one in (
        hit("matomo", query=query),
        hit("matomo", text=query, query=query),
        hit("matomo", text="?" + query, envelope={name: "s3cret", "requests_left": 3}),
        hit("matomo", {"idsite": 1, name: "s3cret", "tokens": "5"}, query=query),
    ):
        found = matomo.read(one)
        assert "s3cret" not in repr(found)
        assert found["tokens"] == "5"


def test_what_is_no_json_and_what_is_empty_stays_as_it_came() -> None:
    fields = {"uadata": "{", "ec_items": '{"a":1}', "cvar": "[", "e_v": "many", "e_n": "", "dimension1x": "d"}
    assert _read(**fields) == {
        "type": "cart",
        "properties": {"cvar": "[", "value": "many"},
        "uadata": "{",
        "ec_items": '{"a":1}',
        "e_n": "",
        "dimension1x": "d",
    }


def test_custom_variables_and_a_product_view() -> None:
    found = _read(cvar='{"1":["plan","gold"]}', _pks="SKU-1", _pkp="49.9", _pkc='["Shoes","Men"]')
    assert (found["type"], found["properties"]) == (
        "page",
        {
            "cvar": {"1": ["plan", "gold"]},
            "product_sku": "SKU-1",
            "product_price": Decimal("49.9"),
            "product_category": ["Shoes", "Men"],
        },
    )


def test_an_item_longer_than_documented_stays_as_it_is() -> None:
    items = [["a", "b", "c", 1, 2, "more"], "no list", None]
    assert _read(ec_items=json.dumps(items))["properties"]["items"] == items


def test_a_field_of_body_and_query_is_kept_with_both_values() -> None:
    found = matomo.read(hit("matomo", text="idsite=1&uid=a&user_id=x", query="idsite=2&uid=b&rec=1"))
    assert found == {
        "user_id": "a",
        "type": "page",
        "idsite": "1",
        "rec": "1",
        "uid": "b",
        "matomo": {"user_id": "x", "idsite": "2"},
    }


@pytest.mark.parametrize("text", ["", "?", "idsite", "idsite=", "?rec=1", "https://a.example/matomo.php", "{}", "null"])
def test_what_names_no_site_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        matomo.read(hit("matomo", text=text))
