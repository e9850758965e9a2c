from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import msgspec
import pytest

from services.shared import hash_keys, user_agent_class
from services.shared.guard import TOO_MUCH, Guard
from services.shared.hash_keys import HashKey, HashKeys
from services.shared.hit import Hit
from services.shared.name_rules import NameRules
from services.shared.prefilter import Prefilter
from services.shared.privacy import FULL, NONE, SECRETS, Privacy
from services.shared.redact import STEPS

GUARD = Guard(Privacy(secrets=("loyalty_number", "größe geheim"), ids=("shoe_size",)))
NOTHING = Guard(Privacy(ip=FULL))
CURRENT, PREVIOUS = HashKey("k2", b"2" * 32), HashKey("k1", b"1" * 32)
HASHED = Privacy(ip=FULL, hash={"email": ("trim", "lower"), "user_id": ()})
HASHING = Guard(HASHED, HashKeys(CURRENT))


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _times(text: str, count: int) -> str:
    for _ in range(count):
        text = quote(text, safe="")
    return text


def _strings(text: str, count: int) -> str:
    for _ in range(count):
        text = json.dumps({"s": text})
    return text


QUERIES = {
    "first": ("password=s3cret&a=1", "a=1"),
    "middle": ("a=1&password=s3cret&b=2", "a=1&b=2"),
    "last": ("a=1&password=s3cret", "a=1"),
    "alone": ("password=s3cret", ""),
    "all": ("password=s3cret&token=s3cret", ""),
    "two of three": ("a=1&password=s3cret&token=s3cret&b=2&", "a=1&b=2&"),
    "twice": ("password=s3cret&a=1&password=s3cret", "a=1"),
    "no value": ("a=1&password=&b", "a=1&b"),
    "a name alone": ("a=1&password", "a=1&password"),
    "equals in the value": ("password=s3cret==&a=1", "a=1"),
    "all else in the value": ("password=s3?c#r/e;t&a=1", "a=1"),
    "upper case": ("PassWord=s3cret&a=1", "a=1"),
    "percent-encoded": ("%70ass%77ord=s3cret&a=%7e", "a=%7e"),
    "percent-encoded thrice": ("p%252561ssword=s3cret&a=1", "a=1"),
    "percent-encoded many times": ("p%25252525252525252561ssword=s3cret&a=1", "a=1"),
    "control character in a name": ("pass%00word=s3cret&a%0Atoken=s3cret&%09card=s3cret&a=1", "a=1"),
    "invisible character in a name": ("pass%E2%80%8Bword=s3cret&to%c2%adken=s3cret&pass\u200bword=s3cret&a=1", "a=1"),
    "wide letters": (f"{quote('ｐａｓｓｗｏｒｄ')}=s3cret&ｔｏｋｅｎ=s3cret&a=1", "a=1"),
    "separators": ("pass-word=s3cret&API.key=s3cret&api+key=s3cret&api%20key=s3cret&a=1", "a=1"),
    "end of a name": ("user_password=s3cret&x-api-key=s3cret&userToken=s3cret&a=1", "a=1"),
    "in a name": ("passwordConfirmation=s3cret&old_password2=s3cret&a=1", "a=1"),
    "numbered": ("cvv2=s3cret&a=1", "a=1"),
    "brackets": ("user[password]=s3cret&user%5Btoken%5D=s3cret&token[]=s3cret&a=1", "a=1"),
    "dots": ("a.password=s3cret&card.number=s3cret&ep.token=s3cret&a=1", "a=1"),
    "words of their own": (
        "product_card=1&map_pin=2&shopping=3&keyword=4&tokens=5&author=6&discard=7",
        "product_card=1&map_pin=2&shopping=3&keyword=4&tokens=5&author=6&discard=7",
    ),
    "named in the schema file": ("Loyalty-Number=s3cret&loyalty%5fnumber=s3cret&a=1", "a=1"),
    "named in the schema file, not ASCII": (
        f"{quote('größe geheim')}=s3cret&my_{quote('GRÖSSE-GEHEIM')}=s3cret&gro\u0308ßeGeheim=s3cret&gr%C3%B6%C3%9Fe=1",
        "gr%C3%B6%C3%9Fe=1",
    ),
    "semicolons": ("a=1;password=s3cret;b=2", "a=1;b=2"),
    "url": ("url=https://x.example/?a=1%26b=2", "url=https://x.example/?a=1%26b=2"),
    "in a url": (
        "url=https%3A%2F%2Fx%2F%3Fa%3D1%26token%3Ds3cret%26b%3D%c3%A9&c",
        "url=https%3A%2F%2Fx%2F%3Fa%3D1%26b%3D%c3%A9&c",
    ),
    "in a url as it is": ("url=https://x/?token=s3cret&c=1", "url=https://x/?&c=1"),
    "in a fragment": ("u=https://x/?a=1%23access_token=s3cret&c=1", "u=https://x/?a=1%23&c=1"),
    "in a fragment with a route": (
        "u=" + _times("https://x/#/cb?id_token=s3cret&k=1", 1),
        "u=" + _times("https://x/#/cb?k=1", 1),
    ),
    "before a fragment": ("u=" + _times("https://x/?token=s3cret#top", 1), "u=" + _times("https://x/?#top", 1)),
    "userinfo": ("u=" + _times("https://me:s3cret@x/?a=b@c", 1), "u=" + _times("https://x/?a=b@c", 1)),
    "userinfo encoded": ("u=" + _times("https://me:s3%40cret@x/", 1), "u=" + _times("https://x/", 1)),
    "at in a password": ("u=" + _times("https://me:a@s3cret@x/?a=b@c", 1), "u=" + _times("https://x/?a=b@c", 1)),
    "userinfo without a scheme": ("u=//me:s3cret@x/a//b@c", "u=//x/a//b@c"),
    "more levels than are read": ("u=" + _times("https://x/?token=s3cret", 12) + "&a=1", "u=&a=1"),
    "url in a url": (
        "u=" + _times(f"https://x/?r={_times('https://y/?k=1&token=s3cret&z=+', 1)}&k=2", 1),
        "u=" + _times(f"https://x/?r={_times('https://y/?k=1&z=+', 1)}&k=2", 1),
    ),
    "five levels": ("u=" + _times("https://x/?token=s3cret&a=1", 5), "u=" + _times("https://x/?a=1", 5)),
    "url in a path": (
        "u=https://x/" + _times("https://y/?token=s3cret&a=1", 2),
        "u=https://x/" + _times("https://y/?a=1", 2),
    ),
    "json": ("d=" + _times('{"a":1.10,"token":{"x":["s3cret"]},"b":2}', 1), "d=" + _times('{"a":1.10,"b":2}', 1)),
    "json as it is": ('d={"a":1,"token":"s3cret"}&b=2', 'd={"a":1}&b=2'),
    "json in json": (
        "d=" + _times(json.dumps({"s": json.dumps({"token": "s3cret", "a": 1})}), 1),
        "d=" + _times(json.dumps({"s": json.dumps({"a": 1})}).replace(r"\"token\": \"s3cret\", ", ""), 1),
    ),
    "base64": (
        "ue_px=" + _base64('{"data":{"token":"s3cret","a":1.10}}') + "&a=1",
        "ue_px=" + _base64('{"data":{"a":1.10}}') + "&a=1",
    ),
    "base64 padded": (
        "data=" + _times(base64.b64encode(b'[{"token":"s3cret","a":">>>?"}]').decode(), 1),
        "data=" + _times(base64.b64encode(b'[{"a":">>>?"}]').decode(), 1),
    ),
    "base64 without a name": ("a=1&" + base64.b64encode(b'{"token":"s3cret","b":""}').decode(), "a=1&eyJiIjoiIn0="),
    "base64 in a fragment": (
        "u=" + _times("https://x/#" + base64.b64encode(b'{"token":"s3cret","b":""}').decode(), 1),
        "u=" + _times("https://x/#eyJiIjoiIn0=", 1),
    ),
    "base64 with a url": (
        "data=" + _base64('{"u":"https://x/?token=s3cret&a=1"}'),
        "data=" + _base64('{"u":"https://x/?a=1"}'),
    ),
    "address": (
        "ip=192.0.2.77&$ip=2001:db8:1:2::3&client_ip=192.0.2.77",
        "ip=192.0.2.0&$ip=2001:db8:1::&client_ip=192.0.2.0",
    ),
    "address in other places": (
        "uip=192.0.2.77&cip=192.0.2.77&userIp=192.0.2.77:80",
        "uip=192.0.2.0&cip=192.0.2.0&userIp=192.0.2.0",
    ),
    "addresses": (
        "X-Forwarded-For=192.0.2.77,+203.0.113.9&ip_address=10.1.2.3",
        "X-Forwarded-For=192.0.2.0%2C%20203.0.113.0&ip_address=10.1.2.0",
    ),
    "no address": ("ip=1&ip=&ip=$remote&zip=12345&ship=192.0.2.77", "ip=1&ip=&ip=$remote&zip=12345&ship=192.0.2.77"),
    "address in a url": (
        "u=" + _times("https://x/?ip=192.0.2.77&a=1", 2),
        "u=" + _times("https://x/?ip=192.0.2.0&a=1", 2),
    ),
    "ids": (
        "event_id=1&user_id=2&url=https%3A%2F%2Fx%2F%3Fgclid%3D3",
        "event_id=1&user_id=2&url=https%3A%2F%2Fx%2F%3Fgclid%3D3",
    ),
    "broken": ("%=1&%zz=2&&&=&?#&%u0041", "%=1&%zz=2&&&=&?#&%u0041"),
    "surrogates": ("a=\udce9\ud800&token=s3cret", "a=\udce9\ud800"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query(name: str) -> None:
    query, expected = QUERIES[name]
    assert GUARD.query(query, False) == expected
    if expected != query:
        assert not GUARD.passes(query.encode("utf-8", "surrogatepass"))


ITEMS = {
    "member": ('{"a":1.10,"password":"s3cret","b":12345678901234567890}', '{"a":1.10,"b":12345678901234567890}'),
    "first": ('{ "password" : "s3cret" , "b":1}', '{ "b":1}'),
    "last": ('{"b":1 , "password":"s3cret" }', '{"b":1  }'),
    "alone": ('{"password":"s3cret"}', "{}"),
    "two": ('{"password":"s3cret","token":"s3cret"}', "{}"),
    "two of four": ('{"a":1,"password":"s3cret","token":"s3cret","b":2}', '{"a":1,"b":2}'),
    "deep": ('{"a":[{"b":{"apiKey":"s3cret"}}]}', '{"a":[{"b":{}}]}'),
    "object": ('{"token":{"a":"}","b":["s3cret"]},"c":1}', '{"c":1}'),
    "list": ('{"token":["]",{"a":"s3cret"}],"c":1}', '{"c":1}'),
    "number": ('{"pin":1234,"c":null}', '{"c":null}'),
    "escaped": (r'{"\u0070ass\u0057ord":"s3cret","c":"\u00e9\/"}', r'{"c":"\u00e9\/"}'),
    "a value is no name": ('{"name":"password","list":["token","pin"]}', '{"name":"password","list":["token","pin"]}'),
    "quotes in strings": (r'{"a":"\"token\"","token":"s3\"cret","b":"\\"}', r'{"a":"\"token\"","b":"\\"}'),
    "url": (r'{"url":"https:\/\/x\/?a=\u00e9&token=s3cret#b"}', r'{"url":"https:\/\/x\/?a=\u00e9#b"}'),
    "url encoded": (
        '{"u":"https://x/?r=https%3A%2F%2Fy%3Ftoken%3Ds3cret%26a"}',
        '{"u":"https://x/?r=https%3A%2F%2Fy%3Fa"}',
    ),
    "userinfo": (r'{"u":"https://me:s3cret@x/","m":"me@x"}', r'{"u":"https://x/","m":"me@x"}'),
    "userinfo with escapes": (r'{"u":"https:\/\/me:s3cret@x\/","n":1}', r'{"u":"https:\/\/x\/","n":1}'),
    "characters in a name": (
        '{"pass\\u0000word":"s3cret","to\\u200bken":"s3cret","pass\u00adword":"s3cret","ｔｏｋｅｎ":1,"a":"é","\u200b":1}',
        '{"a":"é","\u200b":1}',
    ),
    "not ASCII": ('{"größe_geheim":"s3cret","u":"/?gr\\u00f6\\u00dfeGeheim=s3cret&größe=1"}', '{"u":"/?größe=1"}'),
    "base64 in a fragment": (
        '{"u":"https://x/#' + _base64('{"token":"s3cret","b":""}') + '"}',
        '{"u":"https://x/#eyJiIjoiIn0"}',
    ),
    "json in strings, deeper than is read": ('{"a":' + _strings('{"token":"s3cret"}', 12) + ',"b":1}', None),
    "name": ('{"https://x/?token=s3cret&a=1":1}', '{"https://x/?a=1":1}'),
    "json in a string": (
        r'{"s":"{\"token\":\"s3cret\",\"b\":\"{\\\"token\\\":1,\\\"c\\\":2}\"}"}',
        r'{"s":"{\"b\":\"{\\\"c\\\":2}\"}"}',
    ),
    "form in a string": ('{"s":"a=1&token=s3cret"}', '{"s":"a=1"}'),
    "a string alone": ('"a=1&token=s3cret"', '"a=1"'),
    "base64": (
        json.dumps({"cx": _base64('{"data":[{"token":"s3cret","a":1}]}')}),
        json.dumps({"cx": _base64('{"data":[{"a":1}]}')}),
    ),
    "address": (
        '{"ip":"192.0.2.77","ips":["192.0.2.77","x"],"context":{"ip":"2001:db8:1:2::3"}}',
        '{"ip":"192.0.2.0","ips":["192.0.2.0","x"],"context":{"ip":"2001:db8:1::"}}',
    ),
    "no address": (
        '{"ip":"$remote","x":{"ip":true,"client_ip":{"a":"x"}}}',
        '{"ip":"$remote","x":{"ip":true,"client_ip":{"a":"x"}}}',
    ),
    "write keys": (
        '{"writeKey":"s3cret","properties":{"token":"s3cret","a":1},"api_key":"s3cret","api_secret":1,"token_auth":2}',
        '{"properties":{"a":1}}',
    ),
    "what counts once": (
        '{"messageId":"1","$insert_id":"2","uuid":"3","eid":"4","event_id":"5","id":"6"}',
        '{"messageId":"1","$insert_id":"2","uuid":"3","eid":"4","event_id":"5","id":"6"}',
    ),
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_json_item(name: str) -> None:
    item, expected = ITEMS[name]
    edited = GUARD.json(item.encode(), False).decode()
    json.loads(edited)
    assert "s3cret" not in edited
    assert edited == expected or expected is None


def test_text_that_is_no_json() -> None:
    assert GUARD.text("a=1&token=s3cret", False) == "a=1"
    assert GUARD.text("?a=1&token=s3cret", False) == "?a=1"
    assert GUARD.text('{"a":1,"token":"s3cret","b":{"c":"cut o', False) == '{"a":1,"b":{"c":"cut o'
    assert GUARD.text('{"a":1,"token":{"b":"s3cr', False) == '{"a":1,'
    assert GUARD.text('{"a":1,"token":"s3cr', False) == '{"a":1,'
    assert GUARD.text('{"a":1 "token":"s3cret" "b":NaN}', False) == '{"a":1  "b":NaN}'
    field = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    text = field.format("a", "1") + field.format("password", "s3\r\ncret") + field.format("b", "2")
    assert GUARD.text(text, False) == text.replace("s3\r\ncret", "(removed)")


LOCAL = "u=http://localhost:8080"
CUT_OFF = {
    "password": ("a=1&u=https://me:s3cret", "a=1&u=https://"),
    "number": ("u=https://me:123456", "u=https://"),
    "user": ("u=https://s3cret", "u=https://"),
    "at in a password": ("u=https://me:a@s3cret", "u=https://"),
    "before a host of IPv6": ("u=https://me:s3cret@[2001:db8::1", "u=https://"),
    "percent-encoded at": ("u=https://me:s3cret%4", "u=https://"),
    "percent-encoded": (_times("https://me:s3cret", 1), _times("https://", 1)),
    "in an escape": ("u=" + _times("https://me:s3cret", 1) + "%4", "u=" + _times("https://", 1) + "%4"),
    "twice": ("u=" + _times("https://me:s3cret", 2) + "%2", "u=" + _times("https://", 2) + "%2"),
    "url in a url": (
        "u=https://x/?r=" + _times("https://me:s3cret", 1),
        "u=https://x/?r=" + _times("https://", 1),
    ),
    "json": (r'{"a":1,"u":"https:\/\/me:s3cret', r'{"a":1,"u":"https:\/\/'),
    "json in json": (r'{"a":"{\"u\":\"https://me:s3cret\\', r'{"a":"{\"u\":\"https://'),
    "json in a query": ("d=" + _times('{"u":"https://me:s3cret', 1) + "%", "d=" + _times('{"u":"https://', 1) + "%"),
    "base64": ("d=" + _base64('{"a":1,"token":"s3cret","b":2}')[:-1], "d=" + _base64('{"a":1,"b":2')),
    "base64 padded": (
        "d=" + base64.b64encode(b'{"token":"s3cret","b":""}').decode().replace("=", "%3D")[:-1],
        "d=eyJiIjoiIn0%3D%3",
    ),
    "base64 of nothing else": ("a=1&d=" + _base64('{"password":"s3cret="'), "a=1&d="),
    "base64 with a url": ("d=" + _base64('{"u":"https://me:s3cret'), "d=" + _base64('{"u":"https://')),
    "behind the host": (f"{LOCAL}/a", f"{LOCAL}/a"),
    "in another value": (f"{LOCAL}&b=c", f"{LOCAL}&b=c"),
    "no url": ("a=b:c//d", "a=b:c//d"),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_may_be_a_secret_at_the_end_of_a_text_that_is_cut_off(name: str) -> None:
    text, expected = CUT_OFF[name]
    edited = GUARD.text(text, False, cut_off=True)
    assert edited == expected
    assert GUARD.text(edited, False, cut_off=True) == edited


def test_a_host_at_the_end_of_a_whole_text_stays() -> None:
    for text in (LOCAL, quote(LOCAL), 'a=1&b=27" at http://localhost:8080', "u=https://me:word"):
        assert GUARD.text(text, False) == GUARD.query(text, False) == text
    whole = json.dumps({"u": LOCAL, "d": json.dumps([LOCAL])})
    assert GUARD.json(whole.encode(), False).decode() == GUARD.text(whole, False, cut_off=True) == whole


def test_json_that_is_cut_off_is_known_by_its_last_string() -> None:
    cut, expected = '{"u":"https://me:s3cret', '{"u":"https://'
    assert GUARD.text(cut, False) == expected
    assert GUARD.query(f"d={quote(cut)}&a=1", False) == f"d={quote(expected)}&a=1"
    assert json.loads(GUARD.json(json.dumps({"d": cut}).encode(), False)) == {"d": expected}
    assert GUARD.headers({"referer": f"https://x/?d={quote(cut)}"}, False) == {
        "referer": f"https://x/?d={quote(expected)}"
    }


def test_secrets_are_counted_by_the_entry_of_the_list() -> None:
    found: list[str] = []
    guard = Guard(Privacy(secrets=("loyalty_number",)), removed=found.append)
    guard.query("user_password=1&Loyalty-Number=2&user_id=3&u=https://a:b@c/", True)
    guard.json(b'{"apiKey":1}', False)
    guard.headers({"authorization": "Bearer s3cret", "x-password": "s3cret"}, False)
    assert sorted(found) == ["api_key", "authorization", "loyalty_number", "password", "password", "password"]
    assert set(found) < set(guard.entries) == {*SECRETS, "loyalty_number"}


ANONYMOUS = {
    "native": (
        "event_id=1&user_id=2&anonymous_id=3&session_id=4&type=a&url=/x&email=5&shoe_size=6",
        "event_id=1&type=a&url=/x",
    ),
    "click ids": (
        "gclid=1&u=" + _times("https://x/?fbclid=2&a=1&utm_source=b", 1),
        "u=" + _times("https://x/?a=1&utm_source=b", 1),
    ),
    "address": ("ip=192.0.2.77&a=1&ip=1", "a=1&ip=1"),
    "matomo": (
        "idsite=1&rec=1&uid=2&_id=3&cid=4&pv_id=5&action_name=b&_refts=6&lat=1.5&long=2.5",
        "idsite=1&rec=1&pv_id=5&action_name=b&_refts=6",
    ),
    "snowplow": (
        "e=pv&eid=1&duid=2&uid=3&nuid=4&tnuid=5&sid=6&dtm=7&aid=8&url=/x?_sp=9.10",
        "e=pv&eid=1&dtm=7&aid=8&url=/x?",
    ),
    "gtag of who signed in": ("v=2&_fid=1&em=tv.1~em.2&ecid=3&auid=4&en=a", "v=2&en=a"),
    "gtag": ("v=2&tid=G-1&cid=1&uid=2&sid=3&en=a&ep.x=1&up.name=4&upn.age=5&dl=b", "v=2&tid=G-1&en=a&ep.x=1&dl=b"),
}


@pytest.mark.parametrize("name", ANONYMOUS)
def test_a_query_of_who_opted_out(name: str) -> None:
    query, expected = ANONYMOUS[name]
    assert GUARD.query(query, True, name.partition(" ")[0]) == expected


ANONYMOUS_ITEMS = {
    "segment": (
        {
            "messageId": "1",
            "userId": "2",
            "anonymousId": "3",
            "type": "track",
            "event": "a",
            "timestamp": "t",
            "context": {
                "ip": "192.0.2.7",
                "traits": {"name": "4"},
                "page": {"url": "/x?gclid=5&a=1"},
                "sessionId": 6,
                "userAgent": "Mozilla/5.0",
                "device": {"advertisingId": "7", "id": "8", "type": "ios"},
                "location": {"city": "9", "country": "C"},
            },
            "traits": {"email": "10"},
            "properties": {"order_id": "11", "email": "12"},
        },
        {
            "messageId": "1",
            "type": "track",
            "event": "a",
            "timestamp": "t",
            "context": {"page": {"url": "/x?a=1"}, "location": {"country": "C"}},
            "properties": {"order_id": "11"},
        },
    ),
    "posthog": (
        {
            "uuid": "1",
            "event": "a",
            "distinct_id": "2",
            "$set": {"email": "3"},
            "timestamp": "t",
            "properties": {
                "$device_id": "4",
                "$session_id": "5",
                "$current_url": "/x",
                "$anon_distinct_id": "6",
                "$ip": "192.0.2.7",
            },
        },
        {"uuid": "1", "event": "a", "timestamp": "t", "properties": {"$current_url": "/x"}},
    ),
    "mixpanel": (
        {
            "event": "a",
            "properties": {"$insert_id": "1", "distinct_id": "2", "$user_id": "3", "$device_id": "4", "time": 5},
        },
        {"event": "a", "properties": {"$insert_id": "1", "time": 5}},
    ),
    "amplitude": (
        {
            "insert_id": "1",
            "event_type": "a",
            "user_id": "2",
            "device_id": "3",
            "session_id": 4,
            "time": 5,
            "event_id": 6,
            "ip": "$remote",
            "city": "7",
            "user_properties": {"a": "8"},
            "idfa": "9",
            "location_lat": 10.5,
        },
        {"insert_id": "1", "event_type": "a", "time": 5, "event_id": 6, "ip": "$remote"},
    ),
    "ga4": (
        {
            "name": "a",
            "params": {"session_id": "1", "page_location": "/x", "transaction_id": "2"},
            "client_id": "3",
            "user_properties": {"a": {"value": "4"}},
            "user_data": {"x": 5},
            "timestamp_micros": 6,
        },
        {"name": "a", "params": {"page_location": "/x", "transaction_id": "2"}, "timestamp_micros": 6},
    ),
    "umami": (
        {"type": "event", "payload": {"website": "1", "id": "2", "vid": "3", "url": "/x", "name": "a"}},
        {"type": "event", "payload": {"website": "1", "url": "/x", "name": "a"}},
    ),
    "plausible": ({"n": "a", "u": "/x", "d": "b", "p": {"c": 1}}, {"n": "a", "u": "/x", "d": "b", "p": {"c": 1}}),
    "cloudevents": (
        {
            "specversion": "1.0",
            "id": "1",
            "source": "s",
            "type": "t",
            "time": "u",
            "subject": "2",
            "data": {"email": "3", "a": 4},
        },
        {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "u", "data": {"a": 4}},
    ),
}


@pytest.mark.parametrize("name", ANONYMOUS_ITEMS)
def test_an_item_of_who_opted_out(name: str) -> None:
    item, expected = ANONYMOUS_ITEMS[name]
    assert json.loads(GUARD.json(json.dumps(item).encode(), True, f"{name}.x")) == expected


def _hashed(value: str, key: HashKey = CURRENT) -> str:
    return key.hash(value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&email=+Me%40X.example+&b=2", f"a=1&email={_hashed('me@x.example')}&b=2"),
        ("user_id=%C3%A9", f"user_id={_hashed('é')}"),
        ("user_id=%E9", f"user_id={_hashed('é')}"),
        (
            "userId=A&uid=A&distinct_id=A",
            "&".join(f"{name}={_hashed('A')}" for name in ("userId", "uid", "distinct_id")),
        ),
        ("distinct_id=$device:1&email=&user_ids=1", "distinct_id=$device:1&email=&user_ids=1"),
        ("u=" + _times("https://x/?email=me@x", 1), "u=" + _times(f"https://x/?email={_hashed('me@x')}", 1)),
    ],
    ids=["normalised", "utf-8", "latin-1", "spellings", "nobody", "in a url"],
)
def test_a_hashed_parameter(query: str, expected: str) -> None:
    assert HASHING.query(query, False) == expected


def test_a_hashed_member() -> None:
    item = (
        r'{"userId":"A","e":1.10,"traits":{"email":["\u00c9@x ",null,7]},'
        r'"n":{"user_id":12345678901234567890,"uid":null}}'
    )
    expected = (
        f'{{"userId":"{_hashed("A")}","e":1.10,"traits":{{"email":["{_hashed("é@x")}",null,"{_hashed("7")}"]}},'
        f'"n":{{"user_id":"{_hashed("12345678901234567890")}","uid":null}}}}'
    )
    assert HASHING.json(item.encode(), False).decode() == expected


def test_a_text_has_the_same_hash_however_it_is_sent() -> None:
    ways = (
        HASHING.query(f"user_id={quote('🙂')}", False).partition("=")[2],
        HASHING.query("user_id=🙂", False).partition("=")[2],
        json.loads(HASHING.json(b'{"user_id":"\\ud83d\\ude42"}', False))["user_id"],
        json.loads(HASHING.json('{"user_id":"🙂"}'.encode(), False))["user_id"],
    )
    assert set(ways) == {_hashed("🙂")}


def test_the_other_hash_stands_beside_it_while_keys_are_changed() -> None:
    guard = Guard(HASHED, HashKeys(CURRENT, PREVIOUS))
    now, before = _hashed("a"), _hashed("a", PREVIOUS)
    assert guard.query("x=1&email=A", False) == f"x=1&email={now}&email_previous={before}"
    assert guard.query("u[email]=A", False) == f"u[email]={now}&u[email_previous]={before}"
    assert (
        guard.json(b'{"email":"A","x":1}', False).decode() == f'{{"email":"{now}","email_previous":"{before}","x":1}}'
    )


def test_hashes_need_keys() -> None:
    with pytest.raises(ValueError, match="no keys to hash email, user_id"):
        Guard(HASHED)
    assert hash_keys.MIN_BYTES == 16


def test_under_an_opt_out_a_hash_is_an_id_too() -> None:
    assert HASHING.query("a=1&email=me@x&userId=7", True) == "a=1"


SENT = {
    "user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile/15E148",
    "referer": "https://me:s3cret@x/?token=s3cret&a=1&gclid=2",
    "host": "t.example.com",
    "accept-language": "de",
    "cookie": "session=s3cret",
    "authorization": "Basic s3cret",
    "x-write-key": "s3cret",
    "x-api-key": "s3cret",
    "x-forwarded-for": "192.0.2.77, 203.0.113.9",
    "forwarded": "for=192.0.2.77",
    "sec-ch-ua-model": "Pixel 8",
    "x-client-geo-location": "US,USCA,Mountain View",
    "ce-id": "1",
    "ce-subject": "me",
    "ce-source": "/s",
}


def test_a_user_agent_may_hold_a_url() -> None:
    sent = {"user-agent": "bot/1 (+https://me:s3cret@x/?a=1&token=s3cret"}
    assert GUARD.headers(sent, False) == {"user-agent": "bot/1 (+https://x/?a=1"}
    assert GUARD.headers(sent, True) == {"user-agent": "bot"}


def test_headers() -> None:
    assert GUARD.headers(SENT, False) == {
        "user-agent": SENT["user-agent"],
        "referer": "https://x/?a=1&gclid=2",
        "host": "t.example.com",
        "accept-language": "de",
        "x-forwarded-for": "192.0.2.0, 203.0.113.0",
        "sec-ch-ua-model": "Pixel 8",
        "x-client-geo-location": "US,USCA,Mountain View",
        "ce-id": "1",
        "ce-subject": "me",
        "ce-source": "/s",
    }
    assert GUARD.headers(SENT, True, "cloudevents") == {
        "user-agent": "mobile",
        "referer": "https://x/?a=1",
        "host": "t.example.com",
        "accept-language": "de",
        "x-client-geo-location": "US,USCA,",
        "ce-id": "1",
        "ce-source": "/s",
    }


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("", ""),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/129.0 Safari/537.36", "desktop"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15",
            "desktop",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "desktop"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/129.0 Mobile Safari/537.36", "mobile"),
        ("Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 Chrome/129.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
        ("curl/8.5.0", "bot"),
        ("Mozilla/5.0 (Linux; Android 12; BRAVIA 4K) AppleWebKit/537.36 Chrome/129.0", "other"),
        ("mobile", "mobile"),
        ("something else", "other"),
    ],
)
def test_the_class_of_a_user_agent(agent: str, kind: str) -> None:
    assert user_agent_class.of(agent) == kind
    assert user_agent_class.of(kind) == kind


@pytest.mark.parametrize(
    ("policy", "anonymize", "expected"),
    [("full", False, "192.0.2.77"), ("cut", False, "192.0.2.0"), ("none", False, ""), ("full", True, "")],
)
def test_the_address(policy: str, anonymize: bool, expected: str) -> None:
    guard = Guard(Privacy(ip=policy))
    assert guard.ip("192.0.2.77", anonymize) == expected
    assert guard.ip("", anonymize) == ""
    query = guard.query("a=1&ip=192.0.2.77", anonymize)
    assert query == (f"a=1&ip={expected}" if expected else "a=1")
    assert guard.query("ip=1", anonymize) == "ip=1"


def test_none_takes_the_whole_list() -> None:
    assert Guard(Privacy(ip=NONE)).json(b'{"ips":["192.0.2.77","x"],"a":1}', False) == b'{"a":1}'


def test_a_whole_hit() -> None:
    item = b'{"userId":"u","password":"s3cret","a":1.10}'
    one = Hit(
        "id",
        1,
        "POST",
        "/v1/track",
        "token=s3cret&b=2",
        SENT,
        "192.0.2.77",
        msgspec.Raw(item),
        via="segment",
        envelope=msgspec.Raw(b'{"writeKey":"s3cret"}'),
        visitor_id="v",
        text="secret=s3cret&c=3",
    )
    for anonymize in (False, True):
        found = GUARD.hit(one, "gpc" if anonymize else "", anonymize)
        assert "s3cret" not in repr(msgspec.json.encode(found))
        assert (found.opt_out, found.anonymized) == (("gpc", True) if anonymize else ("", False))
        assert (found.query, found.text, bytes(found.envelope)) == ("b=2", "c=3", b"{}")
        assert bytes(found.body) == (b'{"a":1.10}' if anonymize else b'{"userId":"u","a":1.10}')
        assert (found.ip, found.visitor_id) == (("", "") if anonymize else ("192.0.2.0", "v"))


def test_each_secret_is_seen_by_the_prefilter_and_by_the_rules() -> None:
    rules = NameRules(Privacy(), anonymize=False)
    passes = Prefilter(rules).passes
    for name in SECRETS:
        spellings = (name, name.upper(), name.replace("_", "-"), name.replace("_", ""), name.title().replace("_", ""))
        for spelled in spellings:
            found = rules.find(spelled)
            assert found is not None and found.secret, spelled
            assert not passes(f"a=1&{spelled}=x".encode()), spelled


def test_what_takes_too_many_steps_goes_as_a_whole() -> None:
    pairs, members = "pin=s3cret&" * STEPS, '"pin":"s3cret",' * STEPS
    assert GUARD.json(b'{%b"z":1}' % members.encode(), False) == TOO_MUCH
    assert GUARD.json(b'{"a":"%b"}' % pairs.encode(), False) == TOO_MUCH
    assert GUARD.text(pairs, False) == TOO_MUCH.decode()
    assert GUARD.text(members, False) == TOO_MUCH.decode()
    assert GUARD.query(pairs, False) == ""
    assert GUARD.headers({"referer": pairs, "accept-language": "de"}, False) == {"accept-language": "de"}
    body = msgspec.Raw(b"{%b}" % members.encode())
    hit = GUARD.hit(Hit("id", 1, "GET", pairs, pairs, body=body, text=pairs, envelope=body), "", False)
    assert (hit.path, hit.query, hit.text) == ("", "", TOO_MUCH.decode())
    assert bytes(hit.body) == bytes(hit.envelope) == TOO_MUCH


@pytest.mark.parametrize("anonymize", [False, True], ids=["", "anonymized"])
def test_a_large_event_does_not_take_too_many(anonymize: bool) -> None:
    """An order of a thousand lines, in a language that has no letter of ASCII, with a link each."""
    line = {"sku": "A-1", "name": "Игра «Монополия»", "url": "https://shop.example/p/1?utm_source=x&a=1", "price": 9.5}
    order = {"type": "order", "password": "s3cret", "lines": [{**line, "number": at} for at in range(1_000)]}
    for ascii_only in (False, True):
        kept = json.loads(GUARD.json(json.dumps(order, ensure_ascii=ascii_only).encode(), anonymize))
        assert kept == {"type": "order", "lines": order["lines"]}


@pytest.mark.parametrize("guard", [GUARD, NOTHING], ids=["cut", "full"])
@pytest.mark.parametrize("size", [10, 1_000])
def test_what_passes_is_returned_as_it_is(guard: Guard, size: int) -> None:
    item = b'{"messageId":"1","event":"a","properties":{"n":%s}}' % (b"1" * size)
    edited: Callable[[bytes, bool], bytes] = guard.json
    assert edited(item, False) is item
