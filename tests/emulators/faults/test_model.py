"""Which fault strikes which call, on a clock that the test moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulators.faults import fault
from emulators.faults.active_faults import MOST, ActiveFault, Allowance, Call, Faults
from emulators.faults.fault import BadFault, Fault, Vocabulary

WORDS = Vocabulary(
    {
        fault.Error: ("Publish", "Pull"),
        fault.Latency: ("Publish", "Pull"),
        fault.RowErrors: ("AppendRows",),
        fault.Quota: ("Publish",),
        fault.Reorder: ("Pull",),
    }
)
PUBLISH = Call("Publish", ("projects/shop/topics/hits", "hits"))


def read(effect: str = "error", **fields: Any) -> Fault:
    return WORDS.read(json.dumps({"effect": effect, **fields}).encode())


def applied(faults: Faults, call: Call = PUBLISH, now: float = 0.0) -> list[str]:
    return [active.id for active in faults.applying(fault.Error, call, lambda: now)]


@pytest.mark.parametrize(
    ("fields", "call", "meets"),
    [
        ({}, PUBLISH, True),
        ({}, Call("Publish"), True),
        ({"method": "Publish"}, PUBLISH, True),
        ({"method": "P*"}, Call("Pull"), True),
        ({"method": "Pull"}, PUBLISH, False),
        ({"method": "pub*"}, PUBLISH, False),
        ({"method": "Pu"}, PUBLISH, False),
        ({"resource": "hits"}, PUBLISH, True),
        ({"resource": "projects/shop/*"}, PUBLISH, True),
        ({"resource": "rows"}, PUBLISH, False),
        ({"resource": "hit"}, PUBLISH, False),
        ({"resource": "*"}, Call("Publish"), False),
        ({"method": "Publish", "resource": "rows"}, PUBLISH, False),
    ],
)
def test_a_fault_meets_the_calls_that_both_its_globs_name(fields: dict[str, str], call: Call, meets: bool) -> None:
    # Read without the check of the vocabulary, which would refuse a glob that no method matches.
    active = ActiveFault("1", fault.Error(**fields), 1.0)
    assert active.meets(call) is meets


def test_it_strikes_so_many_times_and_stays_listed() -> None:
    faults = Faults()
    faults.add(read(times=2), 0)
    assert [bool(applied(faults)) for _ in range(4)] == [True, True, False, False]
    assert faults.on is False
    assert [active.applied for active in faults.listed(0)] == [2]


def test_it_ends_by_itself() -> None:
    faults = Faults()
    faults.add(read(seconds=5), 100)
    assert applied(faults, now=104.9) == ["1"]
    assert faults.listed(104)[0].shown(104)["ends_in"] == 1.0
    assert applied(faults, now=105) == []
    assert faults.on is False
    assert faults.listed(105) == []


def test_it_is_off_without_faults_and_on_with_one() -> None:
    faults = Faults()
    assert faults.on is False
    name = faults.add(read(), 0).id
    assert faults.on is True
    assert faults.remove(name, 0) is True
    assert faults.remove(name, 0) is False
    assert faults.on is False


def test_a_share_is_of_calls_and_the_same_again_with_the_same_seed() -> None:
    def fates(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(read(share=0.2, seed=seed), 0)
        return [bool(applied(faults)) for _ in range(2000)]

    assert 330 < sum(fates(1)) < 470
    assert fates(1) == fates(1) != fates(2)


@pytest.mark.parametrize(("share", "count"), [(0, 0), (1, 50)])
def test_the_ends_of_a_share_are_certain(share: float, count: int) -> None:
    faults = Faults()
    faults.add(read(share=share), 0)
    assert sum(bool(applied(faults)) for _ in range(50)) == count


def test_faults_strike_in_the_order_in_which_they_were_set_each_drawn_in_its_turn() -> None:
    faults = Faults()
    for _ in range(3):
        faults.add(read(), 0)
    applying = faults.applying(fault.Error, PUBLISH, lambda: 0.0)
    assert next(applying).id == "1"
    faults.remove("2", 0)
    assert [active.id for active in applying] == ["3"]
    assert [active.applied for active in faults.listed(0)] == [1, 1]


def test_ids_never_repeat_and_their_number_is_bounded() -> None:
    faults = Faults()
    for _ in range(MOST):
        faults.add(read(), 0)
    with pytest.raises(BadFault, match=f"{MOST} faults are set already"):
        faults.add(read(), 0)
    assert faults.clear(0) == MOST
    assert faults.add(read(), 0).id == str(MOST + 1)


def test_rows_are_chosen_by_their_content_alone() -> None:
    rows = [f"row {number}" for number in range(5000)]
    one, same = (ActiveFault(name, read("row_errors", share=0.1), 1.0) for name in ("1", "2"))
    refused = {row for row in rows if one.refuses(row)}
    assert 400 < len(refused) < 600
    assert {row for row in reversed(rows) if same.refuses(row)} == refused
    other = ActiveFault("3", read("row_errors", share=0.1, seed=7), 1.0)
    assert {row for row in rows if other.refuses(row)} != refused
    wider = ActiveFault("4", read("row_errors", share=0.2), 1.0)
    assert refused < {row for row in rows if wider.refuses(row)}


def test_an_allowance_is_a_seconds_worth_refilled_with_time() -> None:
    allowance = Allowance(10)
    assert allowance.allows(0)
    allowance.take(10)
    assert not allowance.allows(0)
    assert not allowance.allows(0.05)
    assert allowance.allows(0.2)
    allowance.take(32)  # one use may be larger than what is left, and is paid back
    assert not allowance.allows(3.0)
    assert allowance.allows(3.4)
    assert allowance.allows(100)
    allowance.take(10)
    assert not allowance.allows(100)  # nothing is saved up beyond a second


def test_a_quota_counts_what_it_has_a_rate_for_and_nothing_of_refused_calls() -> None:
    active = ActiveFault("1", read("quota", rows_per_second=100, requests_per_second=2), 1e9)
    assert [active.exceeded((1e9, 60, 1), 0) for _ in range(4)] == [False, False, True, True]
    assert not active.exceeded((0, 60, 1), 1)
    slow = ActiveFault("2", read("quota", requests_per_second=0.5), 1e9)
    assert [slow.exceeded((0, 0, 1), second) for second in range(6)] == [False, True, False, True, False, True]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nonsense", "malformed"),
        ("[]", "a fault is a JSON object"),
        ("{}", "has no effect; this emulator has error, latency, quota, reorder, row_errors"),
        ('{"effect": "explode"}', "unknown effect, 'explode'"),
        ('{"effect": ["error"]}', r"unknown effect, \['error'\]"),
        ('{"effect": "error", "colour": 1}', "unknown field `colour`"),
        ('{"effect": "error", "code": "OOPS"}', "code is not a gRPC status: 'OOPS'; one of CANCELLED"),
        ('{"effect": "error", "share": 1.5}', r"<= 1.0.*\$\.share"),
        ('{"effect": "error", "share": "half"}', r"\$\.share"),
        ('{"effect": "error", "times": 0}', r">= 1.*\$\.times"),
        ('{"effect": "error", "seconds": -1}', r"\$\.seconds"),
        ('{"effect": "error", "seconds": NaN}', "malformed"),
        ('{"effect": "error", "method": "Publsh"}', "no method of error matches 'Publsh'; it has Publish, Pull"),
        ('{"effect": "row_errors", "method": "Publish"}', "no method of row_errors matches"),
        ('{"effect": "latency"}', "missing required field `delay`"),
        ('{"effect": "quota"}', "at least one of bytes_per_second"),
        ('{"effect": "quota", "rows_per_second": 0}', r"\$\.rows_per_second"),
        ('{"effect": "reorder", "window": 1}', r">= 2.*\$\.window"),
        ("[" * 10_000, "cannot be used"),
    ],
)
def test_what_is_wrong_is_named(given: str, why: str) -> None:
    with pytest.raises(BadFault, match=f"(?i){why}"):
        WORDS.read(given.encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(BadFault):
        WORDS.read(b'{"effect": "\xff"}')
