"""Which days sweeps come back to, over weeks of made-up time: what is late for a settled day is shown in the end.

`Run` and `Sweep` are the real ones. What BigQuery does for them is here a few sets, since on a real clock no row can be
older than the test; tests/ops/test_sweep.py and tests/chaos try the SQL.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ops.compact import CLOSED_HOURS, SETTLED_DAYS, Compaction, Compactor, Run, last_closed
from services.ops.deployment import CommandRefused
from services.ops.sweep import Sweep
from services.provision import view
from tests.schemas import SCHEMA

TABLE = SCHEMA.tables["events"]
BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPTIONS = Namespace(date=None, closed_after=CLOSED_HOURS, settled_after=SETTLED_DAYS, dry_run=False)
KILLED, REFUSED = "killed", "refused"


class Killed(Exception):
    """The end of a sweep, which nothing of it catches."""


@dataclass
class Dataset:
    """The log table and its view, as a BigQuery client and a compactor see them."""

    now: datetime = BEGINNING
    rows: dict[date, list[tuple[str, bool]]] = field(default_factory=dict)  # key, and whether it is marked
    changed: dict[date, datetime] = field(default_factory=dict)
    meanwhile: list[Any] = field(default_factory=list)  # what happens when the next days are compacted, or None
    view: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            view_query=view.sql(TABLE, "p", "d", ["event_id"]), labels={}, reference="p.d.events"
        )
    )

    def append(self, keys: str, day: date) -> None:
        self.rows.setdefault(day, []).extend((key, False) for key in keys)
        self.changed[day] = self.now

    @property
    def watermark(self) -> date:
        found = view.watermark(self.view.view_query)
        assert found is not None
        return found

    def shown(self) -> list[tuple[date, str]]:
        found: list[tuple[date, str]] = []
        for day, rows in self.rows.items():
            keys = [key for key, marked in rows if marked] if day <= self.watermark else {key for key, _ in rows}
            found += [(day, key) for key in keys]
        return found

    def there(self) -> set[tuple[date, str]]:
        return {(day, key) for day, rows in self.rows.items() for key, _ in rows}

    def sweep(self, meanwhile: list[Any]) -> None:
        """One from its start to its end, or until it is killed; other sweeps may run in the middle of it."""
        before, self.meanwhile = self.meanwhile, list(meanwhile)
        compactor, sweep = cast(Compactor, self), Sweep(self, "p", "d", SCHEMA, TABLE)
        with suppress(Killed):
            Run(OPTIONS, self.now).table(TABLE, compactor, sweep)
        self.meanwhile = before

    # The compactor:

    def compact(self, _table: Any, day: date, *, dry_run: bool, settled: bool) -> Compaction:
        now = self.meanwhile.pop(0) if self.meanwhile else None
        if now == REFUSED:
            raise CommandRefused("not now")
        rows = self.rows[day]
        keys = dict.fromkeys(key for key, _ in rows)
        if len(keys) < len(rows) or (settled and not all(marked for _, marked in rows)):
            self.rows[day] = [(key, True) for key in keys]
            self.changed[day] = self.now
        self.now += timedelta(minutes=1)
        if now == KILLED:
            raise Killed
        if isinstance(now, tuple):
            self.append(*now)
        elif isinstance(now, list):
            self.sweep(now)
        return Compaction(TABLE.name, 0, 0, 0, 0, 0)

    # The client:

    def get_table(self, _name: str, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(**{**vars(self.view), "labels": dict(self.view.labels)})

    def update_table(self, found: SimpleNamespace, properties: list[str], timeout: float) -> None:
        for name in properties:
            setattr(self.view, name, getattr(found, name))

    def query_and_wait(self, _sql: str, **_options: Any) -> list[dict[str, Any]]:
        return [{"partition_id": f"{day:%Y%m%d}", "last_modified_time": at} for day, at in self.changed.items()]


days = st.sampled_from([0, 2, 9, 10]).map(lambda age: BEGINNING.date() - timedelta(days=age))
appended = st.tuples(st.sampled_from(["a", "b", "aab"]), days)
happening = st.one_of(st.none(), st.sampled_from([KILLED, REFUSED]), appended)
during = st.lists(st.one_of(happening, st.lists(happening, max_size=3)), max_size=3)
hours = st.sampled_from([1, 24, 60, 200]).map(lambda n: timedelta(hours=n))
rounds = st.tuples(st.lists(appended, max_size=2), hours, st.one_of(st.just([]), st.just([REFUSED]), during))


@settings(max_examples=100)
@given(st.lists(rounds, min_size=1, max_size=6), hours)
def test_what_is_late_for_a_settled_day_is_shown_after_the_next_sweep(made: list[Any], later: timedelta) -> None:
    dataset = Dataset()
    for rows, pause, meanwhile in [*made, ([], later, [])]:
        for keys, day in rows:
            dataset.append(keys, day)
            _check(dataset)
        dataset.now += pause
        before = set(dataset.shown())
        dataset.sweep(meanwhile)
        assert before <= set(dataset.shown())
        _check(dataset)
        if not meanwhile:  # nothing has held it up
            assert set(dataset.shown()) == dataset.there()
            settled = last_closed(dataset.now, timedelta(hours=CLOSED_HOURS, days=SETTLED_DAYS))
            assert dataset.watermark == max([view.NO_DAY, *(day for day in dataset.rows if day <= settled)])


def _check(dataset: Dataset) -> None:
    """At any moment nothing is shown twice, and all that is not settled is shown."""
    shown = Counter(dataset.shown())
    assert set(shown.values()) <= {1}
    assert {one for one in dataset.there() if one[0] > dataset.watermark} <= set(shown)
