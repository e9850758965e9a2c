"""Tables of lookups: what a file must be to be used, and what becomes of one while it is in use."""

from __future__ import annotations

import csv
import io
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from services.processor.enrich import lookup_table
from services.processor.enrich.lookup_table import LookupFile, table_of
from services.processor.enrich.watched_file import Unusable
from services.shared.schema import Lookup, Source

PRODUCTS = "sku,name,tier\nA1,Chair,gold\nA2,Table,\n"
PARAM, ADDRESS = (Source("param", "sku"),), (Source("hit", "ip"),)


def lookup(file: str | Path = "products.csv", key: str = "sku", by: tuple[Source, ...] = PARAM) -> Lookup:
    return Lookup("products", Path(file), key, by)


def find(text: str | bytes, key: str, *wanted: str, by: tuple[Source, ...] = PARAM, cut: bool = True) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    return table_of(data, lookup(by=by), list(wanted or ("name",)), cut=cut).find(key)


def as_parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def find_parquet(data: bytes, key: str, *wanted: str) -> Any:
    return table_of(data, lookup("products.parquet"), list(wanted), cut=True).find(key)


def refusal(data: str | bytes, *wanted: str, file: str = "products.csv", by: tuple[Source, ...] = PARAM) -> str:
    with pytest.raises(Unusable) as caught:
        table_of(data if isinstance(data, bytes) else data.encode(), lookup(file, by=by), list(wanted), cut=True)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (PRODUCTS, ("Chair", "gold")),
        ("\ufeff" + PRODUCTS, ("Chair", "gold")),  # as spreadsheets begin UTF-8
        (PRODUCTS.replace("\n", "\r\n"), ("Chair", "gold")),
        ("tier,more,sku,name\ngold,,A1,Chair\n\n", ("Chair", "gold")),
        ('sku,name,tier\nA1,"Chair, ""red""\nwith arms",gold', ('Chair, "red"\nwith arms', "gold")),
        ("sku,name,tier\nA1,,gold\n", (None, "gold")),
        ("sku,name,tier\nA1,Стул 🪑,gold\n", ("Стул 🪑", "gold")),
    ],
)
def test_a_csv_is_read_as_programs_write_it(text: str, row: tuple[str | None, ...]) -> None:
    assert find(text, "A1", "name", "tier") == row


def test_a_key_is_the_whole_text() -> None:
    assert [find(PRODUCTS, key) for key in ("a1", " A1", "A", "A1 ", "")] == [None] * 5


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)] * 2),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
@settings(max_examples=25)
@example([("k", '"'), ("\r\n", ","), ("'", "\ufeff")])
def test_what_a_writer_of_csv_wrote_is_what_is_found(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("sku", "name"), *rows])
    if any(not key for key, _ in rows):
        assert "nothing in its column 'sku', the key" in refusal(file.getvalue(), "name")
        return
    table = table_of(file.getvalue().encode(), lookup(), ["name"], cut=True)
    assert {key: table.find(key) for key, _ in rows} == {key: (name or None,) for key, name in rows}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no column 'sku'; its columns are none"),
        ("sku,name\n", "it has no rows"),
        ("sku,title\nA1,Chair\n", "it has no column 'name'; its columns are sku, title"),
        ("sku;name\nA1;Chair\n", "it has no column 'sku'; its columns are sku;name"),
        ("sku,name,name\nA1,Chair,x\n", "it has two columns 'name'; its columns are sku, name, name"),
        ("sku,name\nA1,Chair\nA1,Table\n", "line 3: an earlier row has the same key"),
        ("sku,name\n,Chair\n", "line 2: nothing in its column 'sku', the key"),
        ("sku,name\nA1,Chair\nA2", "line 3: 1 fields, and the first line has 2"),  # torn
        ('sku,name\nA1,"Cha', "line 2: unexpected end of data"),
        ("sku,name\nA1,a,b\n", "line 2: 3 fields, and the first line has 2"),
        (b"sku,name\nA1,\xff\n", "it is not UTF-8 at byte 12"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_with_its_place(text: str | bytes, said: str) -> None:
    assert refusal(text, "name") == said


def test_a_file_is_bounded_in_rows_bytes_and_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lookup_table, "MAX_ROWS", 2)
    assert find("sku,name\n1,a\n2,b\n", "2") == ("b",)
    assert refusal("sku,name\n1,a\n2,b\n3,c\n", "name") == "it has more than 2 rows"
    assert refusal(as_parquet(sku=[1, 2, 3], name=["a"] * 3), "name", file="p.parquet") == "it has more than 2 rows"
    monkeypatch.setattr(lookup_table, "MAX_BYTES", 20)
    texts = as_parquet(sku=["1", "2"], name=["x" * 15] * 2)  # once in the file
    assert refusal(texts, "name", file="p.parquet") == "its values have more than 20 characters"
    path = tmp_path / "products.csv"
    path.write_bytes(b"sku,name\n1,abcdefghijk")
    with pytest.raises(Unusable, match="it has more than 20 bytes"):
        LookupFile(lookup(path), ["name"], cut=True)


def test_a_file_of_a_gigabyte_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text(PRODUCTS)
    os.truncate(path, 2**30)  # sparse
    with pytest.raises(Unusable, match=f"it has more than {lookup_table.MAX_BYTES:,} bytes"):
        LookupFile(lookup(path), ["name"], cut=True)


def test_values_of_parquet_are_read_as_a_query_string_has_them() -> None:
    data = as_parquet(
        sku=[1, 2],
        price=pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
        made=[date(2026, 1, 2)] * 2,
        at=pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)] * 2),
        sold=[True, False],
        name=pa.array(["x", "y"]).dictionary_encode(),
        tags=[["a"], ["b"]],
    )
    found = find_parquet(data, "1", "price", "made", "at", "sold", "name")
    assert found == ("1.10", "2026-01-02", "2026-01-02 03:00:00.000000Z", "true", "x")
    assert find_parquet(data, "2", "price") == (None,)
    assert (
        refusal(data, "tags", file="p.parquet")
        == "its column 'tags' is list<element: string>, which is not a single value"
    )
    assert refusal(data, "size", file="p.parquet").startswith(
        "it has no column 'size'; its columns are sku, price, made"
    )


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=30)
def test_a_damaged_parquet_is_refused_or_read(place: int, byte: int) -> None:
    data = bytearray(as_parquet(sku=["A1", "A2"], name=["Chair", "Table"]))
    data[place % len(data)] = byte
    for damaged in (bytes(data), bytes(data[: place % len(data)])):
        try:
            find_parquet(damaged, "A1", "name")
        except Unusable as error:
            assert str(error)  # noqa: PT017 - a line for the log, and no other exception


def test_addresses_are_found_in_networks_the_narrowest_first() -> None:
    text = "net,site\n10.0.0.0/8,office\n10.1.0.0/16,Berlin\n10.1.2.3,door\n2001:db8::/32,lab\n"
    given = Lookup("inside", Path("inside.csv"), "net", ADDRESS)
    whole, cut = (table_of(text.encode(), given, ["site"], cut=one).find for one in (False, True))
    assert [whole(ip) for ip in ("10.9.9.9", "10.1.2.4", "10.1.2.3", "2001:db8::1", "192.0.2.1", "")] == [
        ("office",), ("Berlin",), ("door",), ("lab",), None, None,
    ]  # fmt: skip
    assert cut("10.1.2.3") == ("Berlin",)
    with pytest.raises(Unusable, match="line 2: its key is not a network"):
        table_of(b"net,site\nhome,x\n", given, ["site"], cut=True)
    with pytest.raises(Unusable, match="line 3: an earlier row has the same key"):
        table_of(b"net,site\n10.0.0.0/8,x\n10.1.1.1/8,y\n", given, ["site"], cut=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_text(PRODUCTS)
    return path


def test_a_new_file_is_taken_once_it_rests(file: Path) -> None:
    table = LookupFile(lookup(file), ["name"], cut=True)
    assert not table.refresh()
    with file.open("a") as more:
        more.write("A3,Lamp,\n")
    assert not table.refresh()  # it may still be written
    assert table.find("A3") is None
    assert table.refresh()
    assert table.find("A3") == ("Lamp",)
    assert (table.rows, table.modified) == (3, pytest.approx(file.stat().st_mtime))
    assert not table.refresh()


def test_a_mounted_config_map_is_replaced_by_its_link(tmp_path: Path) -> None:
    """The kubelet writes a new folder, and then lets the link `..data` point to it."""
    for number, name in enumerate(("Chair", "Stool")):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        (folder / "products.csv").write_text(f"sku,name\nA1,{name}\n")
    (tmp_path / "..data").symlink_to("..0")
    (tmp_path / "products.csv").symlink_to("..data/products.csv")
    table = LookupFile(lookup(tmp_path / "products.csv"), ["name"], cut=True)
    assert table.find("A1") == ("Chair",)
    (tmp_path / "..new").symlink_to("..1")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert [table.refresh(), table.refresh()] == [False, True]
    assert table.find("A1") == ("Stool",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("sku,title\nA1,Chair\n", "it has no column 'name'"),
        ("sku,name,tier\nA1,Cha", "2 fields"),
        (PRODUCTS + "A1,Chair,x\n", "line 4: an earlier row has the same key"),
    ],
)
def test_a_bad_file_is_said_once_and_the_one_before_stays(file: Path, content: str | None, said: str) -> None:
    table = LookupFile(lookup(file), ["name"], cut=True)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert not table.refresh()
    with pytest.raises(Unusable, match=said):
        table.refresh()
    assert not table.refresh()
    assert table.find("A1") == ("Chair",)
    file.write_text("sku,name\nA1,Stool\n")
    assert [table.refresh(), table.refresh()] == [False, True]
    assert table.find("A1") == ("Stool",)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(Unusable, match="it is not a file"):
            LookupFile(lookup(tmp_path / name), ["name"], cut=True)
