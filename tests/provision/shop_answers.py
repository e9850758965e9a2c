"""What each view for analysts must say of a week in the shop, by what really happened. No SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from tests.provision.shop_week import SOURCES, Happened, ShopWeek

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Answer:
    """The columns that are compared, in this order, and the rows in any."""

    columns: str
    rows: Callable[[ShopWeek], Rows]


def page_views(week: ShopWeek) -> Rows:
    visitors = week.visitors(by_day=True)
    return [
        (one.day, one.tenant, one.id, one.at, visitors[one.id], one.user, one.url, "shop.example", one.page)
        for one in week.events
        if one.page
    ]


def sessions(week: ShopWeek) -> Rows:
    found: Rows = []
    for _, visit in week.visits:
        first, last = visit.events[0], visit.events[-1]
        pages = [one.url for one in visit.events if one.page]
        user = next((one.user for one in reversed(visit.events) if one.user), None)
        orders = sum(one.order is not None for one in visit.events)
        seconds = round((last.at - first.at).total_seconds())
        found.append((
            first.day, first.tenant, first.id, user or first.browser, user, first.at, last.at, seconds,
            len(visit.events), len(pages), orders, pages[0], pages[-1], *SOURCES[visit.source],
            len(pages) > 1 or orders > 0 or seconds >= 10,
        ))  # fmt: skip
    return found


def people(week: ShopWeek) -> dict[str, list[Happened]]:
    """What each did, in order; an event that comes with another counts by its id."""
    visitors = week.visitors(by_day=False)
    found: dict[str, list[Happened]] = {}
    for one in sorted(week.events, key=lambda one: (one.at, one.id)):
        if (visitor := visitors[one.id]) is not None:
            found.setdefault(visitor, []).append(one)
    return found


def visitors(week: ShopWeek) -> Rows:
    found: Rows = []
    for visitor, events in people(week).items():
        first, last = events[0], events[-1]
        named = [one for one in events if one.user]
        visit = next(visit for _, visit in week.visits if first in visit.events)
        found.append((
            first.tenant, visitor, first.day, named[0].user if named else None, first.at, last.at,
            named[0].at if named else None, bool(named) and named[0] is not first, *SOURCES[visit.source], first.url,
            len({one.day for one in events}), len(events), sum(bool(one.page) for one in events),
            sum(one.order is not None for one in events),
        ))  # fmt: skip
    return found


def daily_active(week: ShopWeek) -> Rows:
    known, found = week.visitors(by_day=True), []
    for day, tenant in {(one.day, one.tenant) for one in week.events}:
        events = [one for one in week.events if (one.day, one.tenant) == (day, tenant)]
        who = {known[one.id] for one in events} - {None}
        users = {one for one in who if str(one).startswith("user-")}
        pages, orders = sum(bool(one.page) for one in events), {one.order for one in events} - {None}
        found.append((day, tenant, len(who), len(users), len(events), pages, len(orders)))
    return found


def orders(week: ShopWeek) -> Rows:
    known = week.visitors(by_day=True)
    return [
        (one.day, one.tenant, one.order, one.at, known[one.id], one.total)
        for one in week.events
        if one.order and not one.again
    ]


def campaigns(week: ShopWeek) -> Rows:
    found: dict[tuple[Any, ...], list[Any]] = {}

    def add(event: Happened, source: str, *values: Any) -> None:
        key = (event.day, event.tenant, *SOURCES[source])
        line = found.setdefault(key, [0, 0, 0, Decimal(0), 0, Decimal(0)])
        found[key] = [a + b for a, b in zip(line, values, strict=True)]

    visit_of = {event.id: visit for _, visit in week.visits for event in visit.events}
    for events in people(week).values():
        first, last = visit_of[events[0].id].source, None
        for one in events:
            visit = visit_of[one.id]
            if one is visit.events[0]:
                add(one, visit.source, 1, int(one is events[0]), 0, 0, 0, 0)
                last = visit.source if visit.source != "direct" else last
            if one.order and not one.again:
                add(one, first, 0, 0, 1, one.total, 0, 0)
                add(one, last or first, 0, 0, 0, 0, 1, one.total)
    return [(*key, *values) for key, values in found.items()]


def retention(week: ShopWeek) -> Rows:
    counted: Counter[tuple[str, date, date]] = Counter()
    for events in people(week).values():
        for day in {one.day for one in events}:
            counted[events[0].tenant, events[0].day, day] += 1
    return [
        (tenant, cohort, day, (day - cohort).days, number, counted[tenant, cohort, cohort])
        for (tenant, cohort, day), number in counted.items()
    ]


ANSWERS = {
    "page_views": Answer("day, tenant, event_id, viewed_at, visitor, user_id, url, host, path", page_views),
    "sessions": Answer(
        "day, tenant, session, visitor, user_id, began, ended, seconds, events, pages, orders, entry_page, exit_page,"
        " source, medium, campaign, engaged",
        sessions,
    ),
    "visitors": Answer(
        "tenant, visitor, day, user_id, first_seen, last_seen, identified_at, identified_later, source, medium,"
        " campaign, entry_page, days, events, pages, orders",
        visitors,
    ),
    "daily_active": Answer("day, tenant, visitors, users, events, pages, orders", daily_active),
    "orders": Answer("day, tenant, order_id, ordered_at, visitor, total", orders),
    "campaigns": Answer(
        "day, tenant, source, medium, campaign, sessions, new_visitors, first_touch_orders, first_touch_total,"
        " last_touch_orders, last_touch_total",
        campaigns,
    ),
    "retention": Answer("tenant, cohort, day, days_later, visitors, cohort_visitors", retention),
}


def funnel(week: ShopWeek, steps: tuple[str, ...], minutes: int, first: date, last: date) -> Rows:
    """tenant, step, name, visitors, from_previous, from_first; in the order of the first two."""
    events = [one for one in week.events if first <= one.day <= last and (one.browser or one.user)]
    users = {one.browser: one.user for one in events if one.user}
    theirs: dict[tuple[str, str], list[Happened]] = {}
    for one in sorted(events, key=lambda one: (one.at, one.id)):
        who = str(one.user or users.get(one.browser, one.browser))
        theirs.setdefault((one.tenant, who), []).append(one)
    found: Rows = []
    for tenant in sorted({tenant for tenant, _ in theirs}):
        depths = [_depth(their, steps, minutes) for (whose, _), their in theirs.items() if whose == tenant]
        numbers = [sum(one > place for one in depths) for place in range(len(steps))]
        for place, (name, number) in enumerate(zip(steps, numbers, strict=True)):
            before = numbers[max(place - 1, 0)]
            shares = (number / before if before else None, number / numbers[0] if numbers[0] else None)
            found.append((tenant, place + 1, name, number, *shares))
    return found


def _depth(events: list[Happened], steps: tuple[str, ...], minutes: int) -> int:
    """How many steps one visitor took: from each first step on, each next one as early as it comes."""
    deepest = 0
    for place, start in enumerate(events):
        if steps[0] not in (start.kind, start.page):
            continue
        taken = 1
        for event in events[place + 1 :]:
            in_time = event.at - start.at <= timedelta(minutes=minutes)
            taken += taken < len(steps) and steps[taken] in (event.kind, event.page) and in_time
        deepest = max(deepest, taken)
    return deepest
