"""PERCENTILE_CONT, which is computed over a partition only."""

from __future__ import annotations

from dataclasses import replace

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.aggregates import Arguments
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.expr import Expr, coercible, combined, signature

NAME = "PERCENTILE_CONT"

MACROS = (
    # NaN comes before all numbers.
    """CREATE OR REPLACE MACRO bq_percentile_sorted(a) AS
        list_concat(list_filter(a, lambda x: isnan(x)), list_sort(list_filter(a, lambda x: NOT isnan(x))))""",
    """CREATE OR REPLACE MACRO bq_percentile_between(a, place) AS CASE
        WHEN place = floor(place) THEN a[CAST(place AS BIGINT) + 1]
        ELSE a[CAST(floor(place) AS BIGINT) + 1] * (1 - (place - floor(place)))
            + a[CAST(floor(place) AS BIGINT) + 2] * (place - floor(place)) END""",
    """CREATE OR REPLACE MACRO bq_percentile_cont(a, p) AS CASE
        WHEN len(a) > 0 THEN bq_percentile_between(bq_percentile_sorted(a), (len(a) - 1) * p) END""",
)


def call(given: Arguments, over: str, *, framed: bool) -> Expr:
    """The call; `framed` says whether OVER has more than PARTITION BY, which is not allowed."""
    values = given.values
    if framed:
        raise invalid_query(f"Window ORDER BY and frame are not allowed for analytic function {NAME}")
    if given.distinct or given.order or given.limit is not None or given.star:
        raise invalid_query(f"{NAME} takes plain arguments only")
    if given.respect_nulls:
        raise unsupported(f"RESPECT NULLS in {NAME}")
    if len(values) == 2 and values[0].type == "NUMERIC":
        raise unsupported(f"{NAME} of NUMERIC: CAST to FLOAT64")
    if len(values) != 2 or not all(coercible(value, "FLOAT64") for value in values):
        raise invalid_query(
            f"No matching signature for analytic function {NAME} for argument types: {signature(values)}"
        )
    value, place = (coerce(given, "FLOAT64") for given in values)
    if not values[1].literal:
        raise invalid_query(f"Argument 2 to {NAME} must be a literal or query parameter")
    if values[1].type == "NULL":
        raise invalid_query(f"Argument 2 to {NAME} must be non-NULL")
    refused = f"error('Argument 2 to {NAME} must be between 0 and 1')"
    checked = f"CASE WHEN {place.sql} BETWEEN 0 AND 1 THEN {place.sql} ELSE {refused} END"
    items = f"list({value.sql}) FILTER (WHERE {value.sql} IS NOT NULL){over}"
    result = combined(f"bq_percentile_cont({items}, {checked})", "FLOAT64", values)
    return replace(result, constant=False, probe=None)
