"""The SQL of the table function `funnel`, up to a WITH item `found` that has its columns. Pure."""

# ruff: noqa: S608 - what is put into the SQL is names that the schema file was checked for, and this file's own text
from __future__ import annotations

from services.provision import analyst_sql
from services.provision.analyst_columns import Columns

MAX_STEPS = 10
STEPS, WITHIN, FIRST, LAST = "steps", "within_minutes", "first_day", "last_day"  # the parameters
_BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_ALONG = "PARTITION BY tenant, visitor ORDER BY occurred_at, event_id"


def query(columns: Columns, view: str) -> str:
    """How far each visitor came. An event is a step by its type, as a page view or order, or by its page's path.

    `start0` is the time of an event that is the first step. An event that is a later one takes over the latest start
    that reached the step before it; the latest leaves the most time, so no other could do better.
    """
    where = f"{columns.day} BETWEEN {FIRST} AND {LAST}"
    names = (*analyst_sql.WHO, "type", "url", "page", "ordered")
    return (
        f"seen AS (\n{analyst_sql.seen(columns, view, *names, where=where)}\n),\n"
        f"{analyst_sql.known(columns, by_day=False)},\n"
        "tagged AS (\n  SELECT tenant, visitor, occurred_at, event_id, type,\n"
        "    CASE WHEN page THEN 'page_view' WHEN ordered THEN 'order' END AS kind,\n"
        f"    IF(page, {analyst_sql.PATH}, NULL) AS path\n  FROM known WHERE visitor IS NOT NULL\n),\n"
        "chosen AS (\n  SELECT * FROM tagged\n"
        f"  WHERE type IN UNNEST({STEPS}) OR kind IN UNNEST({STEPS}) OR path IN UNNEST({STEPS})\n),\n"
        f"reached0 AS (\n  SELECT *, IF({_is(0)}, occurred_at, NULL) AS start0 FROM chosen\n),\n"
        + "".join(map(_reached, range(1, MAX_STEPS)))
        + f"furthest AS (\n  SELECT tenant, visitor, MAX({_depth()}) AS depth\n"
        f"  FROM reached{MAX_STEPS - 1} GROUP BY tenant, visitor\n),\n"
        "counted AS (\n  SELECT tenant, name, COUNTIF(depth > place) AS visitors,\n"
        f"    IF(ARRAY_LENGTH({STEPS}) > {MAX_STEPS}, ERROR('funnel: at most {MAX_STEPS} steps'), place + 1) AS step\n"
        f"  FROM furthest CROSS JOIN UNNEST({STEPS}) AS name WITH OFFSET AS place\n"
        "  GROUP BY tenant, name, place\n),\n"
        "found AS (\n  SELECT *,\n"
        "    SAFE_DIVIDE(visitors, IFNULL(LAG(visitors) OVER (PARTITION BY tenant ORDER BY step), visitors))\n"
        "      AS from_previous,\n"
        "    SAFE_DIVIDE(visitors, FIRST_VALUE(visitors) OVER (PARTITION BY tenant ORDER BY step)) AS from_first\n"
        "  FROM counted\n)"
    )


def _is(step: int) -> str:
    """Whether an event is that step."""
    return f"IFNULL({STEPS}[SAFE_OFFSET({step})] IN (type, kind, path), FALSE)"


def _reached(step: int) -> str:
    before = f"MAX(start{step - 1}) OVER ({_ALONG} {_BEFORE})"
    in_time = f"TIMESTAMP_DIFF(occurred_at, before{step}, MICROSECOND) <= {WITHIN} * 60000000"
    return (
        f"reached{step} AS (\n  SELECT *, IF({_is(step)} AND {in_time}, before{step}, NULL) AS start{step}\n"
        f"  FROM (SELECT *, {before} AS before{step} FROM reached{step - 1})\n),\n"
    )


def _depth() -> str:
    """How many steps the path that ends with an event has."""
    cases = (f"WHEN start{step} IS NOT NULL THEN {step + 1}" for step in reversed(range(MAX_STEPS)))
    return f"CASE {' '.join(cases)} ELSE 0 END"
