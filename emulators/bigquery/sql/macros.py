"""DuckDB macros for BigQuery's answers that no single DuckDB function gives; made whenever the file is opened."""

from __future__ import annotations

LETTERS_OF_SEVERAL = "".join(
    letter for letter in map(chr, range(0x80, 0xFFFF)) if len(letter.upper()) > 1 and letter != "ß"
)

MACROS = (
    # DuckDB's error() counts as volatile, and a window may neither sort nor divide by what is volatile. A cast that
    # fails does not count so: `store.query_error` takes the message in brackets out of what DuckDB says of it.
    # Every Unicode space, where DuckDB's trim takes the plain one only.
    r"CREATE OR REPLACE MACRO bq_ltrim(s) AS regexp_replace(s, '^[\s\p{Z}\x{0B}\x{85}]+', '')",
    r"CREATE OR REPLACE MACRO bq_rtrim(s) AS regexp_replace(s, '[\s\p{Z}\x{0B}\x{85}]+$', '')",
    "CREATE OR REPLACE MACRO bq_trim(s) AS bq_rtrim(bq_ltrim(s))",
    # DuckDB maps letter to letter, BigQuery the one letter ß to two; other such letters are rare and refused.
    f"""CREATE OR REPLACE MACRO bq_upper(s) AS CASE
        WHEN regexp_matches(s, '[{LETTERS_OF_SEVERAL}]')
        THEN error('The local BigQuery emulator does not support UPPER of a letter that becomes several: ' || s)
        ELSE upper(replace(s, 'ß', 'SS')) END""",
    # A position of 0 means 1; one before the start means the start, but a length counts from where it would be.
    """CREATE OR REPLACE MACRO bq_substr(s, p, n) AS CASE
        WHEN p IS NULL OR n IS NULL THEN NULL
        WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative')
        WHEN p > 0 THEN substr(s, least(p, 2147483648), least(n, 2147483647))
        WHEN p = 0 THEN substr(s, 1, least(n, 2147483647))
        ELSE substr(s, CAST(least(greatest(CAST(length(s) AS HUGEINT) + p + 1, 1), 2147483648) AS BIGINT),
            least(n, 2147483647)) END""",
    """CREATE OR REPLACE MACRO bq_size(n, s, what) AS CASE
        WHEN n < 0 AND s IS NOT NULL THEN error(what) WHEN n > 2147483647 THEN 2147483647 ELSE n END""",
    """CREATE OR REPLACE MACRO bq_repeat(s, n) AS repeat(s, CASE
        WHEN CAST(strlen(s) AS HUGEINT) * n > 1048576
        THEN error('Output of REPEAT exceeds max allowed output size of 1MB')
        WHEN s = '' AND n > 0 THEN 0 ELSE bq_size(n, s, 'REPEAT: negative count') END)""",
    # The place in a DuckDB list, which counts from 1, of an index that counts from 1 - n.
    "CREATE OR REPLACE MACRO bq_place(i, n) AS CASE WHEN i = 9223372036854775807 THEN i ELSE i + n END",
    """CREATE OR REPLACE MACRO bq_wall(t) AS CASE
        WHEN year(t) BETWEEN 1 AND 9999 THEN t WHEN t IS NULL THEN NULL
        ELSE error('The local BigQuery emulator does not write times that a zone carries out of the years 1 to 9999')
        END""",
    """CREATE OR REPLACE MACRO bq_finite(r, a, b) AS CASE
        WHEN isfinite(r) OR NOT isfinite(a) OR NOT isfinite(b) THEN r
        WHEN r IS NULL THEN NULL ELSE CAST('⟦Floating point error: overflow, or no real number⟧' AS DOUBLE) END""",
    """CREATE OR REPLACE MACRO bq_safe_finite(r, a, b) AS CASE
        WHEN isfinite(r) OR NOT isfinite(a) OR NOT isfinite(b) THEN r ELSE NULL END""",
    """CREATE OR REPLACE MACRO bq_floor_div(a, b) AS
        a // b - CASE WHEN a % b < 0 THEN 1 ELSE 0 END""",
    """CREATE OR REPLACE MACRO bq_timestamp_micros(n) AS CASE
        WHEN n BETWEEN -62135596800000000 AND 253402300799999999
        THEN make_timestamptz(CAST(n AS BIGINT))
        WHEN n IS NULL THEN NULL ELSE CAST('⟦TIMESTAMP value is out of allowed range⟧' AS TIMESTAMPTZ) END""",
    """CREATE OR REPLACE MACRO bq_array(a, b) AS generate_series(a, CASE
        WHEN CAST(b AS HUGEINT) - a > 1048574 THEN error('GENERATE_ARRAY produced too many elements')
        ELSE b END)""",
    """CREATE OR REPLACE MACRO bq_safe_timestamp_range(t) AS CASE
        WHEN epoch_us(t) BETWEEN -62135596800000000 AND 253402300799999999 THEN t ELSE NULL END""",
    """CREATE OR REPLACE MACRO bq_date_array(a, b) AS
        list_transform(generate_series(0, CAST(b - a AS BIGINT)), lambda i: a + CAST(i AS INTEGER))""",
    """CREATE OR REPLACE MACRO bq_division(a, b) AS CASE
        WHEN b = 0 THEN CAST('⟦division by zero: ' || a || ' / ' || b || '⟧' AS DOUBLE)
        ELSE bq_finite(a / b, a, b) END""",
    """CREATE OR REPLACE MACRO bq_date_range(d) AS CASE
        WHEN d BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN d
        WHEN d IS NULL THEN NULL ELSE CAST('⟦DATE value is out of allowed range⟧' AS DATE) END""",
    """CREATE OR REPLACE MACRO bq_date(y, m, d) AS CASE
        WHEN y BETWEEN 1 AND 9999 AND m BETWEEN 1 AND 12 AND d BETWEEN 1 AND 31 THEN make_date(y, m, d)
        WHEN y IS NULL OR m IS NULL OR d IS NULL THEN NULL
        ELSE CAST('⟦Input calculates to invalid date: ' || y || '-' || m || '-' || d || '⟧' AS DATE) END""",
    """CREATE OR REPLACE MACRO bq_date_plus(d, n) AS CASE
        WHEN d IS NULL OR n IS NULL THEN NULL
        ELSE bq_date_range(CAST(d + CAST(greatest(least(n, 4000000), -4000000) AS INTEGER) AS DATE)) END""",
    """CREATE OR REPLACE MACRO bq_joined(a, s) AS CASE
        WHEN a IS NULL OR s IS NULL THEN NULL WHEN list_count(a) = 0 THEN ''
        ELSE list_reduce(list_filter(a, lambda x: x IS NOT NULL), lambda x, y: x || s || y) END""",
    # The whole part and the rest one by one: DuckDB scales a double up as a double, which shifts its digits.
    """CREATE OR REPLACE MACRO bq_numeric(x) AS
        CAST(CAST(trunc(x) AS HUGEINT) AS DECIMAL(38,9)) + CAST(x - trunc(x) AS DECIMAL(38,9))""",
    """CREATE OR REPLACE MACRO bq_safe_numeric(x) AS
        TRY_CAST(TRY_CAST(trunc(x) AS HUGEINT) AS DECIMAL(38,9)) + TRY_CAST(x - trunc(x) AS DECIMAL(38,9))""",
    # With 15 digits where those are enough, else with all 17.
    """CREATE OR REPLACE MACRO bq_double_text(x) AS CASE
        WHEN isnan(x) THEN 'nan' WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'inf' ELSE '-inf' END WHEN x = 0 THEN '0'
        WHEN CAST(format('{:.15g}', x) AS DOUBLE) = x THEN format('{:.15g}', x) ELSE format('{:.17g}', x) END""",
    """CREATE OR REPLACE MACRO bq_timestamp_range(t) AS CASE
        WHEN epoch_us(t) BETWEEN -62135596800000000 AND 253402300799999999 THEN t
        WHEN t IS NULL THEN NULL ELSE CAST('⟦TIMESTAMP value is out of allowed range⟧' AS TIMESTAMPTZ) END""",
    """CREATE OR REPLACE MACRO bq_json_scalar(j, p) AS CASE
        WHEN json_type(j, p) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(j, p) END""",
    # Text that is not JSON has no value in it.
    "CREATE OR REPLACE MACRO bq_json_text(s) AS CASE WHEN json_valid(s) THEN s END",
    # BigQuery gives numbers in text as they are written, DuckDB the shortest form of their value.
    r"""CREATE OR REPLACE MACRO bq_json_text_scalar(s, p) AS CASE
        WHEN json_type(bq_json_text(s), p) = 'DOUBLE' AND NOT regexp_matches(
            s, '(?:^|[^\d.eE+-])' || regexp_escape(bq_json_scalar(bq_json_text(s), p)) || '(?:$|[^\d.eE+-])')
        THEN error('The local BigQuery emulator does not know how this number was written: ' || s)
        ELSE bq_json_scalar(bq_json_text(s), p) END""",
    """CREATE OR REPLACE MACRO bq_json_text_query(s, p) AS CASE
        WHEN json_type(bq_json_text(s), p) != 'NULL' THEN CAST(json_extract(bq_json_text(s), p) AS VARCHAR) END""",
    """CREATE OR REPLACE MACRO bq_json_lax(j) AS CASE
        WHEN json_type(j) = 'DOUBLE' THEN bq_double_text(TRY_CAST(json_extract_string(j, '$') AS DOUBLE))
        ELSE bq_json_scalar(j, '$') END""",
    """CREATE OR REPLACE MACRO bq_json_integer(j) AS CASE
        WHEN json_type(j) IS NULL THEN NULL
        WHEN json_type(j) IN ('BIGINT', 'UBIGINT') AND TRY_CAST(json_extract_string(j, '$') AS BIGINT) IS NOT NULL
        THEN TRY_CAST(json_extract_string(j, '$') AS BIGINT)
        WHEN json_type(j) = 'DOUBLE' AND TRY_CAST(json_extract_string(j, '$') AS DOUBLE) =
            TRY_CAST(TRY_CAST(json_extract_string(j, '$') AS DOUBLE) AS BIGINT)
        THEN TRY_CAST(TRY_CAST(json_extract_string(j, '$') AS DOUBLE) AS BIGINT)
        ELSE error('The provided JSON input is not an integer') END""",
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
