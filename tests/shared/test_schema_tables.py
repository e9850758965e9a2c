"""What a schema file says of copies, samples, conditions, zones, expressions, labels and tags: read, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from services.shared import (
    schema_columns,
    schema_expressions,
    schema_file,
    schema_privacy,
    schema_tenants,
    schema_transforms,
)
from services.shared.schema import Condition, Source
from tests.schemas import a_file, refused

TAG = "projects/p/locations/europe-west3/taxonomies/12/policyTags/34"
USER = "      user_id: {type: STRING, from: param.user_id}\n"


def test_everything_is_read() -> None:
    columns = (
        f"{USER}      a: {{type: STRING, from: param.a, required_if: {{param.type: [b, c], agent.is_bot: 'true'}}}}\n"
        f"      h: {{type: INT64, from: event.hour, time_zone: Europe/Berlin}}\n"
        f"      p: {{type: STRING, from: param.p, policy_tags: [{TAG}]}}\n"
        "      x: {type: INT64, expression: h + 1, description: Next}\n"
    )
    table = schema_file.parse(a_file(columns, "    sample: .25\n    labels: {a: b, c_-1: ''}\n")).tables["events"]
    assert (table.copy, table.sample, table.labels) == (False, 0.25, (("a", "b"), ("c_-1", "")))
    assert table.column("a").required_if == (
        Condition(Source("param", "type"), frozenset({"b", "c"})),
        Condition(Source("agent", "is_bot"), frozenset({"true"})),
    )
    assert table.column("h").time_zone == "Europe/Berlin" and table.column("p").policy_tags == (TAG,)
    (computed,) = table.expressions
    assert (computed.name, computed.type, computed.expression, computed.description) == ("x", "INT64", "h + 1", "Next")
    assert "x" not in [column.name for column in table.columns]


def test_a_condition_alone_asks_for_an_enrichment() -> None:
    text = "      a: {type: STRING, from: param.a, required_if: {geo.country: DE}}\n"
    assert schema_file.parse(a_file(text)).asks_for("geo") and not schema_file.parse(a_file()).asks_for("geo")


def test_a_copy_takes_nothing_from_the_tables_after_it() -> None:
    text = (
        a_file(table="    copy: true\n", name="everything")
        + a_file(name="events").removeprefix("tables:\n").split("  rejects:")[0]
    )
    assert list(schema_file.parse(text).tables) == ["everything", "rejects", "events"]


# Each case: a column, and the line, column and a part of the error.
COLUMNS = {
    "required and required if": (
        "{type: INT64, mode: REQUIRED, from: param.a, required_if: {param.b: c}}", 8, 68, "REQUIRED anyway",
    ),
    "required if nothing": ("{type: INT64, from: param.a, required_if: {}}", 8, 52, "name at least one condition"),
    "required if text": ("{type: INT64, from: param.a, required_if: order}", 8, 52, "a mapping"),
    "required if a source is none": (
        "{type: INT64, from: param.a, required_if: {parm.b: c}}", 8, 61, "did you mean 'param'?",
    ),
    "required if the id": ("{type: INT64, from: param.a, required_if: {event.id: c}}", 8, 63, "a condition is on"),
    "required if a bot maybe": (
        "{type: INT64, from: param.a, required_if: {agent.is_bot: x}}", 8, 67, "none of true, false",
    ),
    "required in a struct": (
        "{type: STRUCT, from: param.a, fields: {b: {type: INT64, required_if: {param.b: c}}}}",
        8, 66, "'required_if' is not known here",
    ),
    "a zone for nothing": ("{type: INT64, from: param.a, time_zone: UTC}", 8, 50, "goes with `from: event.date or"),
    "a zone misspelled": (
        "{type: INT64, from: event.hour, time_zone: Europe/Berlim}", 8, 53, "did you mean 'Europe/Berlin'?",
    ),
    "a zone outside": ("{type: INT64, from: event.hour, time_zone: ../../etc/passwd}", 8, 53, "is no time zone"),
    "a folder of zones": ("{type: INT64, from: event.hour, time_zone: Europe}", 8, 53, "is no time zone"),
    "an hour as a text": ("{type: STRING, from: event.hour}", 8, 31, "event.hour is INT64, the column is STRING"),
    "a tag by its name": ("{type: INT64, from: param.a, policy_tags: pii}", 8, 52, "is not a policy tag"),
    "two tags": (
        f"{{type: INT64, from: param.a, policy_tags: [{TAG}, {TAG}5]}}", 8, 52, "BigQuery takes one at a column",
    ),
    "a tag of a struct": (
        f"{{type: STRUCT, from: param.a, policy_tags: {TAG}, fields: {{b: {{type: INT64}}}}}}", 8, 53, "to its fields",
    ),
    "an expression and a source": ("{type: INT64, from: param.a, expression: b}", 8, 30, "`from` goes with `from`"),
    "an expression and a mode": ("{type: INT64, mode: REQUIRED, expression: b}", 8, 30, "`mode` goes with `from`"),
    "an expression and a mistake": ("{type: INT64, expression: b, decription: c}", 8, 51, "did you mean 'desc"),
    "an expression without type": ("{expression: b}", 8, 10, "'type' is missing"),
    "an expression of a struct": ("{type: STRUCT, expression: b}", 8, 17, "not a STRUCT; use JSON"),
    "an expression of nothing": ("{type: INT64, expression: }", 8, 35, "a text is wanted"),
    "an expression of a list": ("{type: INT64, expression: [b]}", 8, 36, "a text is wanted"),
    "an expression that ends early": ("{type: INT64, expression: '1) FROM x --'}", 8, 36, ") closes what is not open"),
    "an expression of itself": ("{type: INT64, expression: 1 + A}", 8, 10, "it reads itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_mistake_in_a_column_is_named_with_its_place(name: str) -> None:
    spec, line, place, words = COLUMNS[name]
    (error,) = refused(a_file(f"      a: {spec}\n"))
    assert error.startswith(f"schema.yaml:{line}:{place}: column events.a") and words in error, error


TABLES = {
    "copy of words": ("    copy: all\n", 4, 11, "none of true, false"),
    "only copies": ("    copy: true\n", 2, 3, "there is no table for events that is not a copy"),
    "all of it": ("    sample: 1\n", 4, 13, "for all events leave it out"),
    "none of it": ("    sample: 0.0\n", 4, 13, "is not a number between 0 and 1"),
    "percent": ("    sample: 10%\n", 4, 13, "write 10% as 0.1"),
    "more than all": ("    sample: 1.5\n", 4, 13, "is not a number between 0 and 1"),
    "not a number": ("    sample: nan\n", 4, 13, "is not a number between 0 and 1"),
    "capitals": ("    labels: {Team: a}\n", 4, 20, "lower-case letters"),
    "capitals of other letters": ("    labels: {Öl: a}\n", 4, 18, "lower-case letters"),
    "a digit first": ("    labels: {1a: a}\n", 4, 18, "the first a letter"),
    "a long key": (f"    labels: {{{'a' * 64}: a}}\n", 4, 80, "at most 63"),
    "a long value": (f"    labels: {{a: {'a' * 64}}}\n", 4, 17, "at most 63"),
    "a value with a space": ("    labels: {a: b c}\n", 4, 17, "a value is at most"),
    "ours": ("    labels: {managed-by: me}\n", 4, 26, "says that pixelpipe made the table"),
    "that of compaction": ("    labels: {swept_at: '9999999999999'}\n", 4, 24, "says that pixelpipe has compacted it"),
    "no value": ("    labels: {a: }\n", 4, 16, "a text is wanted"),
    "many": (f"    labels: {{{', '.join(f'a{n}: b' for n in range(63))}}}\n", 4, 13, "BigQuery takes 64"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_mistake_in_a_table_is_named_with_its_place(name: str) -> None:
    setting, line, place, words = TABLES[name]
    (error,) = refused(a_file(USER, setting))
    assert error.startswith(f"schema.yaml:{line}:{place}: ") and words in error, error


def test_a_sample_needs_somebody_to_choose() -> None:
    (error,) = refused(a_file(table="    sample: 0.5\n"))
    assert error == (
        "schema.yaml:4:13: table events: sample: it keeps or leaves whole people, by the columns user_id, "
        "anonymous_id, visitor_id; add one of them"
    )


@pytest.mark.parametrize("key", ["copy: true", "sample: 0.5", "when: {param.a: b}"])
def test_rejects_take_what_is_left_and_all_of_it(key: str) -> None:
    errors = refused(a_file().replace("  rejects:\n", f"  rejects:\n    {key}\n"))
    assert any(f"it has no `{key.partition(':')[0]}`" in error for error in errors)


def test_an_expression_reads_no_other_in_any_spelling() -> None:
    spec = "      {}: {{type: INT64, expression: '{}'}}\n"
    for sql in ("net * 2", "NET * 2", "`net`", "f(net)", "IF(net > 0, 1, 2)"):
        (error,) = refused(a_file(spec.format("net", "1") + spec.format("gross", sql)))
        assert "column events.gross: expression: it reads net, which is an expression too" in error
    # A field, a function, a text and a part of a date of that name are something else.
    for sql in ("cart.net", "net(1)", 'CONCAT("net")'):
        schema_file.parse(a_file(spec.format("net", "1") + spec.format("gross", sql)))
    schema_file.parse(a_file(spec.format("hour", "1") + spec.format("gross", "EXTRACT(HOUR FROM received_at)")))


@pytest.mark.parametrize("key", ["partition", "cluster", "unique", "require_any"])
def test_a_table_cannot_rest_on_what_only_its_view_has(key: str) -> None:
    table = f"    {key}: {'[day, x]' if key == 'require_any' else 'x'}\n"
    text = a_file("      x: {type: INT64, expression: 1 + 1}\n", "" if key == "partition" else table)
    if key == "partition":
        text = text.replace("partition: day", "partition: x", 1)
    assert any("there is no column 'x'" in error for error in refused(text))


EXPRESSIONS = {
    "total * 1.19": None,
    "CONCAT('it''s', \"(\", `a b`)": None,
    "'''a'b''' || r'\\d' || b'x' || \"\"\"\"x\"\"\"": None,
    "a[OFFSET(0)].b": None,
    "": "it is empty",
    "   ": "it is empty",
    "a, b": "a comma outside",
    "a; DROP TABLE x": "';' has no place",
    "a -- b": "-- begins a comment",
    "a # b": "# begins a comment",
    "a /* b": "/* begins a comment",
    "(a": "( is not closed",
    "a]": "] closes what is not open",
    "(a]": "] closes what is not open",
    "'a": "' begins a text that does not end",
    "'a\n'": "' begins a text that does not end",
    "`a": "` begins a text that does not end",
    "(SELECT 1)": "SELECT reads rows of its own",
    "SUM(a) over ()": "OVER looks at other rows",
    "@a": "'@' has no place",
    "a\u00a0+ 1": "has no place",
    "a" * 4_001: "4,001 characters; at most 4,000",
}


@pytest.mark.parametrize("sql", EXPRESSIONS)
def test_an_expression_is_one_value_inside_its_parentheses(sql: str) -> None:
    found, wanted = schema_expressions.problem(sql), EXPRESSIONS[sql]
    assert found is None if wanted is None else found is not None and wanted in found


# Every key there is, in a file that could hold it.
KEYS = {
    "the file": (schema_file.FILE_KEYS, ()),
    "table": (schema_file.TABLE_KEYS, ("tables", "events")),
    "column": (schema_columns.COLUMN_KEYS, ("tables", "events", "columns", "day")),
    "field": (schema_columns.FIELD_KEYS, ("tables", "events", "columns", "s", "fields", "f")),
    "privacy": (schema_privacy.KEYS, ("privacy",)),
    "cookie": (schema_privacy.COOKIE_KEYS, ("privacy", "cookie")),
    "tenants": (schema_tenants.KEYS, ("tenants",)),
    "tenant": (schema_tenants.TENANT_KEYS, ("tenants", "list", "acme")),
}


def misspelled(word: str) -> str:
    return word + word[-1] if len(word) < 5 else word[:2] + word[3:]


@pytest.mark.parametrize(
    ("path", "key"),
    [pytest.param(path, key, id=f"{where} {key}") for where, (keys, path) in KEYS.items() for key in keys],
)
def test_every_key_that_is_misspelled_is_named_with_what_was_meant(path: tuple[str, ...], key: str) -> None:
    document: dict[str, Any] = yaml.safe_load(a_file())
    document["tables"]["events"]["columns"]["s"] = {"type": "STRUCT", "from": "param.s", "fields": {"f": {}}}
    document |= {"privacy": {"cookie": {}}, "tenants": {"list": {"acme": {}}}}
    at = document
    for name in path:
        at = at[name]
    at[misspelled(key)] = at.pop(key, "x")
    wanted = f"{misspelled(key)!r} is not known here; did you mean {key!r}?"
    assert any(error.endswith(wanted) for error in refused(yaml.safe_dump(document)))


@pytest.mark.parametrize("step", [*schema_transforms.TEXT_STEPS, *schema_transforms.VALUE_STEPS])
def test_every_step_that_is_misspelled_is_named_with_what_was_meant(step: str) -> None:
    (error,) = refused(a_file(f"      a: {{type: NUMERIC, from: param.a, transform: {misspelled(step)}}}\n"))
    assert error.endswith(f"; did you mean {step!r}?")


@pytest.mark.parametrize(
    "text",
    [
        "tables: &a {events: *a}",
        "tables: {events: &a {partition: day, columns: {a: *a}}}",
        a_file("      a: {type: STRUCT, from: param.a, fields: &f {b: {type: STRUCT, fields: *f}}}\n"),
        a_file("      a: {type: STRING, from: param.a, transform: &t [{map: {a: *t}}]}\n"),
        a_file(table="    when: &w {param.a: *w}\n"),
        "privacy: &p {hash: *p}\n" + a_file(),
    ],
)
def test_a_file_that_holds_itself_is_refused(text: str) -> None:
    (error,) = refused(text)
    assert "stands inside of what it means; write out what belongs there" in error


def test_aliases_make_no_more_columns_than_there_may_be() -> None:
    """Of 14 levels each holds the one below ten times: 10^14 columns, in a kilobyte."""
    spec = "&l0 {x: {type: INT64}}"
    for level in range(1, 14):
        first = f"c0: {{type: STRUCT, fields: {spec}}}"
        others = ", ".join(f"c{n}: {{type: STRUCT, fields: *l{level - 1}}}" for n in range(1, 10))
        spec = f"&l{level} {{{first}, {others}}}"
    (error,) = refused(a_file(f"      a: {{type: STRUCT, from: param.a, fields: {spec}}}\n"))
    assert "columns; BigQuery takes at most 10,000" in error


def test_an_alias_beside_what_it_means_is_good() -> None:
    text = "      a: &a {type: STRING, from: param.a}\n      b: *a\n"
    assert schema_file.parse(a_file(text)).tables["events"].column("b").sources == (Source("param", "a"),)


@pytest.mark.parametrize(
    "columns",
    [
        "      a: {type: STRING, from: &s [param.a, param.b, param.c]}\n"
        + "".join(f"      a{n}: {{type: STRING, from: *s}}\n" for n in range(20)),
        "      a: {type: STRING, from: param.a, required_if: &c {param.b: b, param.c: c}}\n"
        + "".join(f"      a{n}: {{type: STRING, from: param.a, required_if: *c}}\n" for n in range(20)),
        "".join(f"      a{n}: {{type: STRING, from: lookup.l.c}}\n" for n in range(20)),
    ],
)
def test_sources_are_bounded_however_few_lines_say_them(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = "lookups: {l: {file: /l.csv, key: k, by: [param.k, param.l]}}\n"
    schema_file.parse(lookups + a_file(columns))
    monkeypatch.setattr("services.shared.schema_sources.MOST_SOURCES", 40)
    (error,) = refused(lookups + a_file(columns))
    assert error.startswith("schema.yaml:") and "more than 40 sources in columns and conditions" in error
