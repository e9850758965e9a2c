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

# By the first part of a hit's `via`.
READERS: dict[str, Reader] = {
    one.NAME: one.read
    for one in (
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
}
READERS |= {"rudderstack": segment.read, "jitsu": segment.read}  # they speak Segment's protocol
