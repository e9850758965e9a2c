"""What the readers make of anything a stranger can send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.processor.protocols import (
    Reader,
    Unreadable,
    amplitude,
    cloudevents,
    ga4,
    gtag,
    hook,
    matomo,
    mixpanel,
    plausible,
    posthog,
    segment,
    snowplow,
    umami,
)
from services.shared.hit import Hit
from tests.growth import assert_linear
from tests.processor.protocols import (
    test_amplitude,
    test_cloudevents,
    test_ga4,
    test_gtag,
    test_hook,
    test_matomo,
    test_mixpanel,
    test_plausible,
    test_posthog,
    test_segment,
    test_snowplow,
    test_umami,
)
from tests.processor.protocols.hits import NAMES, NOW, VALUES, hit, hits, marked, survive, texts


class Protocol(NamedTuple):
    """How real hits of a protocol look: JSON items, or the fields of a form or query string, and an envelope.

    They come by `paths` too. `long` are the beginning, the part that is repeated and the end of what may cost much.
    """

    read: Reader
    items: tuple[dict[str, Any], ...] = ()
    fields: tuple[dict[str, str], ...] = ()
    envelope: dict[str, Any] | None = None
    paths: tuple[str, ...] = ()
    long: tuple[str, str, str] | None = None


PROTOCOLS = {
    "matomo": Protocol(
        matomo.read, (), (test_matomo.PAGE, {"idsite": "1", "e_c": "a", "e_a": "b", "e_n": "c", "e_v": "d"})
    ),
    "plausible": Protocol(plausible.read, (test_plausible.PAGE, test_plausible.BOUGHT, test_plausible.BY_API)),
    "umami": Protocol(umami.read, (test_umami.PAGE, test_umami.BOUGHT, test_umami.KNOWN)),
    "ga4": Protocol(ga4.read, (test_ga4.BOUGHT,), (), test_ga4.ENVELOPE),
    "gtag": Protocol(gtag.read, (), ({**test_gtag.SHARED, **test_gtag.LINE},)),
    "cloudevents": Protocol(cloudevents.read, (test_cloudevents.EVENT,)),
    "hook.x": Protocol(hook.read, (test_hook.STRIPE, test_hook.GITHUB)),
    "amplitude": Protocol(
        amplitude.read,
        (test_amplitude.BROWSER, test_amplitude.PAGE, test_amplitude.IDENTIFY, test_amplitude.PYTHON),
        long=('{"event_type":"x","time":"', '","event_properties":{"a":[', "]}}"),
    ),
    "mixpanel": Protocol(
        mixpanel.read,
        (
            test_mixpanel.BROWSER,
            test_mixpanel.PYTHON,
            {"event": "$identify", "properties": {"$anon_distinct_id": "a", "distinct_id": "b"}},
        ),
        paths=("mixpanel.import",),
        long=('{"event":"x","properties":{"time":"', '","distinct_id":"$device:', '"}}'),
    ),
    "mixpanel.engage": Protocol(mixpanel.read, (test_mixpanel.PROFILE,), paths=("mixpanel.groups",)),
    "posthog": Protocol(
        posthog.read,
        (
            test_posthog.BROWSER,
            test_posthog.PYTHON,
            test_posthog.IDENTIFY,
            {"event": "$pageview", "offset": 3, "properties": {"token": "phc_1"}, "sent_at": NOW},
        ),
        long=('{"event":"x","timestamp":"', '","properties":{"a":[', "]}}"),
    ),
    "segment": Protocol(
        segment.read,
        (
            test_segment.BROWSER,
            test_segment.PYTHON,
            test_segment.RUDDERSTACK,
            test_segment.JITSU,
            {"type": "identify", "traits": {"a": "b"}, "context": {"traits": {"c": 1}}},
        ),
        paths=("segment.track", "segment.identify", "segment.page"),
        long=('{"type":"track","event":"', '","properties":{"a":[', "]}}"),
    ),
    "snowplow": Protocol(
        snowplow.read,
        (test_snowplow.BROWSER, *test_snowplow.SELF_DESCRIBED, {"e": "se", "se_ca": "a", "se_ac": "b"}),
        long=('{"e":"ue","ue_pr":"', '{\\"data\\":{', '"}'),
    ),
}
VIA = pytest.mark.parametrize("via", PROTOCOLS)
HEADERS = st.dictionaries(
    st.sampled_from(["ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "ce-data", "ce-", "content-type"]),
    VALUES | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    max_size=6,
)
# What the fields of these protocols are called, with values that mean something in one of them.
FORMS = st.lists(
    st.tuples(
        st.sampled_from(["idsite", "en", "ec_items", "uadata", "cvar", "cdt", "cdo", "pr1", "pr2", "ep.a", "epn.a"])
        | st.sampled_from(["e_a", "idgoal", "token_auth", "properties", "payload", "gcs", "type", "dimension1"])
        | NAMES,
        st.sampled_from(["1", "idA~nmB~k0x~v0y", '[["a","b",1]]', '{"a":"\\ud83d"}', "%ED%A0%BD%ED%B9%82", "%", "%zz"])
        | VALUES,
    ),
    max_size=8,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))


@VIA
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_is_sent_becomes_parameters_or_is_refused(via: str, data: st.DataObject) -> None:
    protocol = PROTOCOLS[via]
    one = data.draw(hits([via, *protocol.paths], list(protocol.items) or [{}]))
    if data.draw(st.booleans()):
        one = msgspec.structs.replace(one, headers=data.draw(HEADERS))
    if data.draw(st.booleans()):
        one = msgspec.structs.replace(one, text=data.draw(FORMS), query=data.draw(FORMS))
    survive(protocol.read, one)


@VIA
def test_no_text_that_is_sent_is_lost(via: str) -> None:
    protocol = PROTOCOLS[via]
    for item in protocol.items:
        mark = count()
        body, envelope = marked(item, mark), marked(protocol.envelope, mark) or {}
        if via == "umami":  # a word of a fixed set, which becomes the type where the payload has no name
            body["type"] = item["type"]
        own = "" if via == "hook.x" else "marked-999"  # senders put secrets into the query of a hook
        kept = _words(protocol.read(hit(via, body, query=f"own={own}", envelope=envelope)))
        assert kept >= set(texts([{**body, "type": own}, envelope])) - {""}, item
    for fields in protocol.fields:
        form = {name: f"xx-marked-{number}" for number, name in enumerate(fields)}  # an item loses its first letters
        for text, query in [(urlencode(form), ""), ("a=1", urlencode(form)), ("", urlencode(form))]:
            kept = _words(protocol.read(hit(via, text=text, query=query)))
            assert kept >= {value.removeprefix("xx-") for value in form.values()}, fields


def _words(found: Any) -> set[str]:
    return set(re.findall(r"marked-[0-9]+", " ".join(texts(_plain(found)))))


def _plain(found: Any) -> Any:
    return json.loads(msgspec.json.encode(found))


def _real(via: str) -> list[Callable[[str, str], Hit]]:
    """Real hits of the protocol with one more field."""
    protocol = PROTOCOLS[via]
    found: list[Callable[[str, str], Hit]] = []
    for item in protocol.items:
        place = "payload" if via == "umami" else "params" if via == "ga4" else "data" if via == "cloudevents" else None
        found.append(
            lambda name, value, item=item, place=place: hit(  # type: ignore[misc]
                via, {**item, place: {**item[place], name: value}} if place else {**item, name: value}
            )
        )
    for fields in protocol.fields:
        found.append(lambda name, value, fields=fields: hit(via, text=f"{urlencode(fields)}&{name}={value}"))  # type: ignore[misc]
    return found


@VIA
@pytest.mark.parametrize("name", ["__proto__", "constructor", "user_id_", "\ufeff", "a" * 5_000, "nul\0"])
def test_names_that_mean_something_elsewhere_are_names(via: str, name: str) -> None:
    for real in _real(via):
        found = PROTOCOLS[via].read(real(name, "kept-5d1"))
        assert "kept-5d1" in list(texts(_plain(found)))


@VIA
@pytest.mark.parametrize(
    "value", ["\ud83d", "9" * 5_000, "1e999999999", "-0", "[" * 2_000, '{"a":' * 2_000, "%", "%zz%", "\0", "~" * 999]
)
def test_values_that_break_others_cost_nothing(via: str, value: str) -> None:
    names = ("uadata", "ec_items", "cvar", "cdt", "cdo", "e_v", "epn.v", "pr1", "_et", "p", "$", "sd", "timestamp")
    for real in _real(via):
        for name in (*names, "timestamp_micros", "data_base64", "time", "id", "properties"):
            survive(PROTOCOLS[via].read, real(name, value))


@pytest.mark.parametrize("number", ["9" * 4_000, "9" * 5_000, "1e999999999", "1e-999999999", "-1", "0.1"])
@pytest.mark.parametrize("via", [via for via, protocol in PROTOCOLS.items() if protocol.items])
def test_numbers_of_any_size_in_any_place(via: str, number: str) -> None:
    protocol = PROTOCOLS[via]
    for item in protocol.items:
        for place in (item, *(value for value in item.values() if isinstance(value, dict))):
            for name in (*place, "timestamp", "timestamp_micros", "session_id", "amount", "id", "vid"):
                whole = json.dumps(
                    {**item, "x": {**place, name: "HERE"}} if place is not item else {**item, name: "HERE"}
                )
                body = whole.replace('"HERE"', number).encode()
                survive(protocol.read, hit(via, body, envelope=b'{"timestamp_micros":%b}' % number.encode()))


@VIA
def test_ten_thousand_fields_are_kept(via: str) -> None:
    many = {f"field{number}": str(number) for number in range(10_000)}
    protocol = PROTOCOLS[via]
    for item in protocol.items:
        kept = set(texts(_plain(protocol.read(hit(via, {**many, **item})))))
        assert kept >= set(many.values())
    for fields in protocol.fields:
        for one in (hit(via, text=urlencode({**many, **fields})), hit(via, query=urlencode({**many, **fields}))):
            if one.text or via != "form":
                assert set(texts(_plain(protocol.read(one)))) >= set(many.values())


@VIA
def test_surrogates_cesu_8_and_broken_escapes_are_text_of_some_kind(via: str) -> None:
    for value in ("%ED%A0%BD%ED%B9%82", "%ED%A0%BD", "\ud83d", "%F0%9F%99", "%u0041", "%"):
        for fields in PROTOCOLS[via].fields:
            for name in fields:
                broken = urlencode({**fields, name: "HERE"}).replace("HERE", value)
                assert survive(PROTOCOLS[via].read, hit(via, text=broken)) is not None
    for body in (b'"\xed\xa0\xbd\xed\xb9\x82"', b'"\xed\xa0\xbd"', rb'"\ud83d"', b'"\xff"'):
        for item in PROTOCOLS[via].items:
            for name in item:
                broken_body = json.dumps({**item, name: "HERE"}).encode().replace(b'"HERE"', body)
                survive(PROTOCOLS[via].read, hit(via, broken_body))


@pytest.mark.slow
@VIA
def test_time_grows_with_the_input_alone(via: str) -> None:
    protocol = PROTOCOLS[via]

    def body(text: bytes) -> None:
        protocol.read(hit(via, text, envelope=protocol.envelope))

    def plain(text: str) -> None:
        protocol.read(hit(via, text=text))

    if protocol.long is not None:
        assert_linear(lambda text: body(text.encode("latin-1")), *protocol.long, refused=Unreadable)
    for item in protocol.items[:1]:
        whole = json.dumps({**item, "p": '{"a":1}', "data_base64": "eyJh"}).encode()
        assert_linear(body, whole[: len(whole) // 2], whole[len(whole) // 2 :], refused=Unreadable)
        assert_linear(body, whole[:-1] + b',"x":"', b'"}', refused=Unreadable)
    for fields in protocol.fields[:1]:
        form = urlencode(fields)
        for name in {"matomo": ["uadata", "ec_items"], "gtag": ["pr1"], "form": ["properties"]}.get(via, []):
            assert_linear(plain, f"{form}&{name}=", "", refused=Unreadable)
        assert_linear(plain, form + "&a=", "b", refused=Unreadable)


@pytest.mark.slow
@pytest.mark.parametrize("via", ["cloudevents", "hook.x"])
def test_text_and_headers_cost_what_they_are_long(via: str) -> None:
    def work(text: str) -> None:
        headers = {"ce-id": text, "ce-source": text, "ce-type": "t", "ce-time": text, "ce-subject": text}
        PROTOCOLS[via].read(hit(via, text=text, headers=headers))

    assert_linear(work, '"a%20', 'b"', size=16_384, refused=Unreadable)
    assert_linear(work, "payload=", quote("{}"), size=16_384, refused=Unreadable)
