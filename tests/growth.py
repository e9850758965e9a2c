"""Checks that work grows no faster than its input: the CPU time of size n against that of 4n, for hostile inputs.

A hostile input is a frame, such as a request line, with a long run of one pattern put in at its start, its middle or
its end. CPU time of this thread is compared, the least of several tries, and only where there is enough of it: so a
busy machine changes nothing, and work that is quadratic (16 times as much) is found while its inputs are still small.
Before work is said to grow, both inputs are measured side by side: a busy machine slows one as it slows the other.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import AnyStr

RUNS: tuple[bytes, ...] = (
    *(bytes([one]) for one in b" \t\n\r\0%&=;:,.+-/?#@\"'\\[]{}()<>09aeE\x80\xe0\xed\xff"),
    *rb'[] {} [], {}, \" \\ "" ", %2 %% %2f &= a= a& // .. :: 0. 1e \u \ud83d'.split(),
    *(b"; ", b", ", b"\r\n", b" \n", b"\xed\xa0\xbd", b"\xc3\xa9", b"\xf0\x9f"),
)
TIMES = 4  # how much larger the larger input is
MOST = 2.5  # times TIMES: how much more work that may be
ENOUGH = 0.004  # seconds; what takes less says nothing
MEASURABLE = 0.001  # seconds; from here on a time tells how work grows, as long as it does not decide
SMALLEST = 1_024  # bytes; the first input has fewer than TIMES as many
TRIES = 5
PAUSES = (0.0, 0.0, 0.0, 0.05, 0.05, 0.1, 0.1, 0.2, 0.2)  # seconds, before each time that both are measured


class Grows(AssertionError):
    """Work that grows faster than its input."""


def assert_linear(
    work: Callable[[AnyStr], object],
    *frame: AnyStr,
    size: int = 65_536,
    runs: Sequence[bytes] = RUNS,
    refused: type[Exception] | Sequence[type[Exception]] = (),
) -> None:
    """Raises Grows if the CPU time of `work` grows faster than its input, up to runs of `size` bytes.

    Each run goes before the frame, after it, and between its parts, or in the middle of a frame of one part. A frame of
    str gets the runs as Latin-1. `refused`: what `work` may raise for an input that it does not take.
    """

    expected = [refused] if isinstance(refused, type) else refused

    def once(given: AnyStr) -> float:
        began = time.thread_time()
        with suppress(*expected):
            work(given)
        return time.thread_time() - began

    collecting = gc.isenabled()
    gc.disable()  # what else this process holds would be walked through, and is not the work
    try:
        for run in runs:
            for before, after in _places(frame):
                _grow(once, before, _like(run, before), after, size)
    finally:
        if collecting:
            gc.enable()


def _grow(once: Callable[[AnyStr], float], before: AnyStr, run: AnyStr, after: AnyStr, size: int) -> None:
    length = size  # the last input is of this size, and no larger
    while length >= SMALLEST * TIMES:
        length //= TIMES
    small = before + _run(run, length) + after
    least = once(small)
    while length < size:
        large = before + _run(run, length * TIMES) + after
        more = once(large)
        if more > MEASURABLE:  # a smaller time that a cold cache made longer would hide how work grows
            least = min(least, once(small), once(small))
        for _ in range(TRIES - 1):
            if not _too_much(least, more):
                break
            least, more = min(least, once(small)), min(more, once(large))
        else:
            if _too_much(least, more) and (times := _side_by_side(once, small, large)) > TIMES * MOST:
                raise Grows(
                    f"{length} and {length * TIMES} bytes of {run!r} between {before[-40:]!r} and {after[:40]!r}"
                    f" take {least * 1000:.2f} and {more * 1000:.2f} ms, {times:.1f} times as much side by side"
                )
        earlier, small, least, length = least, large, more, length * TIMES
        if settled(earlier, least, steps=math.ceil(math.log(max(size / length, 1), TIMES))):
            return


def _too_much(least: float, more: float) -> bool:
    return more > ENOUGH and more > least * TIMES * MOST


def _side_by_side(once: Callable[[AnyStr], float], small: AnyStr, large: AnyStr) -> float:
    """How many times as long the larger one takes, each time just before as much of the smaller one.

    A short measurement may find a moment in which nobody else has the processor's caches and its other threads; a
    longer one does not.
    """
    found = []
    for pause in PAUSES:
        time.sleep(pause)
        found.append(once(large) / sum(once(small) for _ in range(TIMES)) * TIMES)
    return statistics.median(found)


def settled(least: float, more: float, steps: int) -> bool:
    """Whether so many further steps would find nothing, from the seconds of one step: most of the time goes into those.

    Of work that takes a·n + b·n², the share of b·n² to a·n follows from the ratio of both times, and grows by TIMES
    with each step. A step finds it once it is MOST's; half of that is left for what the clock is wrong about.
    """
    if least < MEASURABLE or more >= least * TIMES**2:
        return False
    share = max(0.0, more / least - TIMES) / (TIMES**2 - more / least)
    found = (MOST - 1) / (TIMES - MOST)
    return share * TIMES**steps < found / 2


def _places(frame: Sequence[AnyStr]) -> Iterator[tuple[AnyStr, AnyStr]]:
    """What is before and after the run."""
    parts = frame
    if len(parts) == 1:
        half = len(parts[0]) // 2
        parts = [parts[0][:half], parts[0][half:]]
    nothing = parts[0][:0]
    for at in range(len(parts) + 1):
        yield nothing.join(parts[:at]), nothing.join(parts[at:])


def _like(run: bytes, frame: AnyStr) -> AnyStr:
    return run.decode("latin-1") if isinstance(frame, str) else run


def _run(run: AnyStr, length: int) -> AnyStr:
    return run * (length // len(run))
