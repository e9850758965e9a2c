"""The table function `funnel`: who took which step, by a week's generator and by Google's own evaluator."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud.bigquery import Routine

from services.provision import analyst_views
from tests.emulators.bigquery import oracle
from tests.provision import schemas, shop_answers
from tests.provision.conftest import Project
from tests.provision.shop_week import ShopWeek
from tests.provision.test_analyst_views import FILES, SHOP, estimate, load, rows

(FUNNEL,) = (one for one in analyst_views.ALL if one.name == "funnel")
FIRST, LAST = date(2026, 3, 2), date(2026, 3, 10)


@pytest.fixture(scope="module")
def week() -> ShopWeek:
    return ShopWeek(20260302)


def call(steps: tuple[str, ...], minutes: int, first: date = FIRST, last: date = LAST) -> str:
    return f"pixelpipe.funnel([{', '.join(map(repr, steps))}], {minutes}, DATE '{first}', DATE '{last}')"


@pytest.fixture
def shop(emulated: Project, week: ShopWeek) -> Any:
    emulated.settle(*SHOP, table="partition: day\nrequire_partition_filter: true", views="[funnel]")
    load(emulated.client, week.rows)
    return emulated.client


def test_steps_are_counted_as_they_happened(shop: Any, week: ShopWeek) -> None:
    visit = ("page_view", "add_to_cart", "order")
    asked: list[tuple[tuple[str, ...], int, date, date]] = [
        (visit, 60, FIRST, LAST),
        (visit, 3, FIRST, LAST),
        (visit, 60, date(2026, 3, 4), date(2026, 3, 5)),
        (("/", "/cart", "order"), 1440, FIRST, LAST),
        (("page_view", "page_view", "page_view", "order", "order"), 1440, FIRST, LAST),
    ]
    columns = "tenant, step, name, visitors, from_previous, from_first"
    for one in asked:
        found = rows(shop, f"SELECT {columns} FROM {call(*one)} ORDER BY tenant, step")
        assert found == shop_answers.funnel(week, *one), one
        assert found[0][3] > 0, one


def test_only_the_days_asked_for_are_read(shop: Any) -> None:
    one, two, all_ = (
        estimate(shop, call(("page_view", "order"), 60, date(2026, 3, 4), last).removeprefix("pixelpipe."), "TRUE")
        for last in (date(2026, 3, 4), date(2026, 3, 5), LAST)
    )
    assert 0 < one < two < all_


def test_more_steps_than_it_has_are_an_error_in_words(shop: Any) -> None:
    assert rows(shop, f"SELECT COUNT(*) FROM {call(('page_view',) * 10, 60)}") == [(20,)]
    with pytest.raises(Exception, match="funnel: at most 10 steps"):
        rows(shop, f"SELECT * FROM {call(('page_view',) * 11, 60)}")


EVENTS = [
    # visitor, minute, type, path
    *(("both", 0, "page_view", "/"), ("both", 5, "add_to_cart", "/"), ("both", 50, "order", "/")),
    *(("late", 0, "page_view", "/"), ("late", 5, "add_to_cart", "/"), ("late", 61, "order", "/")),
    *(("again", 0, "page_view", "/"), ("again", 40, "page_view", "/"), ("again", 50, "add_to_cart", "/")),
    ("again", 100, "order", "/"),
    *(("backwards", 0, "order", "/"), ("backwards", 1, "add_to_cart", "/"), ("backwards", 2, "page_view", "/")),
    *(("limit", 0, "view", "/"), ("limit", 60, "Add_To_Cart", "/")),
    ("other", 0, "search", "/"),
]


def test_google_counts_the_same(emulated: Project) -> None:
    columns = {"anonymous_id": "STRING", "type": "STRING", "url": "STRING"}
    emulated.settle(
        *(f"{name}: {{type: {type_}, from: param.{name}}}" for name, type_ in columns.items()), views="[funnel]"
    )
    start, sent = datetime(2026, 3, 2, 12, tzinfo=UTC), []
    for number, (visitor, minute, kind, path) in enumerate(EVENTS):
        at = start + timedelta(minutes=minute)
        sent.append((FIRST, f"e{number}", at, visitor, kind, f"https://shop.example{path}"))
    names = ("day", "event_id", "received_at", *columns)
    load(emulated.client, [dict(zip(names, map(str, row), strict=True)) for row in sent])
    schema = schemas.schema(*(f"{name}: {{type: STRING, from: param.{name}}}" for name in columns))
    sql = FUNNEL.sql(schema, "p", "d")
    steps = ("page_view", "add_to_cart", "order")
    for name, value in (
        ("steps", f"{list(steps)}"),
        ("within_minutes", "60"),
        ("first_day", f"DATE '{FIRST}'"),
        ("last_day", f"DATE '{LAST}'"),
    ):
        sql = re.sub(rf"(?<!10 )\b{name}\b", value, sql)
    types = {"day": "DATE", "event_id": "STRING", "received_at": "TIMESTAMP", **columns}
    google = sorted(oracle.oracle().evaluate(sql, [oracle.Table("p.d.events", types, sent)]))
    assert google == sorted(rows(emulated.client, f"SELECT * FROM {call(steps, 60)}"))
    # `again` is in time from its second page view, and `late` from none.
    assert [row[2] for row in google] == [5, 4, 2]


@pytest.mark.parametrize("columns", FILES.values(), ids=FILES)
def test_it_is_good_googlesql_whatever_the_columns_are_called(columns: tuple[str, ...]) -> None:
    schema = schemas.schema(*columns, views="all")
    table = schema.tables["events"]
    assert FUNNEL.missing(schema) is None
    known = oracle.Table("p.d.events", {column.name: column.type for column in table.columns})
    parameters = ", ".join(f"{name} {one.type}" for name, one in FUNNEL.arguments.items())
    oracle.oracle().analyze(f"CREATE TABLE FUNCTION d.funnel({parameters}) AS\n{FUNNEL.sql(schema, 'p', 'd')}", [known])


def changes(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("unchanged")]


def test_a_run_makes_it_and_another_puts_right_what_someone_changed(emulated: Project) -> None:
    made = changes(emulated.settle(*SHOP, views="[funnel]"))
    assert [line for line in made if "funnel" in line] == [
        f"created table function pixelpipe.funnel: {FUNNEL.description}"
    ]
    assert changes(emulated.settle(*SHOP, views="[funnel]")) == []
    found = emulated.client.get_routine("pixelpipe.funnel")
    assert [one.name for one in found.arguments] == [*FUNNEL.arguments]
    found.body, found.arguments = "SELECT 1 AS step", []
    emulated.client.update_routine(found, ["type_", "language", "arguments", "body", "description"])
    assert changes(emulated.settle(*SHOP, views="[funnel]")) == [
        "updated table function pixelpipe.funnel: SQL, arguments"
    ]
    assert changes(emulated.settle(*SHOP, views="[funnel]")) == []


def test_what_is_not_ours_is_left_alone(emulated: Project) -> None:
    emulated.settle(*SHOP)
    assert list(emulated.client.list_routines("pixelpipe")) == []
    mine = Routine(f"{emulated.id}.pixelpipe.funnel", type_="TABLE_VALUED_FUNCTION", language="SQL", arguments=[])
    mine.body = "SELECT 1 AS mine"
    emulated.client.create_routine(mine)
    said = "unchanged table function pixelpipe.funnel: left out: there is a TABLE_VALUED_FUNCTION of this name"
    assert f"{said} that is not ours" in emulated.settle(*SHOP, views="[funnel]")
    assert rows(emulated.client, "SELECT * FROM pixelpipe.funnel()") == [(1,)]


def test_a_column_with_the_name_of_a_parameter_leaves_it_out(emulated: Project) -> None:
    lines = emulated.settle(*SHOP, "First_Day: {type: DATE, from: param.f}", views="[funnel]")
    said = "left out: events has a column First_Day, which is the name of a parameter"
    assert f"unchanged table function pixelpipe.funnel: {said}" in lines
