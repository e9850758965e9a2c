"""Many seeds, or one of them again: python -m tests.simulation --seeds 20000, or --seed 17 --trace."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulation.run import Result, simulate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: show what happened")
    parser.add_argument("--keep-going", action="store_true", help="count failures instead of ending with the first")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    return _many(range(options.first, options.first + options.seeds), keep_going=options.keep_going)


def _one(seed: int, *, trace: bool) -> int:
    result = simulate(seed)
    if trace:
        print("\n".join(result.lines))
    print(result)
    print(f"{result.seconds:.0f} virtual seconds, trace {result.trace_hash}, {result.counts}")
    return 1 if result.problems else 0


def _many(seeds: range, *, keep_going: bool) -> int:
    began, failed, counts = time.monotonic(), 0, Counter[str]()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(_without_trace, seeds, chunksize=10), 1):
            counts.update(result.counts)
            failed += _show(result)
            if failed and not keep_going:
                pool.shutdown(cancel_futures=True)
                return 1
            if done % 500 == 0 or done == len(seeds):
                print(f"{done} seeds in {time.monotonic() - began:.0f} s, {failed} failed", flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


def _without_trace(seed: int) -> Result:
    return replace(simulate(seed), lines=[])


def _show(result: Result) -> bool:
    if result.problems:
        print(result, flush=True)
    return bool(result.problems)


if __name__ == "__main__":
    sys.exit(main())
