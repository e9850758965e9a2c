"""A policy as the collector applies it, without a collector."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.collector.metrics import Metrics
from services.collector.privacy import Protection
from services.shared.privacy import BY_PRESET, OFF, Privacy


def protection(policy: Privacy = BY_PRESET[OFF]) -> Protection:
    return Protection(policy, None, Metrics(CollectorRegistry()))
