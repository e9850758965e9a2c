"""By which signal a request or an event opts out of tracking. Pure, linear in what it reads.

| signal | where it is looked for |
| --- | --- |
| `gpc` | the header `Sec-GPC: 1` |
| `dnt` | the header `DNT: 1` |
| `sp_anonymous` | the header `SP-Anonymous`, whatever its value, as Snowplow's own collector does |
| `consent` | `consent=denied` (or false, no, off, 0) in a query string or form; in a JSON item the member `consent` |
| `google_consent` | `analytics_storage` denied: the last digit of `gcs`, the second letter of `gcd`, or in `consent` |

A JSON item may hold `consent` itself or in one of PLACES: one of the same words, `false`, or an object that says so of
`analytics` (Segment's in `categoryPreferences`). A tenant may say `consent: denied` of all its events. Consent to
advertising (`ad_storage`, `ad_user_data`, `ad_personalization`) is another matter: that alone denied is no opt-out of
being measured.

What is repeated counts if any of it opts out; but of a member that a JSON object has twice, the last one is all that a
reader gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from services.shared.privacy import ANONYMIZE, DROP, RECORD, SIGNALS, Privacy

GPC, DNT, SP_ANONYMOUS, CONSENT, GOOGLE_CONSENT = SIGNALS
HEADERS = {"sec-gpc": GPC, "dnt": DNT, "sp-anonymous": SP_ANONYMOUS}
PARAMETERS = ("consent", "gcs", "gcd")
DENIED = frozenset({"denied", "false", "no", "off", "0"})
PLACES = ("properties", "context", "params", "payload", "data", "props", "p", "event_properties")

_STRENGTH = (DROP, ANONYMIZE, RECORD)
_LONGEST = 300  # characters of a parameter that may say something, percent-encoded
# An escape of a letter of `consent`, `gcs` or `gcd`; encoders leave letters alone, so nearly no query holds one.
_ESCAPED = re.compile(r"%(?:[46][3457ef]|[57][34])")
# A member that may say something: all of them by name, or one whose name may hold an escape of a letter.
_MEMBER = re.compile(rb'"(?:[cC][oO][nN][sS][eE][nN][tT]|[gG][cC][sSdD])"')
_ESCAPED_JSON = b"\\u00"
# gcs=G1 and what is said of ad_storage and analytics_storage. gcd is two digits, then a letter and a digit for each of
# ad_storage, analytics_storage, ad_user_data, ad_personalization: p and q are denied by default, m and u by an update.
_GCS_DENIED = re.compile(r"G1[01-]0")
_GCD_DENIED = re.compile(r"1[0-9][a-z][0-9][mpqu]")
# In what is not JSON, or cannot be decoded.
_CONSENT_DENIED = re.compile(
    rb'"consent"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}(?:"(?:denied|false|no|off|0)"|false|0(?![0-9.]))', re.IGNORECASE
)
_GOOGLE_DENIED = re.compile(
    rb'"(?:gcs"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"G1[01-]0|gcd"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"1[0-9][a-z][0-9][mpqu])',
    re.IGNORECASE,
)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Signals:
    """Finds signals; of several the one with the strongest policy counts: drop, then anonymize, then record.

    Of those with the same policy it is the first in the order of privacy.SIGNALS. "" stands for none.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._actions = {name: privacy.signals.get(name, ANONYMIZE) for name in SIGNALS}
        order = sorted(SIGNALS, key=lambda name: _STRENGTH.index(self._actions[name]))  # stable
        self._rank = {name: index for index, name in enumerate(order)}

    def action(self, signal: str) -> str:
        """What is done with a hit of this signal: RECORD, ANONYMIZE or DROP; "" for ""."""
        return self._actions[signal] if signal else ""

    def strongest(self, *signals: str) -> str:
        return min(filter(None, signals), key=self._rank.__getitem__, default="")

    def of_headers(self, headers: Mapping[str, str]) -> str:
        """The signal of a request's headers, in any case; a mapping may hold a name several times, as aiohttp's do."""
        found = ""
        for name, value in headers.items():
            if len(name) in (3, 7, 12) and (signal := of_header(name, value)):
                found = self.strongest(found, signal)
        return found

    def of_params(self, query: str) -> str:
        """The signal in a query string or form, percent-encoded as it is sent."""
        lower = query.lower()
        named = "consent" in lower or "gcs" in lower or "gcd" in lower
        if not named and ("%" not in lower or _ESCAPED.search(lower) is None):
            return ""
        found = ""
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if len(part) <= _LONGEST and (name := _decoded(name)) in PARAMETERS:
                found = self.strongest(found, _of_parameter(name, _decoded(value)))
        return found

    def of_item(self, item: bytes | str) -> str:
        """The signal in one item: JSON (bytes), or a form, query string or address (text). An envelope is like JSON."""
        if isinstance(item, str):
            if item[:1] not in ("{", "["):
                return self.of_params(query_of(item))
            item = item.encode("utf-8", "replace")
        if _MEMBER.search(item) is None and (b"\\" not in item or _ESCAPED_JSON not in item):
            return ""
        try:
            return self.strongest(*_of_members(_members.decode(item), PLACES))
        except _UNREADABLE:
            consent = CONSENT if _CONSENT_DENIED.search(item) else ""
            return self.strongest(consent, GOOGLE_CONSENT if _GOOGLE_DENIED.search(item) else "")


def of_header(name: str, value: str) -> str:
    """The signal of one header line; "" for none. A proxy may have joined repeated lines with commas."""
    signal = HEADERS.get(name.lower(), "")
    if signal and signal != SP_ANONYMOUS and "1" not in [member.strip(" \t") for member in value.split(",")]:
        return ""
    return signal


def query_of(text: str) -> str:
    """The query of a request in a bulk of Matomo's, which is an address or `?` and a query; a form is one already."""
    before, mark, after = text.partition("?")
    return after if mark and "=" not in before else text


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="replace").strip().lower() if "%" in text or "+" in text else text.strip().lower()


def _of_parameter(name: str, value: str) -> str:
    """Of a decoded name and value in lower case."""
    match name:
        case "consent":
            return CONSENT if value in DENIED else ""
        case "gcs":
            return GOOGLE_CONSENT if _GCS_DENIED.match(value.upper()) else ""
        case "gcd":
            return GOOGLE_CONSENT if _GCD_DENIED.match(value) else ""
    return ""


def _of_members(members: Mapping[str, msgspec.Raw], places: tuple[str, ...]) -> list[str]:
    """Raises one of _UNREADABLE."""
    found = []
    for key, raw in members.items():
        name = key.lower()
        if name == "consent":
            found += _of_consent(msgspec.json.decode(raw))
        elif name in ("gcs", "gcd"):
            value = msgspec.json.decode(raw)
            found.append(_of_parameter(name, value.strip().lower()) if isinstance(value, str) else "")
        elif name in places and bytes(raw)[:1] == b"{":
            found += _of_members(_members.decode(raw), ("data",) if name == "payload" else ())  # Umami's
    return found


def _of_consent(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [CONSENT] if _denied(value) else []
    found = []
    for key, said in value.items():
        match key.lower():
            case "analytics_storage" if _denied(said):
                found.append(GOOGLE_CONSENT)
            case "analytics" if _denied(said):
                found.append(CONSENT)
            case "categorypreferences" if isinstance(said, dict):  # Segment's and Jitsu's
                found += _of_consent({name: one for name, one in said.items() if not isinstance(one, dict)})
    return found


def _denied(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in DENIED
    return value is False or (type(value) is int and value == 0)
