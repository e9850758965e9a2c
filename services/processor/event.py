"""A hit being parsed: its parameters, and which of them no column has taken yet."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from services.processor import convert, query
from services.processor.lookups import NO_LOOKUPS, Lookups
from services.processor.protocols import Unreadable, reading
from services.processor.protocols.readers import READERS
from services.shared import guard
from services.shared.hit import Hit

BAD_BODY = "bad_body"
MOST_PROBLEMS = 50  # of one row
_REASON = 200  # characters of why a body could not be cut; the collector wrote it, unless a stranger pretends to be it
_TOO_MUCH = guard.TOO_MUCH.decode()
_NONE_POSTED: frozenset[str] = frozenset()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value that did not fit: its column (`cart[2].price` within one), a reason, an explanation, and the value."""

    column: str
    reason: str
    detail: str
    value: str | None = None

    @property
    def top(self) -> str:
        """The table's column, which is in the schema file; what is behind it may count a stranger's elements."""
        return re.split(r"[.[]", self.column, maxsplit=1)[0]


class Event:
    """`first` has each parameter's value, `posted` the names from the body, `more` repeats, `left` those not taken.

    `taken` are the ways to values inside parameters that a column took; `problems` the values that did not fit.
    """

    __slots__ = (
        "day", "enriched", "first", "hit", "id", "left", "more", "posted", "problems", "reject", "taken",
    )  # fmt: skip

    lookups: ClassVar[Lookups] = NO_LOOKUPS

    def __init__(self, hit: Hit, reject: Any = None) -> None:
        self.hit, self.id, self.day, self.reject = hit, hit.id, 0, reject
        self.first: dict[str, Any] = {}
        self.more: dict[str, list[Any]] = {}
        self.posted: frozenset[str] = _NONE_POSTED
        self.left: dict[str, Any] = {}
        self.enriched: dict[str, tuple[Any, ...]] = {}
        self.taken: list[tuple[str, ...]] = []
        self.problems: list[Problem] = []

    def again(self) -> Event:
        """The same event with nothing taken yet, and still to be gathered: for a row of another table."""
        found = type(self)(self.hit)
        found.id, found.day, found.enriched = self.id, self.day, self.enriched
        return found

    def note(self, column: str, reason: str, detail: str, value: Any) -> None:
        """Keep a value that did not fit its column; of a row with more than MOST_PROBLEMS the first ones."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(column, reason, detail, convert.shown(value)))

    def take(self, path: tuple[str, ...]) -> None:
        """A column has the value at the path, which is not among the rest then; what came again of the name is."""
        if len(path) == 1:
            self.left.pop(path[0], None)
        else:
            self.taken.append(path)

    @property
    def client_time(self) -> Any:
        """When it happened by the client's own clock, as it was sent; None where that is not said."""
        raw = self.first.get("client_event_time")
        return self.first.get("event_time") if raw is None else raw


def with_lookups(found: Lookups) -> type[Event]:
    """Events of a parser with lookups; they are the class's, so that an event costs nothing for them."""
    return Event if found is NO_LOOKUPS else type("Event", (Event,), {"__slots__": (), "lookups": found})


def gather(event: Event) -> None:
    """Read the parameters of the hit, by its protocol. Raises convert.Invalid for an item that is not an event."""
    hit = event.hit
    if hit.text == _TOO_MUCH or (hit.body and bytes(hit.body) == guard.TOO_MUCH):
        raise convert.Invalid(BAD_BODY, f"its values were not kept: {guard.TOO_MUCH_SAID}")
    if hit.via:
        _by_protocol(event)
    else:
        _native(event)


def _by_protocol(event: Event) -> None:
    hit = event.hit
    read = READERS.get(hit.via.partition(".")[0])
    if read is None:
        raise convert.Invalid(BAD_BODY, "this processor does not know the protocol")
    if not bytes(hit.body) and (reason := _uncut(hit)):
        raise convert.Invalid(BAD_BODY, f"the body cannot be cut into items: {reason}")
    try:
        event.first = read(hit)
    except Unreadable as error:
        raise convert.Invalid(BAD_BODY, str(error)) from error
    # What was not JSON is text that may hold JSON, as the values of a query string are.
    event.posted = frozenset(
        event.first if hit.body else [name for name, value in event.first.items() if type(value) is not str]
    )
    event.left = event.first.copy()


def _uncut(hit: Hit) -> str:
    """Why the collector could not cut the body; "" where it could."""
    around = reading.envelope(hit)
    reason = around.get("uncut") if around.keys() == {"uncut", "bytes"} else None
    return reason[:_REASON] if isinstance(reason, str) else ""


def _native(event: Event) -> None:
    """Members of a posted object or fields of a form first, then the query string; repeated ones are kept too.

    A client that says when it sent an event has its clock corrected.
    """
    hit = event.hit
    body = bytes(hit.body)
    if not body and not hit.text and (alone := query.single(hit.query)) is not None:
        event.first = alone
        if "sent_at" in alone:
            _correct(event)
        event.left = event.first.copy()
        return
    pairs = query.pairs(hit.query)
    if hit.text:
        pairs = [*query.pairs(hit.text), *pairs]
    if body:
        event.first = _posted(body)
        event.posted = frozenset(event.first)
    first = event.first
    for name, value in pairs:
        if name in first:
            event.more.setdefault(name, []).append(value)
        else:
            first[name] = value
    if "sent_at" in first:
        _correct(event)
    event.left = first.copy()


def _correct(event: Event) -> None:
    first = event.first
    found = reading.times(event.hit.at, first.get("event_time"), first["sent_at"])
    if "client_event_time" in found:
        first["event_time"] = found["event_time"]
        first.setdefault("client_event_time", found["client_event_time"])


def _posted(body: bytes) -> dict[str, Any]:
    try:
        posted = convert.decode_json(body)
    except convert.Invalid as error:
        raise convert.Invalid(BAD_BODY, error.detail) from error
    if not isinstance(posted, dict):
        raise convert.Invalid(BAD_BODY, "the body is not a JSON object")
    return posted


def rest(event: Event) -> str | None:
    """All values that no column took, as a JSON object; several values of one name are an array."""
    left = event.left
    for name, values in event.more.items():
        if name in left:
            left[name] = [left[name], *values]
        else:
            left[name] = values[0] if len(values) == 1 else values
    own: dict[int, dict[str, Any]] = {}
    for path in event.taken:
        members = own.get(id(left.get(path[0]))) if len(path) == 2 else None
        if members is not None and len(members) > 1:  # as of most that follow the first
            members.pop(path[1], None)
        else:
            _remove(left, path, own)
    return convert.encode_json(left) if left else None


def _remove(tree: dict[str, Any], path: tuple[str, ...], own: dict[int, dict[str, Any]]) -> None:
    """Take out what is at the path, and objects that become empty.

    What is shared with the event is copied first, and is then in `own`, by its identity.
    """
    above = []
    for name in path[:-1]:
        members = tree.get(name)
        if type(members) is not dict:
            return
        if id(members) not in own:
            members = tree[name] = members.copy()
            own[id(members)] = members
        above.append((tree, name))
        tree = members
    tree.pop(path[-1], None)
    while above and not tree:
        tree, name = above.pop()
        del tree[name]
