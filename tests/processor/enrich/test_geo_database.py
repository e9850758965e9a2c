"""Places by address, and what becomes of a database's file while it is in use."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.processor.enrich import geo_database
from services.processor.enrich.geo import NOTHING, Geo
from services.processor.enrich.geo_database import GeoDatabase, Unusable
from tests.process import ROOT
from tests.processor import mmdb

BERLIN = {
    "country": {"iso_code": "DE"},
    "subdivisions": [{"iso_code": "BE"}],
    "city": {"names": {"en": "Berlin", "de": "Berlin"}},
    "location": {"time_zone": "Europe/Berlin"},
}
BERLIN_PLACE = Geo("DE", "DE-BE", "Berlin", "Europe/Berlin")
PLACES: dict[str, Any] = {
    "203.0.113.0/24": BERLIN,
    "198.51.100.0/25": {"country": {"iso_code": "FR"}},
    "192.0.2.0/24": {"country": "US", "subdivisions": "CA", "city": ["x"]},
    "233.252.0.0/24": {"registered_country": {"iso_code": "AT"}},
}
IP = "203.0.113.7"
# MaxMind's own test databases are in the source distribution of maxminddb, which is not installed.
SOURCES = sorted((ROOT / ".local").glob("maxminddb-*.tar.gz"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "places.mmdb"
    path.write_bytes(mmdb.made(PLACES))
    return path


def _replace(file: Path, content: bytes) -> None:
    """As a volume does it, or `mv`."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, file)


def _after_rest(database: GeoDatabase) -> bool:
    """What the second look at a file finds: at the first it may still be written."""
    assert not database.refresh()
    return database.refresh()


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        (IP, BERLIN_PLACE),
        ("203.0.113.0", BERLIN_PLACE),
        ("198.51.100.1", Geo("FR")),
        ("198.51.100.200", NOTHING),
        ("192.0.2.1", NOTHING),  # not of the form that is expected
        ("233.252.0.1", NOTHING),  # whose network that is says nothing of where it is
        ("2001:db8:1::", NOTHING),
        ("", NOTHING),
        ("no address", NOTHING),
    ],
)
def test_where_an_address_is(file: Path, ip: str, place: Geo) -> None:
    assert GeoDatabase(file, city=True).find(ip) == place


def test_no_city_where_none_may_be_known(file: Path) -> None:
    assert GeoDatabase(file, city=False).find(IP) == Geo("DE", "DE-BE", None, "Europe/Berlin")


@pytest.mark.parametrize(
    ("zone", "known"),
    [
        ("America/Indiana/Tell_City", None),
        ("America/Kentucky/Monticello", None),
        ("Europe/Busingen", None),
        ("America/Menominee", None),
        ("America/Los_Angeles", "America/Los_Angeles"),
        ("America/Argentina/Buenos_Aires", None),
        (7, None),
    ],
)
def test_no_time_zone_that_is_finer_than_a_region_without_the_city(
    tmp_path: Path, zone: Any, known: str | None
) -> None:
    file = tmp_path / "places.mmdb"
    zone = zone if isinstance(zone, str) else bytes(4)
    file.write_bytes(mmdb.made({"203.0.113.0/24": {"country": {"iso_code": "US"}, "location": {"time_zone": zone}}}))
    assert GeoDatabase(file, city=False).find(IP).time_zone == known
    assert GeoDatabase(file, city=True).find(IP).time_zone == (zone if isinstance(zone, str) else None)


def test_a_new_file_is_taken_once_it_rests(file: Path) -> None:
    database = GeoDatabase(file, city=True)
    assert not database.refresh()
    _replace(file, mmdb.made({"203.0.113.0/24": {"country": {"iso_code": "AT"}}}))
    assert _after_rest(database)
    assert database.find(IP) == Geo("AT")
    assert not database.refresh()


@pytest.mark.parametrize("how", ["torn", "emptied", "gone", "another"])
def test_a_file_that_cannot_be_used_is_said_once_and_the_old_one_stays(file: Path, how: str) -> None:
    database, whole = GeoDatabase(file, city=True), file.read_bytes()
    match how:
        case "torn":  # in place, under the reader
            os.truncate(file, len(whole) - 40)
        case "emptied":
            os.truncate(file, 0)
        case "gone":
            file.unlink()
        case "another":
            _replace(file, mmdb.made(PLACES, "GeoLite2-ASN"))
    assert database.find("198.51.100.1") == Geo("FR")  # an address that was not asked for before
    with pytest.raises(Unusable):
        _after_rest(database)
    assert not database.refresh()
    assert not database.refresh()
    assert database.find(IP).country == "DE"
    _replace(file, mmdb.made({"203.0.113.0/24": {"country": {"iso_code": "CH"}}}))
    assert _after_rest(database)
    assert database.find(IP) == Geo("CH")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b"no database" * 100, "damaged"),
        (mmdb.made(PLACES)[:-1], "damaged"),
        (mmdb.made(PLACES, "GeoLite2-ASN"), "GeoLite2-ASN database"),
        (None, "No such file"),
    ],
    ids=["empty", "text", "cut off", "another kind", "missing"],
)
def test_a_file_that_cannot_be_used_is_refused_at_start(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "places.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unusable, match=why):
        GeoDatabase(path, city=True)
    with pytest.raises(Unusable, match="directory"):
        GeoDatabase(tmp_path, city=True)


def test_a_file_that_would_fill_the_memory_is_refused(file: Path) -> None:
    os.truncate(file, geo_database.MAX_BYTES + 1)
    with pytest.raises(Unusable, match="bytes"):
        GeoDatabase(file, city=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, derandomize=True)
@example(577, 147)  # a SystemError of the reader's C code
@given(st.integers(0, len(mmdb.made(PLACES)) - 1), st.integers(0, 255))
def test_no_damaged_byte_raises_in_a_lookup(tmp_path: Path, at: int, byte: int) -> None:
    content = bytearray(mmdb.made(PLACES))
    content[at] = byte
    path = tmp_path / "damaged.mmdb"
    path.write_bytes(content)
    try:
        find = GeoDatabase(path, city=True).find
    except Unusable:
        return
    for ip in (IP, "198.51.100.1", "192.0.2.1", "255.255.255.255"):
        assert all(part is None or isinstance(part, str) for part in find(ip))


def _of_maxmind(tmp_path: Path, name: str) -> Path:
    if not SOURCES:
        pytest.skip(
            "needs MaxMind's test databases: .venv/bin/pip download --no-deps --no-binary maxminddb -d .local maxminddb"
        )
    with tarfile.open(SOURCES[-1]) as archive:
        member = next(one for one in archive.getmembers() if one.name.endswith(f"/{name}"))
        content = archive.extractfile(member)
        assert content is not None
        path = tmp_path / "maxmind.mmdb"
        path.write_bytes(content.read())
    return path


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("81.2.69.142", Geo("GB", "GB-ENG", "London")),
        ("89.160.20.112", Geo("SE", "SE-E", "Linköping")),
        ("216.160.83.56", Geo("US", "US-WA", "Milton")),
        ("2001:218::", Geo("JP", None, None)),
        ("127.0.0.1", NOTHING),
    ],
)
def test_maxminds_own_database(tmp_path: Path, ip: str, place: Geo) -> None:
    assert GeoDatabase(_of_maxmind(tmp_path, "GeoIP2-City-Test.mmdb"), city=True).find(ip) == place


@pytest.mark.parametrize(
    "name",
    [
        "libmaxminddb-corrupt-search-tree.mmdb",
        "libmaxminddb-offset-integer-overflow.mmdb",
        "cyclic-data-structure.mmdb",
        "GeoIP2-City-Test-Invalid-Node-Count.mmdb",
        "GeoIP2-City-Test-Broken-Double-Format.mmdb",
        "MaxMind-DB-test-broken-pointers-24.mmdb",
    ],
)
def test_maxminds_damaged_databases_are_refused_or_say_nothing(tmp_path: Path, name: str) -> None:
    path = _of_maxmind(tmp_path, name)
    try:
        database = GeoDatabase(path, city=True)
    except Unusable:
        return
    for ip in ("1.1.1.16", "81.2.69.142", "2001:218::"):
        assert isinstance(database.find(ip), Geo)
