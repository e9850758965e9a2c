from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from services.shared.privacy import ACTIONS, ANONYMIZE, BY_PRESET, DROP, OFF, RECORD, SIGNALS, STRICT, Privacy
from services.shared.signals import PLACES, Signals
from tests.growth import assert_linear

SIGNALS_OF = Signals(Privacy())


def test_an_item_without_a_signal_has_none() -> None:
    assert SIGNALS_OF.of_headers({"user-agent": "x", "host": "consent", "dnt": ""}) == ""
    assert SIGNALS_OF.of_params("type=page&user_id=1&consented=denied&url=https%3A%2F%2Fa.example%2F%3Fq%3Dgcd") == ""
    assert SIGNALS_OF.of_item(b'{"type":"page","text":"consent denied","more":{"deep":{"consent":"denied"}}}') == ""
    assert SIGNALS_OF.of_item("en=page&dl=x") == ""


@pytest.mark.parametrize(
    ("name", "value", "signal"),
    [
        ("sec-gpc", "1", "gpc"),
        ("SEC-GPC", " 1\t", "gpc"),
        ("Sec-Gpc", "0, 1", "gpc"),
        ("sec-gpc", "0", ""),
        ("sec-gpc", "", ""),
        ("sec-gpc", "11", ""),
        ("sec-gpc", '"1"', ""),
        ("sec-gpc", "true", ""),
        ("sec-gpc", "\udcff1", ""),
        ("sec_gpc", "1", ""),
        ("dnt", "1", "dnt"),
        ("DNT", "1", "dnt"),
        ("dnt", "0", ""),
        ("dnt", "unspecified", ""),
        ("sp-anonymous", "*", "sp_anonymous"),
        ("SP-Anonymous", "", "sp_anonymous"),
        ("sp-anonymous", "no", "sp_anonymous"),
    ],
)
def test_headers(name: str, value: str, signal: str) -> None:
    assert SIGNALS_OF.of_headers({"host": "x", name: value}) == signal


@pytest.mark.parametrize("values", [("1", "0"), ("0", "1"), ("junk", "1", "junk")])
def test_a_repeated_header_counts_if_any_of_its_lines_opts_out(values: tuple[str, ...]) -> None:
    headers = CIMultiDictProxy(CIMultiDict([("Sec-GPC", value) for value in values]))
    assert SIGNALS_OF.of_headers(headers) == "gpc"


@pytest.mark.parametrize(
    ("query", "signal"),
    [
        ("consent=denied", "consent"),
        ("a=1&consent=DENIED&b=2", "consent"),
        ("Consent=Denied", "consent"),
        ("consent=%64enied", "consent"),
        ("c%6fnsent=denied", "consent"),
        ("%63%6F%6E%73%65%6E%74=%64%65%6E%69%65%64", "consent"),
        ("+consent+=+denied+", "consent"),
        ("consent=false", "consent"),
        ("consent=0", "consent"),
        ("consent=granted", ""),
        ("consent=", ""),
        ("consent", ""),
        ("consent=denied%", ""),
        ("consent=undenied", ""),
        ("xconsent=denied", ""),
        ("x=consent=denied", ""),
        ("consent=granted&consent=denied", "consent"),
        ("consent=denied&consent=granted", "consent"),
        ("gcs=G100", "google_consent"),
        ("gcs=G110", "google_consent"),
        ("gcs=G1-0", "google_consent"),
        ("gcs=g100", "google_consent"),
        ("g%63s=G1%300", "google_consent"),
        ("gcs=G101", ""),  # advertising alone
        ("gcs=G111", ""),
        ("gcs=G1--", ""),
        ("gcs=G10", ""),
        ("gcs=", ""),
        ("gcd=13l3l3l3l1l1", ""),  # nothing was asked
        ("gcd=11t1t1t1t5", ""),
        ("gcd=13r3r3r3r5", ""),  # denied by default, granted since
        ("gcd=13n3n3n3n5", ""),
        ("gcd=13v3v3v3v5", ""),
        ("gcd=13p3t3p3p5", ""),  # advertising alone
        ("gcd=13t3p3t3t5", "google_consent"),
        ("gcd=13q3q3q3q5", "google_consent"),
        ("gcd=13t3u3t3t5", "google_consent"),
        ("gcd=13m3m3m3m5", "google_consent"),
        ("gcd=junk", ""),
        ("v=2&gcs=G111&gcd=13q3q3q3q5", "google_consent"),
        ("gcs=G100&consent=denied", "consent"),
        ("&&=&%&%zz=%&consent=denied&", "consent"),
        ("consent=denied" + "x" * 10_000 + "&consent=denied", "consent"),
    ],
)
def test_parameters(query: str, signal: str) -> None:
    assert SIGNALS_OF.of_params(query) == signal
    assert SIGNALS_OF.of_item(query) == signal


def test_a_request_in_a_bulk_is_an_address_or_a_query() -> None:
    assert SIGNALS_OF.of_item("?consent=denied&idsite=1") == "consent"
    assert SIGNALS_OF.of_item("https://m.example/matomo.php?idsite=1&consent=denied") == "consent"
    assert SIGNALS_OF.of_item("idsite=1&consent=denied&url=https://a.example/?b") == "consent"


@pytest.mark.parametrize("place", ["", *PLACES])
@pytest.mark.parametrize(
    ("consent", "signal"),
    [
        ("denied", "consent"),
        (" Denied ", "consent"),
        (False, "consent"),
        (0, "consent"),
        ("granted", ""),
        (True, ""),
        (None, ""),
        (1, ""),
        ([], ""),
        ({}, ""),
        (["denied"], ""),
        ({"analytics": False}, "consent"),
        ({"Analytics": "denied", "Advertising": True}, "consent"),
        ({"analytics": True, "advertising": False}, ""),
        ({"categoryPreferences": {"Advertising": True, "Analytics": False, "Functional": True}}, "consent"),
        ({"categoryPreferences": {"Advertising": False, "Analytics": True}}, ""),
        ({"categoryPreferences": {"categoryPreferences": {"Analytics": False}}}, ""),
        ({"categoryPreferences": False}, ""),
        ({"analytics_storage": "denied", "ad_storage": "granted"}, "google_consent"),
        ({"analytics_storage": "granted", "ad_storage": "denied"}, ""),
        ({"ad_user_data": "DENIED", "ad_personalization": "DENIED"}, ""),
    ],
    ids=str,
)
def test_the_consent_of_an_item(place: str, consent: object, signal: str) -> None:
    said = {"type": "page", "CONSENT" if place == "data" else "consent": consent}
    item = {"id": "1", place: said} if place else said
    for text in (json.dumps(item), json.dumps(item, separators=(",", ":"))):
        assert SIGNALS_OF.of_item(text.encode()) == signal
        assert SIGNALS_OF.of_item(text) == signal


def test_an_umami_event_has_its_data_in_its_payload() -> None:
    assert SIGNALS_OF.of_item(b'{"type":"event","payload":{"name":"x","data":{"consent":"denied"}}}') == "consent"


def test_names_in_json_may_be_escaped() -> None:
    assert SIGNALS_OF.of_item(rb'{"c\u006Fnsent":"\u0064enied"}') == "consent"
    assert SIGNALS_OF.of_item(rb'{"g\u0063s":"G100"}') == "google_consent"


@pytest.mark.parametrize(
    "item",
    [
        rb'{"title":"half \ud83d","\ud83d":1,"consent":"denied"}',
        b'{"title":"\xed\xa0\xbd","\xff":1,"consent" : "DENIED"}',
        b'{"batch":[{"consent":false},',
        b'[{"consent":"denied"}]',
        b'{"a":' + b"[" * 5_000 + b',"consent":"denied"',
    ],
    ids=["half a character", "not UTF-8", "cut", "array", "deep"],
)
def test_what_cannot_be_decoded_is_searched(item: bytes) -> None:
    assert SIGNALS_OF.of_item(item) == "consent"
    assert (
        SIGNALS_OF.of_item(item.replace(b"denied", b"granted").replace(b"DENIED", b"ok").replace(b"false", b"1")) == ""
    )


def test_of_several_the_strongest_policy_wins_and_then_the_order() -> None:
    everything = CIMultiDict([("DNT", "1"), ("SP-Anonymous", "*"), ("Sec-GPC", "1")])
    assert Signals(Privacy()).of_headers(everything) == "gpc"
    one = Signals(Privacy(signals={**dict.fromkeys(SIGNALS, RECORD), "sp_anonymous": ANONYMIZE}))
    assert one.of_headers(everything) == "sp_anonymous"
    one = Signals(Privacy(signals={**dict.fromkeys(SIGNALS, ANONYMIZE), "dnt": DROP, "gpc": RECORD}))
    assert one.of_headers(everything) == "dnt"
    assert one.strongest("", "gpc", "consent", "") == "consent"
    assert one.strongest("consent", "sp_anonymous") == "sp_anonymous"
    assert (one.strongest(), one.strongest(""), one.action("")) == ("", "", "")
    assert [one.action(name) for name in ("dnt", "gpc", "consent")] == [DROP, RECORD, ANONYMIZE]


@given(st.fixed_dictionaries({name: st.sampled_from(ACTIONS) for name in SIGNALS}), st.lists(st.sampled_from(SIGNALS)))
def test_no_weaker_policy_is_ever_chosen(actions: dict[str, str], present: list[str]) -> None:
    one = Signals(Privacy(signals=actions))
    strength = {RECORD: 0, ANONYMIZE: 1, DROP: 2, "": -1}
    chosen = one.strongest(*present)
    assert strength[one.action(chosen)] == max((strength[actions[name]] for name in present), default=-1)
    assert chosen in present or not present


@pytest.mark.parametrize(("preset", "action"), [(STRICT, DROP), (OFF, RECORD)])
def test_presets(preset: str, action: str) -> None:
    one = Signals(BY_PRESET[preset])
    assert one.action(one.of_params("consent=denied")) == action


@given(st.text())
def test_a_denial_is_found_however_it_is_encoded(before: str) -> None:
    safe = quote(before, safe="&=+")
    name = "".join(f"%{ord(char):02x}" if len(before) % (index + 2) else char for index, char in enumerate("consent"))
    assert SIGNALS_OF.of_params(f"{safe}&{name}=denied&x=1") == "consent"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["denied", "granted"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["consent", "analytics", "gcs", *PLACES]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["consent", "CONSENT", "gcd", *PLACES]) | st.text(), VALUES), st.booleans())
def test_any_item_is_read(item: dict[str, object], ascii: bool) -> None:
    text = json.dumps(item, ensure_ascii=ascii)
    found = SIGNALS_OF.of_item(text.encode("utf-8", "surrogatepass"))
    assert found in ("", *SIGNALS)
    if not found:  # adding a denial to what has none is always noticed
        assert SIGNALS_OF.of_item(json.dumps({**item, "consent": "denied"}).encode()) == "consent"


@given(st.binary(), st.text(st.characters()))
def test_any_bytes_and_text_are_read(data: bytes, text: str) -> None:
    for one in (data, b'{"consent":' + data, b'{"properties":{"consent":' + data + b"}}", text, "{" + text):
        assert SIGNALS_OF.of_item(one) in ("", *SIGNALS)
    raw = data.decode("utf-8", "surrogateescape")
    assert SIGNALS_OF.of_params("consent=" + raw) in ("", *SIGNALS)
    assert SIGNALS_OF.of_headers({raw: "1", "sec-gpc": raw, "dnt": text}) in ("", *SIGNALS)


@pytest.mark.slow
def test_time_grows_with_the_input_and_nothing_else() -> None:
    assert_linear(SIGNALS_OF.of_params, "a=1&consent=", "gra%6eted&g%63d=", "13l3l&=x")
    assert_linear(lambda text: SIGNALS_OF.of_headers({"sec-gpc": text, "dnt": text}), "1,", "0")
    assert_linear(
        SIGNALS_OF.of_item, b'{"properties":{"consent":', b'{"analytics":"', b'"}},"x":"\\u0063"}', size=262_144
    )
    assert_linear(SIGNALS_OF.of_item, b'{"consent":', b'"gra', b'nted"', size=262_144)
