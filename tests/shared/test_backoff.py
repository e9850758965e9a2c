from __future__ import annotations

from services.shared.backoff import Backoff


def test_waits_double_up_to_the_bound_and_begin_again_after_a_reset() -> None:
    backoff = Backoff(1.0, 5.0, random=lambda: 1.0)
    assert [backoff.wait() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.wait() == 1.0


def test_a_wait_is_between_half_its_bound_and_all_of_it() -> None:
    shortest = Backoff(2.0, 8.0, random=lambda: 0.0)
    assert [shortest.wait() for _ in range(3)] == [1.0, 2.0, 4.0]
    jittered = Backoff(1.0, 1.0)
    waits = [jittered.wait() for _ in range(50)]
    assert all(0.5 <= wait <= 1.0 for wait in waits)
    assert len(set(waits)) > 1
