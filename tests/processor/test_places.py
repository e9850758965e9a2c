"""Places by address in rows: which source has the word, what privacy leaves, and a database that is replaced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.processor.enrich.geo import Geo
from services.processor.enrich.geo_database import GeoDatabase
from services.processor.lookups import Lookups
from services.processor.metrics import Metrics
from services.processor.parse import Parser, Reject, Row
from services.processor.places import HeaderWatch, Places
from services.shared import hit, identity, schema_file
from services.shared.config import ConfigError
from services.shared.privacy import BALANCED, BY_PRESET, CUT, FULL, OFF, Privacy
from tests.processor import mmdb
from tests.processor.enrich.test_geo_database import BERLIN, BERLIN_PLACE, IP, PLACES
from tests.processor.parsing import NOW, WIDE, a_hit
from tests.processor.test_worker import _now, _rows, _running
from tests.schemas import SCHEMA, SCHEMA_FILE
from tests.topics import Topics
from tests.waiting import until

N = "      n: {type: INT64, from: param.n, on_error: reject}\n"
COLUMNS = "".join(f"      {name}: {{type: STRING, from: geo.{name}}}\n" for name in Geo._fields)
PLACED = WIDE.replace(N, N + COLUMNS, 1)
TABLES = schema_file.parse(PLACED)
HEADER = {"x-client-geo-location": "AT,AT9,Vienna"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "places.mmdb"
    path.write_bytes(mmdb.made(PLACES))
    return path


def _place(file: Path, privacy: Privacy, **given: Any) -> tuple[Any, ...]:
    places = Places.of_setting(str(file), TABLES, privacy)
    assert places is not None
    found = Parser(TABLES, Lookups(place=places.find)).parse(a_hit("x=1", **given), NOW)
    assert isinstance(found, Row), found
    names = [column.name for column in TABLES.tables[found.table].columns]
    return tuple(found.values[names.index(name)] for name in Geo._fields)


def test_an_address_says_where_it_is_as_finely_as_it_was_kept(file: Path) -> None:
    assert _place(file, Privacy(ip=FULL), ip=IP) == BERLIN_PLACE
    assert _place(file, Privacy(ip=CUT), ip="203.0.113.0") == ("DE", "DE-BE", None, "Europe/Berlin")
    assert _place(file, Privacy(ip=FULL), ip="") == (None, None, None, None)


def test_who_opted_out_is_in_no_city(file: Path) -> None:
    assert _place(file, Privacy(ip=FULL), ip=IP, opt_out="gpc", anonymized=True) == (
        "DE",
        "DE-BE",
        None,
        "Europe/Berlin",
    )


def test_the_balancer_has_the_first_word(file: Path) -> None:
    assert _place(file, Privacy(ip=CUT), ip=IP, headers=HEADER) == ("AT", "AT-9", "Vienna", None)
    assert _place(file, Privacy(ip=FULL), ip=IP, headers={"x-client-geo-location": "ZZ,,"})[0] == "DE"


def test_the_time_zone_is_the_databases_where_both_name_the_country(file: Path) -> None:
    found = _place(file, Privacy(ip=CUT), ip=IP, headers={"x-client-geo-location": "DE,DEHH,Hamburg"})
    assert found == ("DE", "DE-HH", "Hamburg", "Europe/Berlin")


def test_a_reject_has_a_place_too(file: Path) -> None:
    land = "      land: {type: STRING, from: geo.country}\n"
    tables = schema_file.parse(PLACED.replace("      reason:", land + "      reason:"))
    places = Places.of_setting(str(file), tables, Privacy())
    assert places is not None
    parser, one = Parser(tables, Lookups(place=places.find)), a_hit("n=many", ip=IP)
    reject = parser.parse(one, NOW)
    assert isinstance(reject, Reject)
    names = [column.name for column in tables.rejects.columns]
    assert parser.reject_row(one, reject, NOW).values[names.index("land")] == "DE"


def test_a_database_is_read_only_if_a_column_asks_for_it(tmp_path: Path, file: Path) -> None:
    assert Places.of_setting("", TABLES, Privacy()) is None
    assert Places.of_setting(str(tmp_path / "missing.mmdb"), SCHEMA, Privacy()) is None
    assert Places.of_setting(str(file), TABLES, Privacy()) is not None


@pytest.mark.parametrize("preset", [BALANCED, OFF])
def test_a_database_that_cannot_be_used_fails_at_start_and_says_so(tmp_path: Path, preset: str) -> None:
    torn = tmp_path / "torn.mmdb"
    torn.write_bytes(mmdb.made(PLACES)[:-1])
    with pytest.raises(ConfigError) as caught:
        Places.of_setting(str(torn), TABLES, BY_PRESET[preset])
    assert str(caught.value).startswith(f"PIPE_GEO_DATABASE='{str(torn)[:20]}")
    assert str(caught.value).endswith(": it is damaged, or not a MaxMind database; mount a readable .mmdb, or unset it")


def _counts(registry: CollectorRegistry) -> list[float | None]:
    name = "pixelpipe_processor_geo_databases_total"
    return [registry.get_sample_value(name, {"outcome": outcome}) for outcome in ("taken", "refused")]


async def _until(registry: CollectorRegistry, counts: list[float]) -> None:
    await until(lambda: _counts(registry) == counts, f"{counts} databases taken and refused")


async def test_a_replaced_database_is_taken_and_a_torn_one_counted_and_left(file: Path) -> None:
    registry = CollectorRegistry()
    metrics, places = Metrics(registry, {}), Places(GeoDatabase(file, city=True))
    with capture_logs() as logs:
        keeping = asyncio.create_task(places.keep_fresh(metrics, every_seconds=0.01))
        os.truncate(file, 100)
        await _until(registry, [0, 1])
        assert places.find(IP) == BERLIN_PLACE
        new = file.with_suffix(".new")
        new.write_bytes(mmdb.made({"203.0.113.0/24": {"country": {"iso_code": "CH"}}}))
        os.replace(new, file)
        await _until(registry, [1, 1])
        assert places.find(IP) == Geo("CH")
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert [line["event"] for line in logs] == [
        "the new geo database cannot be used; the one before stays",
        "a new geo database is in use",
    ]


def test_where_nothing_says_places_it_is_said_once(file: Path) -> None:
    watch, bare, placed = HeaderWatch.of(TABLES, None), a_hit("x=1"), a_hit("x=1", headers=HEADER)
    assert watch is not None
    with capture_logs() as logs:
        watch.see([bare] * 999)
        assert not logs
        watch.see([bare] * 2)
        watch.see([bare] * 2_000)
    (line,) = logs
    assert line["header"] == "x-client-geo-location" and line["log_level"] == "warning"
    assert HeaderWatch.of(SCHEMA, None) is None
    assert HeaderWatch.of(TABLES, Places.of_setting(str(file), TABLES, Privacy())) is None
    with capture_logs() as logs:
        watch = HeaderWatch()
        watch.see([*[bare] * 999, placed])
        watch.see([bare] * 2_000)
    assert not logs


async def test_the_service_fills_places_from_the_file_that_its_setting_names(
    topics: Topics, tmp_path: Path, file: Path
) -> None:
    schema = tmp_path / "schema.yaml"
    schema.write_text(SCHEMA_FILE.read_text().replace("      params:", COLUMNS + "      params:", 1))
    now = _now()
    one = hit.Hit(identity.uuid7(now), now, "GET", "/i", "user_id=1", ip="203.0.113.0")
    async with _running(topics, schema=schema, geo_database=str(file)):
        topics.publish("hits", *hit.pack([hit.encode(one)], identity.uuid7(now)))
        ((_, row),) = await _rows(topics, 1)
    assert tuple(row[name] for name in Geo._fields) == (BERLIN["country"]["iso_code"], "DE-BE", None, "Europe/Berlin")
