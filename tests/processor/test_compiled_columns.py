"""A table's compiled columns give what the readers of its columns give, one by one, and fail where these fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.processor import column_readers, convert, query
from services.processor.compiled_columns import Fill, compiled
from services.processor.event import Event, gather
from services.shared import schema_file
from services.shared.schema import Column
from tests.processor.parsing import a_hit
from tests.schemas import REST, a_file

COLUMNS = """
      user: {type: STRING, mode: REQUIRED, from: [param.user_id, param.u, header.x-user]}
      n: {type: INT64, from: [param.n, param.m]}
      data: {type: JSON, from: [param.data, header.x-data]}
      flag: {type: BOOL, mode: REQUIRED, from: [agent.is_bot]}
      site: {type: STRING, from: [param.site, url.host]}
      path: {type: STRING, from: url.path}
      medium: {type: STRING, from: [referrer.medium, utm.medium]}
      "quote": {type: STRING, from: [param.it's "odd" \\ {x}, hit.protocol]}
      total: {type: NUMERIC, from: param.properties.total}
      low: {type: STRING, from: param.low, transform: [trim, lower]}
      tags: {type: STRING, mode: REPEATED, from: param.tags}
      seen: {type: TIMESTAMP, from: [header.x-seen, param.event_time]}
      ip: {type: STRING, from: hit.ip}
      mail: {type: STRING, mode: REQUIRED, from: [param.properties.mail, param.mail, header.x-user, hit.ip],
        transform: [trim, {regex: "[a-z ]+"}, {max_length: 3}]}
      amount: {type: NUMERIC, from: [param.properties.total, param.n], transform: [{round: 1}, {min: 0}]}
      kind: {type: STRING, from: param.properties.kind, transform: [lower, {default: none}]}
      deep: {type: INT64, from: [param.properties.cart.n, param.properties.n]}
      cart:
        type: STRUCT
        mode: REPEATED
        from: [param.properties.cart, param.cart]
        fields: {n: {type: INT64, from: [n, m]}, name: {type: STRING}, price: {type: NUMERIC, transform: [{round: 1}]}}
      ship:
        type: STRUCT
        from: param.properties.ship
        fields: {n: {type: INT64, mode: REQUIRED, on_error: reject}, tags: {type: STRING, mode: REPEATED}}
      codes: {type: STRING, mode: REPEATED, from: [param.properties.codes, param.codes, param.tags],
        transform: [{split: " "}, {default: "[x]"}]}
""".replace('"quote"', "quoted").replace("""[param.it's "odd" \\ {x}, hit""", """['param.it''s "odd" \\ {x}', hit""")
TABLE: tuple[Column, ...] = schema_file.parse(a_file(COLUMNS + REST)).tables["events"].columns


def _reading(column: Column) -> Fill:
    read = column_readers.reader(column)
    return lambda event, values: values.append(read(event))


SINGLES = {column.name: (compiled([column]), _reading(column)) for column in TABLE}
FILL, READERS = compiled(TABLE), [column_readers.reader(column) for column in TABLE]
NAMES = ["user_id", "u", "n", "m", "data", "site", "url", "referrer", "low", "tags", "properties", "event_time",
         "mail", "cart", "codes", "properties.total", "properties.cart",
         'it\'s "odd" \\ {x}', "x"]  # fmt: skip
TEXTS = st.sampled_from(
    ["", "1", "x y", "12.5", "{}", '{"a": [1]}', "[1, 2", "https://shop.example.com/p?utm_medium=mail", "é", "yes",
     "2026-11-25T10:00:00Z"]
)  # fmt: skip
VALUES = st.one_of(TEXTS, st.integers(-5, 2**70), st.booleans(), st.none(), st.lists(TEXTS, max_size=2))
OBJECTS = st.dictionaries(st.sampled_from(["n", "m", "name", "price", "tags", "x"]), VALUES)
MEMBERS = st.dictionaries(
    st.sampled_from(["total", "mail", "kind", "n", "cart", "ship", "codes"]),
    VALUES | OBJECTS | st.lists(OBJECTS, max_size=2),
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES | MEMBERS) | st.fixed_dictionaries(
    {"user_id": st.just("a"), "properties": MEMBERS}
)
HEADERS = st.dictionaries(st.sampled_from(["x-user", "x-data", "x-seen", "user-agent", "referer"]), TEXTS)


def _state(event: Event, values: list[Any], raised: str | None) -> Any:
    return values, raised, event.left, event.more, event.taken, event.problems, event.enriched


def _one_by_one(event: Event, values: list[Any]) -> None:
    for read in READERS:
        values.append(read(event))


@given(TEXTS.map(lambda text: f"n={text}&site=&u=a&tags=b&tags=c"), st.none() | BODIES, HEADERS)
@settings(max_examples=100)
@example("", {"user_id": "a", "n": "x"}, {"user-agent": "curl/8.0"})
@example("u=1", None, {"user-agent": "curl/8.0"})
def test_columns_compiled_are_columns_read_one_by_one(asked: str, body: Any, headers: dict[str, str]) -> None:
    found, hit = [], a_hit(asked, body, headers=headers)
    for run in (FILL, _one_by_one):
        event, values = Event(hit), []
        gather(event)
        raised: str | None = None
        try:
            run(event, values)
        except (convert.Invalid, column_readers.Missing) as error:
            raised = f"{type(error).__name__} {error}"
        found.append(_state(event, values, raised))
    assert found[0] == found[1]


def _raised(run: Fill, event: Event) -> Any:
    values: list[Any] = []
    try:
        run(event, values)
    except (convert.Invalid, column_readers.Missing) as error:
        return f"{type(error).__name__} {error}"
    return values


@given(TEXTS.map(lambda text: f"tags=b&tags=c&codes=&cart={text}&cart=1&mail={text}"), st.none() | BODIES, HEADERS)
@settings(max_examples=100)
@example("", {"properties": {"codes": "a b", "ship": {"tags": ["a", None]}, "cart": {"m": 1, "x": 2}}}, {})
@example("codes=a&codes=b", None, {})
def test_each_column_compiled_is_that_column_read(asked: str, body: Any, headers: dict[str, str]) -> None:
    hit = a_hit(asked, body, headers=headers)
    compiled_one, read_one = Event(hit), Event(hit)
    gather(compiled_one)
    gather(read_one)
    for column, (fill, read) in SINGLES.items():
        found = _raised(fill, compiled_one)
        assert found == _raised(read, read_one), column
        assert _state(compiled_one, [], None) == _state(read_one, [], None), column


def test_after_a_value_that_does_not_fit_the_other_columns_are_read() -> None:
    values: list[Any] = []
    event = Event(a_hit("user_id=a&n=many&site=s"))
    gather(event)
    with pytest.raises(convert.Invalid):
        FILL(event, values)
    assert len(values) == [column.name for column in TABLE].index("n")


@given(st.text("ab=&+%\\2éC", max_size=12))
@example("a=1&a=2")
@example("a=%41&b=%e9%zz+x\\")
@example("=x&")
def test_a_query_without_repeats_is_read_in_one_go(text: str) -> None:
    found, pairs = query.single(text), query.pairs(text)
    assert found is None or list(found.items()) == pairs
    if len(dict(pairs)) == len(pairs) == text.count("&") + 1 and "" not in dict(pairs):
        assert found is not None


def test_a_column_has_as_many_sources_as_the_file_says() -> None:
    listed = ", ".join(f"param.a{number}" for number in range(200))
    column = f"\n      a: {{type: STRING, from: [{listed}]}}\n"
    table = schema_file.parse(a_file(column + REST)).tables["events"]
    event, values = Event(a_hit("a199=last")), []
    gather(event)
    compiled([table.column("a")])(event, values)
    assert values == ["last"]
