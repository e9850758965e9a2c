"""What passes the prefilter has nothing in it that the policy or the signals would find."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shared.guard import Guard
from services.shared.privacy import Privacy
from services.shared.signals import PARAMETERS, Signals
from tests.bench import traffic
from tests.growth import assert_linear

POLICY = Privacy(secrets=("shoe size", "pin_code"), signals={**Privacy().signals})
GUARD, SIGNALS = Guard(POLICY, also=PARAMETERS), Signals(POLICY)
_PIECE = st.sampled_from(
    [
        *'&=?;#%[]"\\@ +._-0123456789',
        *("%3D", "%3d", "%26", "%20", "%25", "%22", "%253D", "%2525", "%74oken", "p%61ss", "http://", "a:b@"),
        *("token", "To-Ken", "api", "key", "api key", "pass", "pin", "ip", "IP", "card", "cvv", "ssn", "secret"),
        *("shoe", "size", "shoesize", "pin_code", "consent", "denied", "gcs", "G100", "gcd", "13p3p3p2p5l1"),
        *(
            "user_id",
            "url",
            "203.0.113.77",
            "eyJ0b2tlbiI6IngifQ",
            "ewogInRva2VuIjoieCJ9",
            "view",
            "x",
            "n",
            "type=view",
        ),
    ]
)


@given(st.lists(_PIECE, max_size=12).map("".join))
@example("api%20key=x")
@example("shoe%20size2=x")
@example("n=1&CONSENT%3Ddenied")
@example("eyJ0b2tlbiI6IngifQ=1")
@example("url=a%3Ftoken%3Dx")
@example("token12=x")
@example("a=1&gcs=G100")
def test_nothing_that_passes_would_be_changed_or_is_a_signal(query: str) -> None:
    if GUARD.passes(query.encode()):
        assert GUARD.query(query, False) == query
        assert SIGNALS.of_params(query) == ""


def test_nearly_all_queries_of_pixels_pass() -> None:
    chance = random.Random(7)
    queries = [traffic.query(chance, 1_764_064_800_000_000).encode() for _ in range(1_000)]
    assert sum(map(GUARD.passes, queries)) >= 990


@pytest.mark.slow
def test_it_is_linear_in_the_query() -> None:
    assert_linear(GUARD.passes, b"a=1&token", b"=x&b=%20")
