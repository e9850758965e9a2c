"""DuckDB macros for BigQuery's answers that no single DuckDB function gives; made whenever the file is opened."""

from __future__ import annotations

MACROS = (
    # Every Unicode space, where DuckDB's trim takes the plain one only.
    r"CREATE OR REPLACE MACRO bq_ltrim(s) AS regexp_replace(s, '^[\s\p{Z}\x{0B}\x{85}]+', '')",
    r"CREATE OR REPLACE MACRO bq_rtrim(s) AS regexp_replace(s, '[\s\p{Z}\x{0B}\x{85}]+$', '')",
    "CREATE OR REPLACE MACRO bq_trim(s) AS bq_rtrim(bq_ltrim(s))",
    # A position of 0 means 1; one before the start means the start, but a length counts from where it would be.
    """CREATE OR REPLACE MACRO bq_substr(s, p, n) AS CASE
        WHEN p IS NULL OR n IS NULL THEN NULL
        WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative')
        WHEN p > 0 THEN substr(s, p, least(n, 2147483647))
        WHEN p = 0 THEN substr(s, 1, least(n, 2147483647))
        ELSE substr(s, greatest(length(s) + p + 1, 1), least(n, 2147483647)) END""",
    """CREATE OR REPLACE MACRO bq_finite(r, a, b) AS CASE
        WHEN isfinite(r) OR NOT isfinite(a) OR NOT isfinite(b) THEN r
        WHEN r IS NULL THEN NULL ELSE error('Floating point error: overflow, or no real number') END""",
    """CREATE OR REPLACE MACRO bq_safe_finite(r, a, b) AS CASE
        WHEN isfinite(r) OR NOT isfinite(a) OR NOT isfinite(b) THEN r ELSE NULL END""",
    """CREATE OR REPLACE MACRO bq_floor_div(a, b) AS
        a // b - CASE WHEN a % b < 0 THEN 1 ELSE 0 END""",
    """CREATE OR REPLACE MACRO bq_timestamp_micros(n) AS CASE
        WHEN n BETWEEN -62135596800000000 AND 253402300799999999
        THEN make_timestamptz(CAST(n AS BIGINT))
        WHEN n IS NULL THEN NULL ELSE error('TIMESTAMP value is out of allowed range') END""",
    """CREATE OR REPLACE MACRO bq_array(a, b) AS generate_series(a, CASE
        WHEN CAST(b AS HUGEINT) - a > 1048574 THEN error('GENERATE_ARRAY produced too many elements')
        ELSE b END)""",
    """CREATE OR REPLACE MACRO bq_safe_timestamp_range(t) AS CASE
        WHEN epoch_us(t) BETWEEN -62135596800000000 AND 253402300799999999 THEN t ELSE NULL END""",
    """CREATE OR REPLACE MACRO bq_date_array(a, b) AS
        list_transform(generate_series(0, CAST(b - a AS BIGINT)), lambda i: a + CAST(i AS INTEGER))""",
    """CREATE OR REPLACE MACRO bq_division(a, b) AS CASE
        WHEN b = 0 THEN error('division by zero: ' || a || ' / ' || b)
        WHEN isfinite(a / b) OR NOT isfinite(a) OR NOT isfinite(b) THEN a / b
        WHEN a IS NULL OR b IS NULL THEN NULL ELSE error('Floating point error: overflow, or no real number') END""",
    """CREATE OR REPLACE MACRO bq_date_range(d) AS CASE
        WHEN d BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN d
        WHEN d IS NULL THEN NULL ELSE error('DATE value is out of allowed range') END""",
    """CREATE OR REPLACE MACRO bq_timestamp_range(t) AS CASE
        WHEN epoch_us(t) BETWEEN -62135596800000000 AND 253402300799999999 THEN t
        WHEN t IS NULL THEN NULL ELSE error('TIMESTAMP value is out of allowed range') END""",
    """CREATE OR REPLACE MACRO bq_json_scalar(j, p) AS CASE
        WHEN json_type(j, p) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(j, p) END""",
    """CREATE OR REPLACE MACRO bq_json_typed(j, kinds, wanted) AS CASE
        WHEN json_type(j) IS NULL THEN NULL
        WHEN list_contains(kinds, json_type(j)) THEN json_extract_string(j, '$')
        ELSE error('The provided JSON input is not ' || wanted) END""",
    # A table keeps no NULL array, and no array with a NULL in it.
    """CREATE OR REPLACE MACRO bq_stored_array(a) AS CASE
        WHEN a IS NULL THEN []
        WHEN len(list_filter(a, lambda x: x IS NULL)) > 0
        THEN error('Array cannot have a null element; error in writing field')
        ELSE a END""",
)
