"""The SQL of each view for analysts, up to a WITH item `found` that has its columns. Pure.

Every query begins with `seen`: the values of one table under names that do not depend on the schema file. Those about
days keep `day` in every window and group, or a filter on it would not reach the table.
"""

# ruff: noqa: S608 - what is put into the SQL is names that the schema file was checked for, and this file's own text
from __future__ import annotations

from collections.abc import Sequence

from services.provision.analyst_columns import Columns
from services.provision.view import quoted
from services.shared.schema import Table

IDLE = 30 * 60 * 1_000_000  # microseconds without an event after which a session is over
IDS = ("user_id", "anonymous_id", "visitor_id")
WHO = ("event_id", "occurred_at", "tenant", *IDS)
PATH = "REGEXP_EXTRACT(REGEXP_REPLACE(url, r'^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*', ''), r'^[^?#]*')"  # of a URL
_TOUCH = ("source", "medium", "campaign")
_REJECT = ("stage", "table", "reason", "column", "detail")
_WHOLE = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
_RUNNING = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


def seen(columns: Columns, view: str, *names: str, day: str = "", extra: str = "", where: str = "") -> str:
    chosen = f"\n  WHERE {where}" if where else ""
    return f"  SELECT {day or columns.day} AS day,\n{columns.fields(*names)}{extra}\n  FROM {view}{chosen}"


def known(columns: Columns, *, by_day: bool, rows: str = "seen") -> str:
    """The WITH item that adds the person: `visitor` is the user, else the user whom the same browser turned out to be,
    else the browser. Rows without such an id are spread by their own, or one window would hold them all.
    """
    keys = "day, tenant" if by_day else "tenant"
    later = [
        f"LAST_VALUE(user_id IGNORE NULLS) OVER (\n    PARTITION BY {keys}, IFNULL({one}, event_id)\n"
        f"    ORDER BY occurred_at, event_id {_WHOLE}\n  )"
        for one in IDS[1:]
        if columns.has(one)
    ]
    user = f"COALESCE({', '.join(('user_id', *later))})" if later else "user_id"
    return (
        f"named AS (\n  SELECT *, {user} AS known_user FROM {rows}\n),\n"
        "known AS (\n  SELECT *, COALESCE(known_user, anonymous_id, visitor_id) AS visitor FROM named\n)"
    )


def page_views(columns: Columns, view: str) -> str:
    names = (*WHO, "url", "title", "referrer", *_TOUCH, "page")
    return (
        f"seen AS (\n{seen(columns, view, *names)}\n),\n{known(columns, by_day=True)},\n"
        "found AS (\n  SELECT *, occurred_at AS viewed_at, NET.HOST(url) AS host,\n"
        f"    {PATH} AS path\n"
        "  FROM known WHERE page\n)"
    )


def _begun(keys: str) -> str:
    """The WITH items that number the sessions of each browser, from rows `seen`."""
    return (
        "begun AS (\n  SELECT *, IF(TIMESTAMP_DIFF(occurred_at, LAG(occurred_at) OVER (\n"
        f"    PARTITION BY {keys}, browser ORDER BY occurred_at, event_id\n"
        f"  ), MICROSECOND) <= {IDLE}, 0, 1) AS begins\n"
        "  FROM seen WHERE browser IS NOT NULL\n)"
    )


def sessions(columns: Columns, view: str) -> str:
    names = (*WHO, "browser", "url", *_TOUCH, "page", "ordered")
    branches = (
        seen(columns, view, *names, day=day, extra=f",\n    {shift} AS shift")
        for day, shift in (
            (columns.day, 0),
            (f"DATE_ADD({columns.day}, INTERVAL 1 DAY)", -1),
            (f"DATE_SUB({columns.day}, INTERVAL 1 DAY)", 1),
        )
    )
    united = "\n  UNION ALL\n".join(branches)
    return (
        f"seen AS (\n{united}\n),\n{_begun('day, tenant')},\n"
        "numbered AS (\n  SELECT *, SUM(begins) OVER (\n    PARTITION BY day, tenant, browser\n"
        f"    ORDER BY occurred_at, event_id {_RUNNING}\n  ) AS number FROM begun\n),\n"
        "grouped AS (\n  SELECT day, tenant, browser, number, MIN(occurred_at) AS began, MAX(occurred_at) AS ended,\n"
        "    COUNT(*) AS events, COUNTIF(page) AS pages, COUNTIF(ordered) AS orders,\n"
        f"    {_one('shift')} AS shift, {_one('event_id')} AS session, {_one('source')} AS source,\n"
        f"    {_one('medium')} AS medium, NULLIF({_one(_blank('campaign'))}, '') AS campaign,\n"
        f"    {_one('IF(page, url, NULL)', nulls=False)} AS entry_page,\n"
        f"    {_one('IF(page, url, NULL)', nulls=False, last=True)} AS exit_page,\n"
        f"    {_one('user_id', nulls=False, last=True)} AS user_id\n"
        "  FROM numbered GROUP BY day, tenant, browser, number\n),\n"
        "found AS (\n  SELECT *, IFNULL(user_id, browser) AS visitor,\n"
        "    TIMESTAMP_DIFF(ended, began, SECOND) AS seconds,\n"
        "    pages > 1 OR orders > 0 OR TIMESTAMP_DIFF(ended, began, SECOND) >= 10 AS engaged\n"
        "  FROM grouped WHERE shift = 0\n)"
    )


def _blank(name: str) -> str:
    return f"IFNULL({name}, '')"


def _one(value: str, *, nulls: bool = True, last: bool = False) -> str:
    """Of the first or last event of a group; `nulls` says that the value never is NULL."""
    ignored = "" if nulls else " IGNORE NULLS"
    order = "occurred_at DESC, event_id DESC" if last else "occurred_at, event_id"
    return f"ARRAY_AGG({value}{ignored} ORDER BY {order} LIMIT 1)[SAFE_OFFSET(0)]"


def visitors(columns: Columns, view: str) -> str:
    names = (*WHO, "url", *_TOUCH, "page", "ordered")
    return (
        f"seen AS (\n{seen(columns, view, *names)}\n),\n{known(columns, by_day=False)},\n"
        "grouped AS (\n  SELECT tenant, visitor, MIN(occurred_at) AS first_seen, MAX(occurred_at) AS last_seen,\n"
        f"    {_one('day')} AS day, {_one('known_user', nulls=False, last=True)} AS user_id,\n"
        "    MIN(IF(user_id IS NULL, NULL, occurred_at)) AS identified_at,\n"
        f"    {_one('source')} AS source, {_one('medium')} AS medium,\n"
        f"    NULLIF({_one(_blank('campaign'))}, '') AS campaign,\n"
        f"    {_one('IF(page, url, NULL)', nulls=False)} AS entry_page,\n"
        "    COUNT(DISTINCT day) AS days, COUNT(*) AS events, COUNTIF(page) AS pages, COUNTIF(ordered) AS orders\n"
        "  FROM known WHERE visitor IS NOT NULL GROUP BY tenant, visitor\n),\n"
        "found AS (\n  SELECT *, IFNULL(identified_at > first_seen, FALSE) AS identified_later FROM grouped\n)"
    )


def daily_active(columns: Columns, view: str) -> str:
    names = (*WHO, "order_id", "page", "ordered")
    return (
        f"seen AS (\n{seen(columns, view, *names)}\n),\n{known(columns, by_day=True)},\n"
        "found AS (\n  SELECT day, tenant, COUNT(DISTINCT visitor) AS visitors, COUNT(DISTINCT known_user) AS users,\n"
        "    COUNT(*) AS events, COUNTIF(page) AS pages,\n"
        "    COUNT(DISTINCT IF(ordered, IFNULL(order_id, event_id), NULL)) AS orders\n"
        "  FROM known GROUP BY day, tenant\n)"
    )


def orders(columns: Columns, view: str) -> str:
    names = (*WHO, "order_id", "total", "currency", "ordered")
    return (
        f"seen AS (\n{seen(columns, view, *names)}\n),\n{known(columns, by_day=True)},\n"
        "placed AS (\n  SELECT * EXCEPT (order_id, user_id), IFNULL(order_id, event_id) AS order_id,\n"
        "    known_user AS user_id, occurred_at AS ordered_at\n  FROM known WHERE ordered\n),\n"
        "found AS (\n  SELECT * FROM placed WHERE TRUE\n"
        "  QUALIFY ROW_NUMBER() OVER (PARTITION BY day, tenant, order_id ORDER BY occurred_at, event_id) = 1\n)"
    )


def campaigns(columns: Columns, view: str) -> str:
    """A visit's touch is its first event. The last touch goes on until the next one that is not direct; `number` is an
    event's place in all that its visitor did, and `touch` the number of the event that the order is owed to.
    """
    names = (*WHO, "browser", "order_id", "total", *_TOUCH, "ordered")
    person, along = "PARTITION BY tenant, visitor", f"ORDER BY number {_RUNNING}"
    first = ", ".join(f"FIRST_VALUE({name}) OVER ({person} {along}) AS first_{name}" for name in _TOUCH)
    last = ", ".join(f"FIRST_VALUE({name}) OVER ({person}, touch {along}) AS last_{name}" for name in _TOUCH)
    chosen = ",\n".join(
        f"    CASE fact WHEN 1 THEN {one} WHEN 2 THEN first_{one} ELSE last_{one} END AS {one}" for one in _TOUCH
    )
    owed = ",\n".join(
        f"    COUNTIF(fact = {fact}) AS {which}_touch_orders,\n"
        f"    SUM(IF(fact = {fact}, IFNULL(total, 0), 0)) AS {which}_touch_total"
        for fact, which in ((2, "first"), (3, "last"))
    )
    return (
        f"seen AS (\n{seen(columns, view, *names)}\n),\n"
        f"{_begun('tenant')},\n{known(columns, by_day=False, rows='begun')},\n"
        f"numbered AS (\n  SELECT *, ROW_NUMBER() OVER ({person} ORDER BY occurred_at, event_id) AS number\n"
        "  FROM known\n),\n"
        "owed AS (\n  SELECT *, IFNULL(MAX(IF(begins = 1 AND source != 'direct', number, NULL)) OVER (\n"
        f"    {person} {along}\n  ), 0) AS touch FROM numbered\n),\n"
        f"touched AS (\n  SELECT *, {first},\n    {last}\n  FROM owed\n),\n"
        "marked AS (\n  SELECT *, ordered AND ROW_NUMBER() OVER (\n"
        "    PARTITION BY day, tenant, ordered, IFNULL(order_id, event_id) ORDER BY occurred_at, event_id\n"
        "  ) = 1 AS bought FROM touched\n),\n"
        f"facts AS (\n  SELECT day, tenant, fact, number, total,\n{chosen}\n"
        "  FROM marked CROSS JOIN UNNEST([1, 2, 3]) AS fact WHERE IF(fact = 1, begins = 1, bought)\n),\n"
        "found AS (\n  SELECT day, tenant, source, medium, campaign, COUNTIF(fact = 1) AS sessions,\n"
        f"    COUNTIF(fact = 1 AND number = 1) AS new_visitors,\n{owed}\n"
        "  FROM facts GROUP BY day, tenant, source, medium, campaign\n)"
    )


def retention(columns: Columns, view: str) -> str:
    return (
        f"seen AS (\n{seen(columns, view, *WHO)}\n),\n{known(columns, by_day=False)},\n"
        "active AS (\n  SELECT DISTINCT tenant, visitor, day FROM known WHERE visitor IS NOT NULL\n),\n"
        "joined AS (\n  SELECT *, MIN(day) OVER (PARTITION BY tenant, visitor) AS cohort FROM active\n),\n"
        "counted AS (\n  SELECT tenant, cohort, day, COUNT(*) AS visitors FROM joined\n"
        "  GROUP BY tenant, cohort, day\n),\n"
        "found AS (\n  SELECT *, DATE_DIFF(day, cohort, DAY) AS days_later,\n"
        "    MAX(IF(day = cohort, visitors, NULL)) OVER (PARTITION BY tenant, cohort) AS cohort_visitors\n"
        "  FROM counted\n)"
    )


def live(columns: Columns, view: str) -> str:
    names = (*WHO, "order_id", "page", "ordered")
    days = f"{columns.day} BETWEEN DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY) AND CURRENT_DATE()"
    return (
        f"seen AS (\n{seen(columns, view, *names, where=days)}\n),\n{known(columns, by_day=True)},\n"
        "found AS (\n  SELECT TIMESTAMP_TRUNC(occurred_at, MINUTE) AS minute, tenant, COUNT(*) AS events,\n"
        "    COUNTIF(page) AS pages, COUNT(DISTINCT visitor) AS visitors,\n"
        "    COUNT(DISTINCT IF(ordered, IFNULL(order_id, event_id), NULL)) AS orders\n"
        "  FROM known\n"
        "  WHERE occurred_at BETWEEN TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 MINUTE) AND CURRENT_TIMESTAMP()\n"
        "  GROUP BY minute, tenant\n)"
    )


def rejects(columns: Columns, view: str) -> str:
    named = {name: columns.value(f"reject.{name}") for name in _REJECT}
    extra = "".join(f",\n    {value} AS {quoted(name)}" for name, value in named.items())
    keys = "day, tenant, stage, `table`, reason, `column`"
    return (
        f"seen AS (\n{seen(columns, view, 'tenant', 'hit.received_at', extra=extra)}\n),\n"
        f"found AS (\n  SELECT {keys}, COUNT(*) AS rejects,\n"
        "    MIN(received_at) AS first_received, MAX(received_at) AS last_received, MIN(detail) AS example\n"
        f"  FROM seen GROUP BY {keys}\n)"
    )


def reject_status(columns: Columns, view: str, table: Table, others: Sequence[Table], place: str) -> str:
    """By day, event id and what else of the others' keys `table` has too, as `pixelpipe replay` does.

    A join would not let a filter on the day reach the other tables. A table with `copy` and the others say nothing of
    each other: of one event, both have a row.
    """
    keys = [set(one.key) for one in others]
    ends = (table.key[0], table.key[-1])  # the day and the event id
    names = (one.name for one in table.columns if one.name not in ends)
    shared = [name for name in names if all(name in key for key in keys)]
    whose = f"TO_JSON_STRING(STRUCT({', '.join(map(quoted, shared))}))" if shared else "''"
    listed = "".join(f", {quoted(name)}" for name in _REJECT)
    named = "".join(f",\n    {columns.value(f'reject.{name}')} AS {quoted(name)}" for name in _REJECT)
    nothing = "".join(f", CAST(NULL AS STRING) AS {quoted(name)}" for name in _REJECT)
    stored = "\n  UNION ALL\n".join(
        seen(
            Columns(one),
            f"`{place}.{one.log_name}`",
            "event_id",
            extra=f",\n    {_of_copy(whose, one)} AS whose,\n    '{one.name}' AS stored_in",
        )
        for one in others
    )
    copies = ", ".join(f"'{one.name}'" for one in others if one.copy)
    meant = columns.value("reject.table")
    refused = f"CONCAT(IF({meant} IN ({copies}), {meant}, ''), {whose})" if copies else whose
    extra = f",\n    {refused} AS whose{named}"
    return (
        f"stored AS (\n{stored}\n),\n"
        f"seen AS (\n{seen(columns, view, 'event_id', 'tenant', 'hit.received_at', extra=extra)}\n),\n"
        f"both AS (\n  SELECT day, event_id, whose, tenant, received_at{listed},\n"
        "    CAST(NULL AS STRING) AS stored_in, TRUE AS refused FROM seen\n"
        "  UNION ALL\n  SELECT day, event_id, whose, CAST(NULL AS STRING) AS tenant,\n"
        f"    CAST(NULL AS TIMESTAMP) AS received_at{nothing}, stored_in, FALSE AS refused\n  FROM stored\n),\n"
        "matched AS (\n  SELECT * EXCEPT (stored_in),\n"
        "    MAX(stored_in) OVER (PARTITION BY day, whose, event_id) AS stored_in\n  FROM both\n),\n"
        "found AS (\n  SELECT * FROM matched WHERE refused\n)"
    )


def _of_copy(whose: str, table: Table) -> str:
    return f"CONCAT('{table.name}', {whose})" if table.copy else whose


def problems(columns: Columns, view: str) -> str:
    problems = f",\n    {columns.value('event.problems')} AS problems"
    keys = "day, tenant, `column`, reason"
    return (
        f"seen AS (\n{seen(columns, view, 'event_id', 'tenant', extra=problems)}\n),\n"
        "each AS (\n  SELECT day, tenant, event_id, JSON_VALUE(problem, '$.column') AS `column`,\n"
        "    JSON_VALUE(problem, '$.reason') AS reason, JSON_VALUE(problem, '$.value') AS value\n"
        "  FROM seen CROSS JOIN UNNEST(JSON_QUERY_ARRAY(problems)) AS problem\n),\n"
        f"found AS (\n  SELECT {keys}, COUNT(*) AS problems, COUNT(DISTINCT event_id) AS events,\n"
        f"    MIN(value) AS example\n  FROM each GROUP BY {keys}\n)"
    )
