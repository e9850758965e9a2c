"""What the protocol readers share: JSON, base64, forms and clocks as trackers write them. Pure, linear in the input.

The one exception that leaves this module is Unreadable.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from services.processor import convert, query
from services.processor.protocols import CANONICAL, Unreadable
from services.shared.hit import Hit

SECONDS, MILLISECONDS = 1_000_000, 1_000  # microseconds in what a tracker counts its time in

_DAY_US = 86_400_000_000
REPEATED = "repeated"  # the member of a form's fields that holds what came again under a name
_CANONICAL = frozenset(CANONICAL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_EPOCH = _EPOCH.replace(tzinfo=None)
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # of the years 1 to 9999
_COUNT = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,9})?")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")
# What JSON may escape, or else half of a pair of surrogates.
_ESCAPE = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u]|\\u(?![dD][89a-fA-F]))"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def item(hit: Hit) -> dict[str, Any]:
    """The hit's item as a JSON object. Raises Unreadable for anything else."""
    body = bytes(hit.body)
    if not body:
        raise Unreadable("the item is not JSON" if hit.text else "there is no item")
    found = from_json(body)
    if not isinstance(found, dict):
        raise Unreadable("the item is not a JSON object")
    return found


def envelope(hit: Hit) -> dict[str, Any]:
    """The members of the body beside its items; empty where there are none that can be read."""
    surrounding = bytes(hit.envelope)
    try:
        found = from_json(surrounding) if surrounding else None
    except Unreadable:
        return {}
    return found if isinstance(found, dict) else {}


def fields(form: str) -> dict[str, Any]:
    """The fields of a query string or form, decoded; the first of a name counts, later ones are lists in REPEATED."""
    found: dict[str, Any] = {}
    more: dict[str, list[str]] = {}
    for name, value in query.pairs(form):
        if name in found or name == REPEATED:
            more.setdefault(name, []).append(value)
        else:
            found[name] = value
    if more:
        found[REPEATED] = more
    return found


def asked(hit: Hit, *transport: str) -> dict[str, Any]:
    """The fields of the request's query string, without those that say how to take the items or to answer.

    A GET's `data` is where the collector found its items.
    """
    found = fields(hit.query)
    for name in (*transport, "data") if hit.method == "GET" else transport:
        found.pop(name, None)
    return found


def from_json(text: str | bytes) -> Any:
    r"""The JSON value with exact numbers; half a character, escaped (`\ud83d`) or as CESU-8, becomes U+FFFD.

    Raises Unreadable.
    """
    try:
        return convert.decode_json(text)
    except convert.Invalid as error:
        try:
            plain = _joined(text) if isinstance(text, bytes) else text
            repaired = _ESCAPE.sub(lambda escape: escape[1] or r"\ufffd", plain)
            if repaired == text:
                raise Unreadable(error.detail) from error
            return convert.decode_json(repaired)
        except (convert.Invalid, UnicodeError):
            raise Unreadable(error.detail) from error


def decoded(value: Any, decode: Callable[[str], Any] = from_json) -> Any:
    """What a text holds, None where it cannot be decoded; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return decode(value)
    except Unreadable:
        return None


def from_base64(text: str) -> Any:
    """The JSON value in base64 of either alphabet, with padding or without. Raises Unreadable."""
    plain = text.strip().replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        data = a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise Unreadable("not base64") from error
    return from_json(data)


def _joined(data: bytes) -> str:
    """UTF-8 or CESU-8 as text: pairs of surrogates become the character they stand for, halves U+FFFD."""
    return data.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def number(value: Any) -> Any:
    """The number that a text of up to 18 digits writes; any other value as it is."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value) if "." in value else int(value)
    return value


def moment(value: Any, unit: int = MILLISECONDS) -> int | None:
    """Microseconds since 1970 of a time as RFC 3339 or Unix time; None for what is neither, or not in years 1 to 9999.

    Unix times of 10, 13 and 16 digits are seconds, milliseconds and microseconds; others, as of a clock that stands at
    1970, count in `unit`.
    """
    if isinstance(value, str) and value[10:11] == "T" and value[-1] == "Z":  # nearly always; in a fifth of the time
        try:
            since = datetime.fromisoformat(value) - _EPOCH
            return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        except ValueError:
            pass
    try:
        found = convert.timestamp(value)
    except convert.Invalid:
        if isinstance(value, str):
            value = value.strip()
            if not _COUNT.fullmatch(value):
                return None
        elif not isinstance(value, (int, Decimal)) or isinstance(value, bool) or not -(10**15) < value < 10**15:
            return None
        found = int(Decimal(value) * unit)
    return found if _FIRST_US <= found <= _LAST_US else None


def iso(moment_us: int) -> str:
    """RFC 3339 in UTC with microseconds; `moment_us` must be in the years 1 to 9999."""
    return (_PLAIN_EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec="microseconds") + "Z"


def corrected(received_us: int, happened_us: int, sent_us: int) -> int | None:
    """When it happened by our clock, from the two times by the client's; None outside the years 1 to 9999."""
    found = received_us - (sent_us - happened_us)
    return found if _FIRST_US <= found <= _LAST_US else None


def times(received_us: int, happened: Any, sent: Any = None, unit: int = MILLISECONDS) -> dict[str, Any]:
    """`event_time` and `sent_at` as far as they are given: as RFC 3339, or as they came where they are no times.

    Where both are known, `event_time` is corrected by the client's clock and `client_event_time` is what was sent.
    """
    found = {}
    happened_us, sent_us = moment(happened, unit), moment(sent, unit)
    if sent is not None:
        found["sent_at"] = sent if sent_us is None else iso(sent_us)
    if happened is None:
        return found
    true_us = None if happened_us is None or sent_us is None else corrected(received_us, happened_us, sent_us)
    if true_us is not None and true_us != happened_us:
        found |= {"event_time": iso(true_us), "client_event_time": happened}
    else:
        found["event_time"] = happened if happened_us is None else iso(happened_us)
    return found


def visitor(hit: Hit, site: Any) -> str | None:
    """An anonymous id for trackers that send none: of one site, address and browser, and of one UTC day.

    It says nothing that the row does not say, and cannot follow anybody into the next day. None for who opted out, and
    where the hit has neither address nor user agent.
    """
    browser = hit.headers.get("user-agent", "")
    if hit.anonymized or (not hit.ip and not browser):
        return None
    name = msgspec.json.encode([hit.at // _DAY_US, str(site or ""), hit.ip, browser.encode("utf-8", "replace").hex()])
    return "day-" + sha256(name).hexdigest()[:32]


def first(*values: Any) -> Any:
    """The first that is a number or a text that is not empty; None if none is."""
    for value in values:
        if isinstance(value, str):
            if value:
                return value
        elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return value
    return None


def take(members: dict[str, Any], *names: str) -> Any:
    """The first of these members that is a number or a text, taken out; null and empty ones go, others stay."""
    found = None
    for name in names:
        value = members.get(name)
        if value is None or value == "":
            members.pop(name, None)
        elif found is None and first(value) is not None:
            found = members.pop(name)
    return found


def take_of(places: Sequence[dict[str, Any]], name: str) -> Any:
    """The member of this name of the first of these objects that has it, taken out as by `take`."""
    for members in places:
        found = take(members, name)
        if found is not None:
            return found
    return None


def take_object(members: dict[str, Any], name: str) -> dict[str, Any]:
    """This member if it is an object, taken out, else an empty one; null goes, anything else stays."""
    value = members.get(name)
    if value is None or isinstance(value, dict):
        members.pop(name, None)
    return value if isinstance(value, dict) else {}


def inner(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    """This member if it is an object, else an empty one."""
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def event(protocol: str, canonical: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one event: canonical ones that have a value, and all others under the tracker's own names.

    What would hide a canonical name, or comes again with another value, is in the object named as the protocol.
    """
    found = {name: value for name, value in canonical.items() if value or value == 0}
    hidden: dict[str, list[Any]] = {}
    for members in others:
        for name, value in members.items():
            if name not in found and name not in _CANONICAL and name != protocol:
                found[name] = value
            elif found.get(name) != value:
                hidden.setdefault(name, []).append(value)
    if hidden:
        found[protocol] = {name: values[0] if len(values) == 1 else values for name, values in hidden.items()}
    return found
