"""The memory of packs is bounded, and forgets the one not seen for longest."""

from __future__ import annotations

from services.loader.pack_tracker import Pack, PackTracker


def settled(ledger: PackTracker, name: str, *, written: bool = True) -> None:
    pack = Pack((name, 0), [])
    ledger.open(pack)
    assert ledger.being_written(pack.key) is pack and len(ledger) == 1
    ledger.close(pack, written=written)
    assert ledger.being_written(pack.key) is None and len(ledger) == 0


def test_the_pack_not_seen_for_longest_is_forgotten_first() -> None:
    ledger = PackTracker(remember=2)
    settled(ledger, "a")
    settled(ledger, "b")
    assert ledger.was_written(("a", 0))  # seen again just now
    settled(ledger, "c")
    assert [name for name in "abc" if ledger.was_written((name, 0))] == ["a", "c"]


def test_a_pack_given_back_is_written_when_it_comes_again() -> None:
    ledger = PackTracker(remember=2)
    settled(ledger, "a", written=False)
    assert not ledger.was_written(("a", 0))


def test_the_same_id_with_other_bytes_is_another_pack() -> None:
    ledger = PackTracker(remember=2)
    settled(ledger, "a")
    assert not ledger.was_written(("a", 1))
