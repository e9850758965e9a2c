"""A week in a shop, by a seed: the rows that the loader would have appended, and what really happened.

Everyone's visits lie hours apart and the events of one visit at most 30 minutes, so what a visit is needs no computing.
Some visits go on over midnight; some events arrive hours late or twice; people sign in, some on two devices; some opted
out and have no id; the first days' rows are from before some columns existed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 7
COLUMNS_SINCE = date(2026, 3, 4)  # before that day some values had no column
HOST = "https://shop.example"
SOURCES = {
    "direct": ("direct", "none", None),
    "search": ("search.example", "referral", None),
    "news": ("news", "email", "spring"),
    "ads": ("ads", "cpc", "shoes"),
    "friends": ("friends", "social", "launch"),
    "blog": ("blog.example", "referral", None),
}
PATHS = ("/", "/shoes", "/hats", "/cart", "/help")


@dataclass
class Happened:
    """One event as it was, whatever its rows say."""

    id: str
    at: datetime
    tenant: str
    person: Person | None
    browser: str | None
    user: str | None
    page: str | None = None
    url: str = ""
    order: str | None = None
    total: Decimal = Decimal()
    added: bool = False  # into the cart, instead of a mere click
    again: bool = False  # the same order, told a second time

    @property
    def day(self) -> date:
        return self.at.date()

    @property
    def kind(self) -> str:
        return "order" if self.order else "page_view" if self.page else "add_to_cart" if self.added else "click"


@dataclass
class Visit:
    source: str
    events: list[Happened] = field(default_factory=list)


@dataclass
class Person:
    name: str
    tenant: str
    browsers: list[str]
    signs_in: int | None  # the number of the visit in which it signs in; never
    visits: list[Visit] = field(default_factory=list)


class ShopWeek:
    def __init__(self, seed: int, start: datetime = START, days: int = DAYS) -> None:
        """It begins at `start`, a midnight; the last visits go on for up to three hours after its end."""
        self._random = random.Random(seed)
        self._start, self._days = start, days
        self._number = 0
        self.people: list[Person] = []
        self.strangers: list[Happened] = []  # who opted out
        self.rows: list[dict[str, Any]] = []
        self.problems: dict[tuple[date, str, str], int] = {}
        for number in range(30):
            self._person(number)
        for _ in range(25):
            at = start + timedelta(seconds=self._random.randrange(days * 86_400))
            self.strangers.append(self._event(at, "north", None, None, None, page="/"))
            self._row(self.strangers[-1], "direct", first=False)
        self._random.shuffle(self.rows)

    @property
    def events(self) -> list[Happened]:
        return [event for person in self.people for visit in person.visits for event in visit.events] + self.strangers

    @property
    def visits(self) -> list[tuple[Person, Visit]]:
        return [(person, visit) for person in self.people for visit in person.visits]

    def _person(self, number: int) -> None:
        chance = self._random
        browsers = [f"browser-{number}-{index}" for index in range(chance.choice((1, 1, 2)))]
        signs_in = chance.choice((None, 0, 1, 2))
        person = Person(f"user-{number}", chance.choice(("north", "south")), browsers, signs_in)
        self.people.append(person)
        at = self._start + timedelta(minutes=chance.randrange(1_500))
        while at < self._start + timedelta(days=self._days):
            if chance.random() < 0.3:  # shortly before midnight, so that the visit goes on after it
                at = at.replace(hour=23, minute=50, second=0, microsecond=0)
            at = self._visit(person, at) + timedelta(hours=3, minutes=chance.randrange(2_400))

    def _visit(self, person: Person, at: datetime) -> datetime:
        chance, number = self._random, len(person.visits)
        visit = Visit(chance.choice(list(SOURCES)))
        person.visits.append(visit)
        signed = person.signs_in is not None and number >= person.signs_in
        # A second device is known to be the same person's only by its own signing in.
        browser = person.browsers[number % len(person.browsers)] if signed else person.browsers[0]
        for step in range(chance.randrange(1, 6)):
            if step:
                at += chance.choice((timedelta(minutes=30), timedelta(seconds=chance.randrange(1, 1_800))))
            user = person.name if signed and (step or number != person.signs_in) else None
            event = self._event(at, person.tenant, person, browser, user, page=chance.choice(PATHS))
            if step and chance.random() < 0.2:
                event.page, event.added = None, chance.random() < 0.5
            visit.events.append(event)
            self._row(event, visit.source, first=not step)
        if chance.random() < 0.4:
            self._order(person, visit, browser, person.name if signed else None)
        return visit.events[-1].at

    def _order(self, person: Person, visit: Visit, browser: str, user: str | None) -> None:
        at = visit.events[-1].at + timedelta(seconds=5)
        total = Decimal(self._random.randrange(100, 9_999)) / 100
        order = f"order-{self._number}"
        for again in range(self._random.choice((1, 1, 2))):
            at += timedelta(seconds=again)
            event = self._event(at, person.tenant, person, browser, user, order=order, total=total)
            event.again = any(other.order == order and other.day == event.day for other in visit.events)
            visit.events.append(event)
            self._row(event, visit.source, first=False)

    def _event(
        self, at: datetime, tenant: str, person: Person | None, browser: Any, user: Any, **what: Any
    ) -> Happened:
        self._number += 1
        return Happened(f"e{self._number:05}", at, tenant, person, browser, user, **what)

    def _row(self, event: Happened, source: str, *, first: bool) -> None:
        chance, params = self._random, {}
        row: dict[str, Any] = {"day": event.day.isoformat(), "event_id": event.id, "tenant": event.tenant}
        url = f"{HOST}{event.page or '/'}"
        name, medium, campaign = SOURCES[source]
        if first and medium == "referral":
            row["referrer"] = f"https://{name}/any"
        elif first and campaign and chance.random() < 0.5:
            url += f"?utm_source={name}&utm_medium={medium}&utm_campaign={campaign}"
        elif first and campaign:
            params |= {"utm_source": name, "utm_medium": medium, "utm_campaign": campaign}
        elif not first:
            row["referrer"] = f"{HOST}/before"  # the shop itself sends nobody
        event.url = url
        values = {"user_id": event.user, "anonymous_id": event.browser, "type": event.kind, "url": url}
        if event.order:
            values |= {"order_id": event.order, "total": str(event.total)}
        if event.day < COLUMNS_SINCE:
            early = {one: values.pop(one) for one in ("anonymous_id", "url", "total") if one in values}
            params |= {one: value for one, value in early.items() if value is not None}
        row |= values
        if late := chance.random() < 0.2:
            row["event_time"] = event.at.isoformat()
        received = event.at + timedelta(hours=chance.randrange(1, 60) if late else 0)
        if chance.random() < 0.1:
            key = (event.day, "price", "not_a_number")
            self.problems[key] = self.problems.get(key, 0) + 1
            row["problems"] = [{"column": key[1], "reason": key[2], "detail": "no number", "value": "cheap"}]
        row |= {"received_at": received.isoformat(), "params": params}
        self.rows.append(row)
        if chance.random() < 0.15:  # delivered twice
            self.rows.append(
                {**row, "received_at": (received + timedelta(seconds=chance.randrange(1, 99))).isoformat()}
            )

    def visitors(self, *, by_day: bool) -> dict[str, str | None]:
        """Who did each event: the user whom its browser turned out to be, that day or ever; else the browser."""
        users = {(event.browser, event.day if by_day else None): event.user for event in self.events if event.user}
        return {
            event.id: event.user or users.get((event.browser, event.day if by_day else None), event.browser)
            for event in self.events
        }
