"""Who may post to a hook: signatures as GitHub, Stripe and Shopify make them."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector import hook
from services.collector.hook import Hook

BODY = b'{"id":"evt_1","type":"order.paid"}'
NOW = 1_772_362_805.0
SECRETS = (b"old", b"new")


def _hex(key: bytes, text: bytes = BODY) -> str:
    return hmac.new(key, text, sha256).hexdigest()


def _headers(scheme: str, key: bytes, body: bytes = BODY, at: float = NOW) -> dict[str, str]:
    match scheme:
        case "github":
            return {"x-hub-signature-256": f"sha256={_hex(key, body)}"}
        case "stripe":
            signed = f"{at:.0f}.".encode() + body
            return {"stripe-signature": f"t={at:.0f},v1={'0' * 64},v1={_hex(key, signed)},v0=x"}
        case _:
            return {"x-shopify-hmac-sha256": base64.b64encode(hmac.new(key, body, sha256).digest()).decode()}


def _source(scheme: str) -> Hook:
    return replace(hook.parse(f"x={scheme}:/keys/x"), keys=SECRETS)


def test_githubs_own_example() -> None:
    """From its documentation on validating deliveries."""
    one = replace(_source("github"), keys=(b"It's a Secret to Everybody",))
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert one.verify(b"Hello, World!", {"x-hub-signature-256": signature}, NOW) is None


@pytest.mark.parametrize("scheme", ["github", "stripe", "shopify"])
@pytest.mark.parametrize("key", SECRETS)
def test_what_is_signed_is_taken(scheme: str, key: bytes) -> None:
    assert _source(scheme).verify(BODY, _headers(scheme, key), NOW) is None


@pytest.mark.parametrize("scheme", ["github", "stripe", "shopify"])
def test_what_is_not_signed_is_refused(scheme: str) -> None:
    source = _source(scheme)
    assert source.verify(BODY, {}, NOW) == "the signature is missing"
    assert source.verify(BODY + b" ", _headers(scheme, b"old"), NOW) == "the signature is wrong"
    assert source.verify(BODY, _headers(scheme, b"other"), NOW) == "the signature is wrong"


@pytest.mark.parametrize("late", [-301, 301])
def test_an_old_signature_of_stripe_is_refused(late: int) -> None:
    headers = _headers("stripe", b"new", at=NOW - late)
    assert _source("stripe").verify(BODY, headers, NOW) == "the signature is more than 300 seconds old"
    assert _source("stripe").verify(BODY, _headers("stripe", b"new", at=NOW - late // 2), NOW) is None


def test_a_hook_without_a_scheme_takes_all() -> None:
    assert hook.parse("plain").verify(b"", {}, NOW) is None


@given(st.sampled_from(["github", "stripe", "shopify"]), st.binary(), st.text())
def test_any_signature(scheme: str, body: bytes, text: str) -> None:
    names = ("x-hub-signature-256", "stripe-signature", "x-shopify-hmac-sha256")
    for given_text in (text, f"sha256={text}", f"t={NOW:.0f},v1={text}", "t=1," * 10_000):
        assert _source(scheme).verify(body, dict.fromkeys(names, given_text), NOW) is not None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", Hook("plain")),
        ("gh=github:/k", Hook("gh", "github", "/k", "header.x-github-event", "header.x-github-delivery")),
        ("pay=stripe:/k;type=body.data.kind", Hook("pay", "stripe", "/k", "body.data.kind", "body.id")),
        ("a;id=header.x-id;type=body.t", Hook("a", "", "", "body.t", "header.x-id")),
    ],
)
def test_how_a_hook_is_configured(text: str, wanted: Hook) -> None:
    assert hook.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a hook's name"),
        ("A", "a hook's name"),
        ("a/b", "a hook's name"),
        ("a=", ""),
        ("a=hmac:/k", "a: use SCHEME:KEY_FILE"),
        ("a=github", "a: use SCHEME:KEY_FILE"),
        ("a=github:", "a: use SCHEME:KEY_FILE"),
        ("a;name=body.x", "a: use type=FIELD"),
        ("a;type=x", "a: use type=FIELD"),
        ("a;type=header.X Y", "a: use type=FIELD"),
    ],
)
def test_what_is_no_hook(text: str, why: str) -> None:
    if not why:
        assert hook.parse(text) == Hook("a")
        return
    with pytest.raises(ValueError, match=why):
        hook.parse(text)
