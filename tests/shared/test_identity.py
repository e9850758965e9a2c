from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from services.shared import identity


@given(st.integers(0, 2**48 * 1000 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_is_a_version_7_uuid_that_says_its_millisecond(now: int, entropy: bytes) -> None:
    text = identity.uuid7(now, entropy)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert parsed.variant == uuid.RFC_4122
    assert parsed.version == 7
    assert identity.time_of(text) == now // 1000
    assert identity.uuid7(now, entropy) == text


def test_ids_of_one_moment_differ_and_later_ones_sort_after() -> None:
    ids = {identity.uuid7(1_700_000_000_000_000) for _ in range(10_000)}
    assert len(ids) == 10_000
    assert max(ids) < identity.uuid7(1_700_000_000_001_000)


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 1000))
def test_ids_made_together_are_version_7_uuids_of_one_millisecond_and_differ(now: int, count: int) -> None:
    ids = identity.uuid7s(now, count)
    assert [identity.time_of(text) for text in ids] == [now // 1000] * count
    assert len(set(ids)) == count


def test_ids_made_one_by_one_are_version_7_uuids_of_their_millisecond_and_differ() -> None:
    ids, moments = identity.Ids(), [1_700_000_000_000_000 + 400 * n for n in range(1000)]
    made = [ids.next(moment) for moment in moments]
    assert [identity.time_of(text) for text in made] == [moment // 1000 for moment in moments]
    assert {(uuid.UUID(text).version, uuid.UUID(text).variant) for text in made} == {(7, uuid.RFC_4122)}
    assert len({text[14:] for text in made}) == len(made)


def test_every_random_bit_of_ids_made_together_varies_and_no_other_does() -> None:
    made = [uuid.UUID(text).int for text in identity.uuid7s(1_700_000_000_000_000, 1000)]
    ever, always = 0, -1
    for one in made:
        ever, always = ever | one, always & one
    assert ever ^ always == (2**12 - 1) << 64 | 2**62 - 1


@given(st.text())
def test_other_texts_have_no_time(text: str) -> None:
    assert identity.time_of(text) is None


def test_other_versions_have_no_time() -> None:
    assert identity.time_of(str(uuid.uuid4())) is None
    assert identity.time_of("01A207B4-2CCA-7676-AFF3-AD19E67D5A76") == identity.time_of(
        "01a207b4-2cca-7676-aff3-ad19e67d5a76"
    )
