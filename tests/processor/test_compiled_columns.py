"""A table's compiled columns give what the readers of its columns give, one by one, and fail where these fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.processor import column_readers, convert, query
from services.processor.compiled_columns import compiled
from services.processor.event import Event, gather
from services.shared import schema_file
from services.shared.schema import Column
from tests.processor.test_columns import FILE, NEEDED
from tests.processor.test_parse import _hit

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
""".replace('"quote"', "quoted").replace("""[param.it's "odd" \\ {x}, hit""", """['param.it''s "odd" \\ {x}', hit""")
TABLE: tuple[Column, ...] = schema_file.parse(FILE % (NEEDED, COLUMNS, NEEDED)).tables["events"].columns
FILL, READERS = compiled(TABLE), [column_readers.reader(column) for column in TABLE]
NAMES = ["user_id", "u", "n", "m", "data", "site", "url", "referrer", "low", "tags", "properties", "event_time",
         'it\'s "odd" \\ {x}', "x"]  # fmt: skip
TEXTS = st.sampled_from(
    ["", "1", "x y", "12.5", "{}", '{"a": [1]}', "[1, 2", "https://shop.example.com/p?utm_medium=mail", "é", "yes",
     "2026-11-25T10:00:00Z"]
)  # fmt: skip
VALUES = st.one_of(TEXTS, st.integers(-5, 2**70), st.booleans(), st.none(), st.lists(TEXTS, max_size=2))
BODIES = st.dictionaries(st.sampled_from(NAMES), st.one_of(VALUES, st.dictionaries(st.just("total"), VALUES)))
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
    found, hit = [], _hit(asked, body, headers=headers)
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


def test_after_a_value_that_does_not_fit_the_other_columns_are_read() -> None:
    values: list[Any] = []
    event = Event(_hit("user_id=a&n=many&site=s"))
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


def test_a_column_may_have_many_sources() -> None:
    column = f"      x: {{type: STRING, from: [{', '.join(f'param.p{number}' for number in range(150))}]}}"
    values: list[Any] = []
    event = Event(_hit("p149=last"))
    gather(event)
    table = schema_file.parse(FILE % (NEEDED, column, NEEDED)).tables["events"]
    compiled([table.column("x")])(event, values)
    assert values == ["last"]
