"""Which reader is for which protocol."""

from __future__ import annotations

from services.processor.protocols import (
    Reader,
    amplitude,
    cloudevents,
    ga4,
    gtag,
    hook,
    matomo,
    mixpanel,
    plausible,
    posthog,
    segment,
    snowplow,
    umami,
)

_ALL = (
    amplitude, cloudevents, ga4, gtag, hook, matomo, mixpanel, plausible, posthog, segment, snowplow, umami,
)  # fmt: skip
# By the first part of a hit's `via`. RudderStack and Jitsu speak Segment's protocol.
READERS: dict[str, Reader] = {one.NAME: one.read for one in _ALL} | {"rudderstack": segment.read, "jitsu": segment.read}
