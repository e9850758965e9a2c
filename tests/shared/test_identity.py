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


@given(st.text())
def test_other_texts_have_no_time(text: str) -> None:
    assert identity.time_of(text) is None


def test_other_versions_have_no_time() -> None:
    assert identity.time_of(str(uuid.uuid4())) is None
    assert identity.time_of("01A207B4-2CCA-7676-AFF3-AD19E67D5A76") == identity.time_of(
        "01a207b4-2cca-7676-aff3-ad19e67d5a76"
    )
