"""How many hits a second each tenant may send to this pod: a token bucket for each that has a rate, and none besides.

Strangers have no state here: there is one bucket for each tenant of the schema file, whatever arrives.
"""

from __future__ import annotations

from collections.abc import Callable

from services.shared.tenants import Tenant, Tenants


class _Bucket:
    __slots__ = ("at", "burst", "rate", "tokens")

    def __init__(self, tenant: Tenant, rate: float, now: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, tenant.most_at_once, tenant.most_at_once, now


class RateLimits:
    """`clock` is in seconds and never goes back, as time.monotonic."""

    def __init__(self, tenants: Tenants, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets = {
            name: _Bucket(tenant, tenant.rate, clock()) for name, tenant in tenants.by_name.items() if tenant.rate
        }

    def take(self, name: str, hits: int) -> float:
        """0.0 if the tenant may send so many hits now, which then count; else the seconds until it may.

        More hits than the burst are taken by a full bucket, and owed: refused, such a batch would be sent for ever.
        """
        bucket = self._buckets.get(name)
        if bucket is None:
            return 0.0
        now = self._clock()
        bucket.tokens = min(bucket.burst, bucket.tokens + (now - bucket.at) * bucket.rate)
        bucket.at = now
        missing = min(float(hits), bucket.burst) - bucket.tokens
        if missing > 1e-9:  # as the sum of many small times may be
            return missing / bucket.rate
        bucket.tokens -= hits
        return 0.0

    def give_back(self, name: str, hits: int) -> None:
        """Undo a `take` whose hits were not taken after all."""
        if bucket := self._buckets.get(name):
            bucket.tokens += hits
