"""The files of load jobs say every value as it is."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.loader import load_file
from services.loader.load_file import Unfit
from services.shared import rows
from services.shared.schema import Column, Source
from tests.loader.rows_made import EVENTS, batch, event, events

PLAIN = replace(EVENTS, columns=tuple(column for column in EVENTS.columns if column.type != "JSON"))
AMOUNT = Column("amount", "NUMERIC", (Source("query", "amount"),))


def lines(file: load_file.LoadFile) -> list[bytes]:
    return gzip.decompress(file.data).splitlines()


def test_a_table_without_json_becomes_parquet_with_zstd() -> None:
    table = replace(PLAIN, columns=(*PLAIN.columns, AMOUNT))
    sent = [
        pa.RecordBatch.from_pylist(
            [{**events(number, 1).to_pylist()[0], "amount": Decimal("1.10")} for number in range(first, first + 3)],
            schema=rows.arrow_schema(table),
        )
        for first in (0, 3)
    ]
    file = load_file.build(table, sent)
    assert file.format == "PARQUET"
    read = pq.ParquetFile(io.BytesIO(file.data))
    assert read.metadata.row_group(0).column(0).compression == "ZSTD"
    assert read.schema_arrow.equals(sent[0].schema)
    assert read.read().to_pylist() == [row for one in sent for row in one.to_pylist()]


def test_a_table_with_json_becomes_lines() -> None:
    params = '{"total": 1.10, "big": 12345678901234567890123,\n "text": "ä\\n"}'
    file = load_file.build(EVENTS, [batch([event(0, params=params, url='"\n')]), batch([event(1, params=None)])])
    assert file.format == "NEWLINE_DELIMITED_JSON"
    first, second = lines(file)
    assert b'"params":{"total":1.10,"big":12345678901234567890123,"text":"\xc3\xa4\\n"}' in first
    assert json.loads(first)["url"] == '"\n'
    assert json.loads(first)["received_at"].endswith("Z")
    assert json.loads(second)["params"] is None


@pytest.mark.parametrize(
    "text", ["{not json", '{}, "user_id": "other"', '{}}\n{"user_id":"other"', "", "NaN", '"\x01"']
)
def test_json_that_is_none_cannot_break_out_of_its_row(text: str) -> None:
    with pytest.raises(Unfit):
        load_file.build(EVENTS, [batch([event(0, params=text)])])


def test_the_digest_tells_rows_apart() -> None:
    sent = events(0, 3)
    assert load_file.build(EVENTS, [sent]).digest == load_file.build(EVENTS, [sent]).digest
    assert load_file.build(EVENTS, [sent]).digest != load_file.build(EVENTS, [sent.slice(1)]).digest
    assert len(load_file.build(EVENTS, [sent]).digest) <= 63  # a label's value
