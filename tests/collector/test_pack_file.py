from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector import pack_file
from services.collector.pack_file import PackFile

_packs = st.from_regex(r"[0-9A-Za-z-]{1,64}", fullmatch=True)
_hits = st.integers(1, 99_999)


@given(st.integers(0, 10**16 - 1), _packs, _hits)
def test_a_name_says_what_it_was_made_of(order: int, pack: str, hits: int) -> None:
    file = PackFile(order, pack, hits)
    assert pack_file.parse(file.name) == file
    assert pack_file.is_set_aside(file.name + pack_file.DAMAGED)
    assert pack_file.parse(file.name + pack_file.DAMAGED) is None


@given(st.integers(0, 10**16 - 1), st.integers(0, 10**16 - 1), _packs, _packs, _hits, _hits)
def test_names_sort_by_age(one: int, other: int, pack: str, other_pack: str, hits: int, other_hits: int) -> None:
    if one != other:
        names = PackFile(one, pack, hits).name, PackFile(other, other_pack, other_hits).name
        assert (one < other) == (names[0] < names[1])


@pytest.mark.parametrize("order", [-1, 10**16, 10**30])
def test_a_clock_out_of_its_mind_makes_a_name_all_the_same(order: int) -> None:
    assert pack_file.parse(PackFile(order, "a", 1).name) is not None


@pytest.mark.parametrize(("pack", "hits"), [("", 1), ("a/b", 1), ("..", 1), ("a" * 65, 1), ("a", -1), ("a", 100_000)])
def test_a_pack_that_makes_no_name_is_refused(pack: str, hits: int) -> None:
    with pytest.raises(ValueError, match="makes no file name"):
        _ = PackFile(1, pack, hits).name


@given(st.text() | st.from_regex(r"[0-9]{15,17}-.{0,70}-[0-9]{0,6}\.zst.?", fullmatch=True))
def test_any_other_name_is_nobodys_pack(name: str) -> None:
    file = pack_file.parse(name)
    assert file is None or file.name == name


@pytest.mark.parametrize(("size", "taken"), [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192)])
def test_a_file_takes_whole_blocks(size: int, taken: int) -> None:
    assert pack_file.bytes_on_disk(size) == taken
