"""Whatever a stranger sends, the guard takes time that grows with its size and with nothing else."""

from __future__ import annotations

import cProfile
import json
from base64 import b64encode
from collections.abc import Callable
from functools import partial

import pytest

from services.shared.guard import Guard
from services.shared.hash_keys import HashKey, HashKeys
from services.shared.privacy import NONE, Privacy
from tests.growth import assert_linear

GUARD = Guard(Privacy(hash={"email": ("trim",)}), HashKeys(HashKey("a", b"a" * 32), HashKey("b", b"b" * 32)))
NOBODY = Guard(Privacy(ip=NONE))
MEGABYTE = 1_048_576
MOST_CALLS = 500_000  # of about 0.1 µs
RUNS = (
    *(bytes([one]) for one in b" \t%&=;:,./?#@\"\\[]{}a0W\xe9"),
    *rb'[] {} [], {}, \" \\ "", %25 %3D %26 a= a& &a=%3D ;a= #a= /a= // :// ://a@ \u0070 ey eyJ W3s ,"a":'.split(),
    *rb"token= ;token= &token= /token= #token= =token= ip= &ip=1 /ip=1 ;ip=1 ip=1.2.3.4&".split(),
    *rb'"token":1, "token": "token":{ "token":[ {"token":"a"}, "ip":1, "ip":[ "ip":[1, "ip":{'.split(),
    *rb'email= /email= &email=a "email":[{ "email":["a"],'.split(),
    *rb'{"a":"token=" "a":"ip=1", %22token%22%3A "\"token\": "eyJh", name="token"'.split(),
)  # fmt: skip
TEXTS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "query": (lambda text: GUARD.query(text, False), ("a=1&token=", "x&u=https%3A%2F%2Fx%3Fa%3D", "1%26ip%3D1")),
    "query anonymized": (lambda text: NOBODY.query(text, True), ("a=1&token=", "x&u=https%3A%2F%2Fx%3Fa%3D", "1&uid=")),
    "text": (lambda text: GUARD.text(text, False, cut_off=True), ('{"a":"//me', '","token":"', '"}')),
    "header": (lambda text: GUARD.headers({"referer": text, "x-forwarded-for": text}, False), ("https://x?a=", "b@")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str) -> None:
    work, frame = TEXTS[name]
    assert_linear(work, *frame, size=32_768, runs=RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("anonymize", [False, True], ids=["", "anonymized"])
def test_json(anonymize: bool) -> None:
    def work(item: bytes) -> None:
        GUARD.json(item, anonymize)

    assert_linear(work, b'{"token":1,"a":"', b'","b":[', b'],"password":{}}', size=32_768, runs=RUNS)


@pytest.mark.slow
def test_what_passes() -> None:
    assert_linear(GUARD.passes, b"a=1&b=", b"2&c=3", size=65_536, runs=RUNS)


SHAPES = {
    "strings": b'{"token":1,"a":[%s""]}' % (b'"",' * 300_000),
    "brackets": b'{"token":1,"a":[%s[]]}' % (b"[]," * 300_000),
    "members": b'{"token":1,%s"z":1}' % (b'"a":1,' * 170_000),
    "secrets": b'{%s"z":1}' % (b'"pin":1,' * 130_000),
    "urls": b'{"token":1,"a":[%s""]}' % (b'"https://x/?a=%253D1&token=1",' * 35_000),
    "one secret": b'{"token":"%s"}' % (b"a" * MEGABYTE),
    "one url": b'{"a":"https://x/?token=%s"}' % (b"a%20" * (MEGABYTE // 4)),
    "escapes": b'{"token":1,"a":"%s"}' % (rb"\u0061" * (MEGABYTE // 6)),
    "names that normalize to longer ones": b'{"token":1,%s"z":1}' % (('"' + "\ufdfa" * 20 + '":1,').encode() * 15_000),
    "levels": b'{"token":1,"a":"%%%s3D"}' % (b"25" * (MEGABYTE // 2)),
    "names": b"{%s}" % b",".join(b'"n%d_pin":1' % number for number in range(70_000)),
    "names, encoded": b"{%s}" % b",".join(b'"%%6e%d_pin":1' % number for number in range(60_000)),
    "a long name": b'{"%s":1}' % (b"a!" * (MEGABYTE // 2)),
    "addresses": b'{%s"z":1}' % (b'"ip":"1.2.3.4",' * 70_000),
    "a list of addresses": b'{"ip":[%s"1"]}' % (b'"1.2.3.4",' * 95_000),
    "forms": b'{"token":1,"a":[%s""]}' % (b'"a=1&token=1",' * 75_000),
    "one form": b'{"a":"%s"}' % (b"a=1&token=1&" * (MEGABYTE // 12)),
    "a form of names": b'{"token":1,"a":"%s"}' % b"".join(b"n%d=%%&" % number for number in range(100_000)),
    "a form, encoded": b'{"a":"%s"}' % (b"a%3D1%26token%3D1%26" * (MEGABYTE // 20)),
    "short": b'{"token":1,"a":[%s""]}' % (b'"{[",' * 200_000),
    "encoded": b'{"token":1,"a":[%s""]}' % (b'"%253D",' * 130_000),
    "escaped": b'{"token":1,"a":[%s""]}' % (rb'"\u0061",' * 110_000),
    "JSON": b'{"token":1,"a":[%s""]}' % (rb'"{\"pin\":1}",' * 75_000),
    "JSON in JSON": json.dumps({"a": json.dumps({"a": "{%s}" % ('"pin":1,' * 60_000)})}).encode(),
    "base64": b'{"a":[%s""]}' % (b'"%s",' % b64encode(b'{"pin":1}') * 65_000),
    "one base64": b'{"a":"%s"}' % b64encode(b'{%s"z":1}' % (b'"pin":1,' * 95_000)),
    "users": b'{"a":"%s"}' % (b"://a@" * (MEGABYTE // 5)),
    "fields": b'x="%s' % (b'name="pin"\n\n' * 22_000),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guard", "anonymize"),
    [
        pytest.param(GUARD, False, id="hashed"),
        pytest.param(NOBODY, True, id="nobody, anonymized"),
        pytest.param(GUARD, True, id="anonymized"),
        pytest.param(NOBODY, False, id="nobody"),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_of_any_shape_takes_a_bounded_number_of_steps(shape: str, guard: Guard, anonymize: bool) -> None:
    """Calls, not seconds: of a shape that is looked into one by one it was millions."""
    item = SHAPES[shape]
    text = item[:262_144].decode("latin-1")  # as long as a text may be
    assert _calls(partial(guard.json, item, anonymize)) < MOST_CALLS
    assert _calls(partial(guard.text, text, anonymize)) < MOST_CALLS
    assert _calls(partial(guard.query, text[:131_072], anonymize)) < MOST_CALLS


def _calls(work: Callable[[], object]) -> int:
    """How many functions it calls, of Python and in C; cached results are none."""
    with cProfile.Profile() as profile:
        work()
    return sum(one.callcount for one in profile.getstats())
