"""Applies the privacy policy to hits that no collector has seen, such as those of a load balancer's log. Pure."""

from __future__ import annotations

from services.shared.guard import Guard
from services.shared.hash_keys import HashKeys
from services.shared.hit import Hit
from services.shared.privacy import ANONYMIZE, DROP, Privacy
from services.shared.signals import CONSENT, Signals
from services.shared.tenants import Resolver, Tenants


class Policy:
    """The policy in force; build it once. `keys` are those that parameters are hashed with."""

    def __init__(self, privacy: Privacy, keys: HashKeys | None = None, tenants: Tenants | None = None) -> None:
        self._guard, self._signals = Guard(privacy, keys), Signals(privacy)
        self._resolver = Resolver(tenants) if tenants else None

    def apply(self, hit: Hit) -> Hit | None:
        """The hit of its tenant without what must not be stored; None where its sender opted out, and such are dropped.

        A log has few headers: the opt-out is nearly always one of a parameter.
        """
        signals, tenants = self._signals, self._resolver
        of_tenant = ""
        if tenants is not None:  # before its key is removed
            hit = tenants.named(hit)
            of_tenant = CONSENT if hit.tenant in tenants.denied else ""
        signal = signals.strongest(signals.of_headers(hit.headers), signals.of_params(hit.query), of_tenant)
        action = signals.action(signal)
        return None if action == DROP else self._guard.hit(hit, signal, action == ANONYMIZE)
