"""Where a client is, according to Google's load balancer: `geo.*`. Where that says nothing, geo_database.py may.

Have the load balancer add one header, and the collector keep it (`PIPE_HEADERS`):

    X-Client-Geo-Location:{client_region},{client_region_subdivision},{client_city}

Without such a balancer in front anyone can send this header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

HEADER = "x-client-geo-location"
MAX_LENGTH = 200  # characters read
REMEMBERED = 4_096  # headers

_COUNTRY = re.compile(r"[A-Z]{2}")
_REGION = re.compile(r"[A-Z0-9]{1,3}")
_UNKNOWN = "ZZ"
# Zones of two words with fewer people than a city, where the other zones have a region, or most of one.
_SMALL = frozenset(
    (
        "Europe/Busingen", "America/Adak", "America/Cambridge_Bay", "America/Creston", "America/Dawson",
        "America/Dawson_Creek", "America/Fort_Nelson", "America/Inuvik", "America/Juneau", "America/Menominee",
        "America/Metlakatla", "America/Nome", "America/Rankin_Inlet", "America/Resolute", "America/Sitka",
        "America/Swift_Current", "America/Yakutat",
    )
)  # fmt: skip


class Geo(NamedTuple):
    """`country` as ISO 3166-1 (US), `region` as ISO 3166-2 (US-CA), `city` by its name in English letters.

    `time_zone` as in the tz database (America/Los_Angeles); the balancer does not know it.
    """

    country: str | None = None
    region: str | None = None
    city: str | None = None
    time_zone: str | None = None


NOTHING = Geo()


def read(headers: Mapping[str, str], _parameters: Mapping[str, Any]) -> Geo:
    """What the header says: country, region and city, or, as in Google's own example, country and city."""
    text = headers.get(HEADER)
    return _read(text[:MAX_LENGTH]) if text else NOTHING


def without_city(found: tuple[Any, ...]) -> Geo:
    """What may be known of who opted out, and of an address that is cut."""
    found = Geo(*found)
    return found._replace(city=None, time_zone=None if is_local(found.time_zone) else found.time_zone)


def is_local(zone: str | None) -> bool:
    """Whether a time zone is finer than a region: of a county, as America/Indiana/Tell_City, or of few people."""
    return zone is not None and (zone.count("/") > 1 or zone in _SMALL)


@lru_cache(REMEMBERED)
def _read(text: str) -> Geo:
    parts = [part.strip() for part in text.split(",", 2)]
    country = parts[0].upper()
    if len(parts) < 2 or not _COUNTRY.fullmatch(country) or country == _UNKNOWN:
        return NOTHING
    region = parts[1].upper().removeprefix(country) if len(parts) == 3 else ""
    return Geo(country, f"{country}-{region}" if _REGION.fullmatch(region) else None, parts[-1] or None)
