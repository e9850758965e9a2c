"""The page reads hits by the files that the services read them by."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from threading import Event
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local import rehearsal, sights
from local.refusal import Refused
from local.restart import Restarts
from local.sights import Sights
from local.sql_box import SqlBox
from local.story import Reading
from local.watched import Watched
from services.processor.parse import Parser
from services.shared import identity, schema_file
from services.shared.hit import Hit
from services.shared.schema import DEFAULT_FILE
from tests import process
from tests.provision import schemas

LOOKUPS = "lookups:\n  plans: {file: %s, key: code, by: param.plan}\n"


def watched(data: Path | None = None) -> Watched:
    return Watched("p", "web", "", "", ready=True, collector="http://127.0.0.1:1", admin={}, page_port=1, data=data)


def made(text: str, client: Any = None, data: Path | None = None) -> Sights:
    here = watched(data)
    unused: Any = None
    return sights.make(lambda: here, schema_file.parse(text), client, Restarts(None), unused, {}, tap=False)


def plan(found: Sights) -> Any:
    now = time.time_ns() // 1000
    story = found.reading.of_hit(Hit(identity.uuid7(now), now, "GET", "/i", "plan=g"), now)
    return story["steps"][-1]["row"].get("plan")


@pytest.mark.parametrize(("mounted", "name"), [(True, "Gold"), (False, None)])
def test_a_story_joins_the_lookups_whose_files_are_here(tmp_path: Path, mounted: bool, name: str | None) -> None:
    file = tmp_path / "plans.csv"
    if mounted:
        file.write_text("code,name\ng,Gold\n")
    text = LOOKUPS % file + schemas.text("plan: {type: STRING, from: lookup.plans.name}")
    assert plan(made(text)) == name


async def test_a_file_that_was_replaced_is_taken_as_the_services_take_it(tmp_path: Path) -> None:
    file = tmp_path / "plans.csv"
    file.write_text("code,name\ng,Gold\n")
    found = made(LOOKUPS % file + schemas.text("plan: {type: STRING, from: lookup.plans.name}"))
    keeping = asyncio.create_task(found.keep_fresh(every_seconds=0.01))
    for name in ("Silver", "Bronze"):
        new = file.with_suffix(".new")
        new.write_text(f"code,name\ng,{name}\n")
        new.replace(file)
        await asyncio.to_thread(process.wait_for, lambda name=name: plan(found) == name, 60, f"{name} to be taken")
    keeping.cancel()


async def test_a_fault_is_set_by_an_emulator_that_is_slow_to_answer() -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(1.2)
        return web.json_response({"id": "1", "effect": "error", "code": "ABORTED", "ends_in": None, "applied": 0})

    app = web.Application()
    app.router.add_post("/faults", slow)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        control = {"bigquery": str(server.make_url("")).rstrip("/")}
        fault = await rehearsal.add(session, control, {"target": "bigquery", "effect": "error"})
    assert fault["id"] == "bigquery-1"


def story(query: str) -> dict[str, Any]:
    """Of a pixel, by the schema file that comes with pixelpipe."""
    schema = schema_file.load(DEFAULT_FILE)
    now = time.time_ns() // 1000
    hit = Hit(identity.uuid7(now), now, "GET", "/i", query)
    return Reading(schema, Parser(schema), "http://127.0.0.1:1").of_hit(hit, now)


def test_the_story_of_a_reject_has_the_columns_that_were_known_and_those_to_blame() -> None:
    found = story("type=view&url=https://a/&event_id=o1&user_id=&x=1")
    (step,) = (one for one in found["steps"] if one["name"] == "columns")
    columns = {one["column"]: one for one in step["values"]}
    assert step["title"] == "6 of 20 columns of events"
    assert (columns["event_id"]["value"], columns["url"]["value"], columns["url"]["from"]) == (
        "o1", "https://a/", "param.url",
    )  # fmt: skip
    blamed = [name for name, one in columns.items() if one["refused"]]
    assert blamed == ["user_id", "anonymous_id", "visitor_id"]
    (refused,) = found["refused"]
    assert (refused["name"], refused["reason"]) == ("user_id or anonymous_id or visitor_id", "missing")
    assert (found["empty"], found["unknown"], found["kept_in"]) == (["user_id"], ["x"], "hit")


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (Path(".local"), ".venv/bin/pixelpipe dead list"),
        (Path("/tmp/a b"), "python -m local ops --data '/tmp/a b' dead list"),
        (None, "pixelpipe dead list --project p"),
    ],
)
def test_an_operators_command_has_one_form_for_each_place(data: Path | None, command: str) -> None:
    assert watched(data).ops("dead list") == command


class Job:
    """Of a BigQuery that answers only who stops the question; `statement_type` is that of the dry run."""

    total_bytes_processed = 0
    schema = ()

    def __init__(self, statement_type: str = "SELECT") -> None:
        self.statement_type, self.state = statement_type, "RUNNING"
        self.asked, self.stopped = Event(), Event()

    def query(self, *_: Any, **__: Any) -> Job:
        return self

    def result(self, **_: Any) -> Any:
        self.asked.set()
        assert self.stopped.wait(60)
        return self

    def __iter__(self) -> Any:
        return iter(())

    def cancel(self, **_: Any) -> None:
        self.stopped.set()


async def test_who_leaves_while_the_page_ends_is_no_error_and_the_question_is_stopped() -> None:
    job = Job()
    box = SqlBox(job, "p", "web", None)
    asking = asyncio.create_task(box.run("SELECT 1"))
    await asyncio.to_thread(job.asked.wait, 60)
    box.close()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(job.stopped.wait, 60)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (Path(".local"), "; make query SQL='…' runs any"),
        (Path("data"), "; python -m local query --data data '…' runs any"),
        (None, ""),
    ],
)
async def test_what_the_box_does_not_run_is_run_by_the_local_stack_alone(data: Path | None, more: str) -> None:
    box = made(schemas.text("plan: {type: STRING, from: param.plan}"), Job("DELETE"), data).sql_box
    with pytest.raises(Refused) as refused:
        await box.run("DELETE FROM web.events_log WHERE TRUE")
    assert str(refused.value) == f"this box only reads: use SELECT, not DELETE{more}"
    box.close()
