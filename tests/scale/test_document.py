"""docs/scale.md: its reader for Beam reads what the services publish, and its figures are the model's."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pyarrow as pa

from services.collector.config import Config
from services.ops import capacity_model, cost_model, designs
from services.shared import hit, identity, rows
from services.shared.hit import Hit
from services.shared.tally import Tally
from tests.process import ROOT
from tests.scale import __main__ as written
from tests.schemas import SCHEMA

TEXT = (ROOT / "docs" / "scale.md").read_text()
NOW = 1_790_000_000_000_000


def reader() -> dict[str, Any]:
    """What the first Python of the page defines."""
    found: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0], found)  # noqa: S102 - the page is ours
    return found


def test_the_reader_reads_packs_of_hits() -> None:
    made = [
        Hit(identity.uuid7(NOW + index), NOW + index, "GET", "/i", f"user_id=ada&n={index}", {"host": "t"}, "192.0.2.1")
        for index in range(3)
    ]
    data, attributes = hit.pack([hit.encode(one) for one in made], identity.uuid7(NOW))
    found = list(reader()["hits"](data, attributes))
    assert [(one["id"], one["at"], one["query"]) for one in found] == [(one.id, one.at, one.query) for one in made]
    assert list(reader()["hits"](b"{}", {})) == []
    told = Hit(identity.uuid7(NOW), NOW, "GET", "/tally", tally=Tally(identity.uuid7(NOW), "collector"))
    assert list(reader()["hits"](*hit.pack([hit.encode(told)], identity.uuid7(NOW), tally=True))) == []


def test_the_reader_reads_packs_of_rows() -> None:
    batch = pa.RecordBatch.from_pydict({"user_id": ["ada", None], "n": [1, 2]})
    found = list(reader()["rows"](*rows.pack(batch, "events", identity.uuid7(NOW))))
    assert found == [("events", {"user_id": "ada", "n": 1}), ("events", {"user_id": None, "n": 2})]


def test_the_rates_at_which_quotas_are_met_are_those_of_the_model() -> None:
    """Rounded to two digits in the text."""
    row = cost_model.EVENT_BYTES * cost_model.STORED
    append = capacity_model.QUOTAS["BigQuery append"] / row
    assert f"some {round(append, -4):,.0f} hits/s; 3 GB/s" in TEXT
    rate = 1_000_000
    collectors = capacity_model.plan(rate).services["collector"].on_average
    size = cost_model.pack_hits(rate / collectors, Config.linger_seconds)
    carried = cost_model.hits_pack_bytes(size, cost_model.EVENT_BYTES)
    carried += cost_model.rows_pack_bytes(size, cost_model.EVENT_BYTES)
    publish = capacity_model.QUOTAS["Pub/Sub publish"] / carried * size
    assert f"some {round(publish, -5):,.0f} hits/s, with rows counted" in TEXT


def test_the_table_and_the_pictures_are_of_these_days() -> None:
    """The one that is drawn stands for all: a change of the model that nobody ran `make scale` after."""
    row = written.row(written.SHOWN, written.simulate(written.SHOWN, 1))
    assert f"| {' | '.join(row)} |" in TEXT


def test_what_an_engine_costs_at_the_least_is_what_the_model_says() -> None:
    few = {one.name: one.total for one in designs.estimate(10)}
    ours = cost_model.estimate(10).total
    wanted = f"{ours:.0f} dollars a month here, {few['Flink on GKE']:.0f} with Flink on GKE, "
    assert f"{wanted}{few['Dataflow template']:.0f} with Dataflow." in " ".join(TEXT.split())


def test_the_key_is_that_of_the_default_schema_file() -> None:
    row = {"day": date(2026, 3, 1), "tenant": "shop", "type": "view", "event_id": "a", "user_id": "ada"}
    assert reader()["key"](row) == ("2026-03-01", "shop", "view", "a")
    assert SCHEMA.tables["events"].key == ("day", "tenant", "type", "event_id")
