"""Whatever one pack makes the loader raise costs that pack its turn: it is nacked, and the others are answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from services.loader.config import Config
from services.loader.metrics import Metrics
from services.loader.worker import Worker
from services.loader.write_api import AppendError, RowErrors
from services.shared import log, rows
from services.shared.background import Background
from tests.deliveries import Delivery, subscriber
from tests.loader.rows_made import SCHEMA, batch, event
from tests.waiting import until

BAD = "event-000013"


def _delivery(number: int, answers: dict[int, str], **attributes: str) -> Delivery:
    data, made = rows.pack(batch([event(number)]), "events", f"pack-{number}")
    return Delivery(data, made | attributes, partial(answers.__setitem__, number))


class _Unreadable(dict[str, str]):
    """Attributes that raise what nobody foresees, once the pack is opened."""

    def __getitem__(self, name: str) -> str:
        raise MemoryError


class _Api:
    """Takes what `check` does not object to."""

    def __init__(self, check: Callable[[str, list[str]], None]) -> None:
        self._check = check

    async def append(self, table: str, appended: pa.RecordBatch) -> int:
        await asyncio.sleep(0)
        self._check(table, appended.column("event_id").to_pylist())
        return 1


class _Publisher:
    async def publish(self, *_: object) -> str:
        raise RuntimeError("nobody foresaw this")


@asynccontextmanager
async def _loading(check: Callable[[str, list[str]], None], deliveries: list[Delivery]) -> AsyncIterator[None]:
    cfg = Config(project="p", linger_seconds=0.05)
    async with Background() as background:
        api, publisher = _Api(check), _Publisher()
        metrics = Metrics(CollectorRegistry(), SCHEMA.tables)
        worker = Worker(cfg, SCHEMA, api, publisher, metrics, background, max_packs=100)  # type: ignore[arg-type]
        await worker.receive(subscriber(*deliveries))
        yield
        assert background.stuck is None
        await worker.finish(1)


def _fine(_table: str, _ids: list[str]) -> None:
    pass


async def test_an_append_that_raises_for_one_pack_is_tried_apart() -> None:
    def check(_table: str, ids: list[str]) -> None:
        if BAD in ids:
            raise RuntimeError("nobody foresaw this")

    answers: dict[int, str] = {}
    async with _loading(check, [_delivery(number, answers) for number in range(10, 17)]):
        await until(lambda: len(answers) == 7, "all answers")
    assert [number for number, answer in answers.items() if answer == "nack"] == [13]


async def test_a_pack_that_raises_when_it_is_opened_is_given_back() -> None:
    answers: dict[int, str] = {}
    deliveries = [_delivery(number, answers) for number in range(3)]
    deliveries[1].attributes = _Unreadable(deliveries[1].attributes)
    async with _loading(_fine, deliveries):
        await until(lambda: len(answers) == 3, "all answers")
    assert answers == {0: "ack", 1: "nack", 2: "ack"}


async def test_a_dead_letter_that_raises_is_given_back() -> None:
    answers: dict[int, str] = {}
    async with _loading(_fine, [_delivery(0, answers), _delivery(1, answers, schema="x/9"), _delivery(2, answers)]):
        await until(lambda: len(answers) == 3, "all answers")
    assert answers == {0: "ack", 1: "nack", 2: "ack"}


async def test_an_append_of_rejects_that_raises_gives_back_their_pack_alone() -> None:
    def check(table: str, ids: list[str]) -> None:
        if table == SCHEMA.rejects.log_name:
            raise RuntimeError("nobody foresaw this")
        if BAD in ids:
            raise RowErrors({ids.index(BAD): "bad"})

    answers: dict[int, str] = {}
    async with _loading(check, [_delivery(number, answers) for number in range(12, 15)]):
        await until(lambda: len(answers) == 3, "all answers")
    assert answers == {12: "ack", 13: "nack", 14: "ack"}


STRANGER = "what a stranger sent " * 1_000


def _logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out = capsys.readouterr().out
    assert "a stranger sent" not in out
    return [json.loads(line) for line in out.splitlines()]


async def test_a_log_line_about_bad_rows_names_their_columns_and_quotes_no_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    details: list[str] = []

    def check(table: str, ids: list[str]) -> None:
        if table == SCHEMA.tables["events"].log_name and BAD in ids:
            raise RowErrors({ids.index(BAD): f"Field 'type': cannot take '{STRANGER}'"})
        details.append(table)

    log.start("loader")
    answers: dict[int, str] = {}
    async with _loading(check, [_delivery(number, answers) for number in range(12, 15)]):
        await until(lambda: len(answers) == 3, "all answers")
    assert SCHEMA.rejects.log_name in details
    (line,) = [line for line in _logged(capsys) if line["message"].startswith("BigQuery refuses rows")]
    assert (line["columns"], line["rows"]) == (["type"], 1)


async def test_a_log_line_about_a_refused_append_quotes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    refused = 0

    def check(_table: str, _ids: list[str]) -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise AppendError("INVALID_ARGUMENT", f"cannot take '{STRANGER}'")

    log.start("loader")
    answers: dict[int, str] = {}
    async with _loading(check, [_delivery(0, answers)]):
        await until(lambda: len(answers) == 1, "the answer")
    assert [line["error"] for line in _logged(capsys) if line["message"] == "appends fail"] == ["INVALID_ARGUMENT"]


async def test_what_nobody_foresaw_is_logged_seldom_by_type_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    def check(_table: str, _ids: list[str]) -> None:
        raise RuntimeError(STRANGER)

    log.start("loader")
    answers: dict[int, str] = {}
    async with _loading(check, [_delivery(number, answers) for number in range(40)]):
        await until(lambda: len(answers) == 40, "all answers")
    (line,) = [line for line in _logged(capsys) if line["message"] == "append failed"]
    assert line["fault"].startswith("RuntimeError at services.loader.writer:")
    assert "test_containment" in line["fault"]
