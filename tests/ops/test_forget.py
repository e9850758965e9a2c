"""People are deleted from every place, nobody else is, and the receipt names what is left."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery

from services.ops.compact import Compactor
from services.ops.people import People
from services.ops.person_search import PersonSearch, StillBuffered
from services.ops.receipts import Receipt, Receipts
from services.shared import hit, identity, resource_names, rows, zstd_frame
from services.shared.hit import Hit
from services.shared.publisher import dead_letter
from services.shared.schema import Source
from tests import process
from tests.ops import schemas
from tests.ops.conftest import A_DAY, DEAD_SUBSCRIPTION, WAIT, Done, Pipeline, within_one
from tests.ops.schemas import DAY, NOON, row
from tests.ops.test_ledger import serving
from tests.ops.test_output import on_a_terminal
from tests.process import wait_for
from tests.processor.test_log_entry import ENTRY
from tests.shared.test_reconciliation import scrapes

ADA = "ada-lovelace-1815"
USER = Source("param", "user_id")
PACK = "01890000-0000-7000-8000-000000000001"
CLICKS = """
  clicks:
    partition: day
    when: {param.type: click}
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      user_id: {type: STRING, from: param.user_id}
"""
SHOP = schemas.text().replace("tables:", "tables:" + CLICKS.rstrip(), 1)


def forget(pipeline: Pipeline, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = asked(pipeline, "forget", "--json", *arguments, code=code)
    found: dict[str, Any] = done.json
    return found


def asked(pipeline: Pipeline, command: str, *arguments: str, code: int = 0) -> Done:
    return pipeline.ops(command, "--subscription", DEAD_SUBSCRIPTION, *WAIT, *arguments, code=code)


def log_rows(pipeline: Pipeline) -> dict[str, list[str]]:
    """All rows of the log tables but the receipts, as text."""
    names = [one.table_id for one in pipeline.client.list_tables("pixelpipe") if one.table_id.endswith("_log")]
    return {
        name: sorted(str(one) for one in pipeline.rows(f"SELECT * FROM pixelpipe.{name}"))
        for name in sorted(names)
        if name != "erasures_log"
    }


def without(found: dict[str, list[str]], id: str) -> dict[str, list[str]]:
    return {name: [one for one in several if id not in one] for name, several in found.items()}


def search(pipeline: Pipeline, *ids: str, client: Any = None) -> PersonSearch:
    people = People(len(ids), {USER: ids}, {USER: ids})
    return PersonSearch(client or pipeline.client, pipeline.project, "pixelpipe", pipeline.schema, people)


def erased(one: PersonSearch, *, buffer_seconds: float = 0) -> dict[str, int]:
    targets, columns, _ = one.tables()
    return {
        target.name: sum(one.delete(one.find(target, columns[target.name]), buffer_seconds=buffer_seconds))
        for target in targets
    }


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.provision(SHOP)
    return pipeline


def hits(*users: str, **more: Any) -> list[Hit]:
    now = time.time_ns() // 1000
    return [Hit(identity.uuid7(now), now, "GET", "/pixel.gif", f"user_id={user}", **more) for user in users]


def bury_everywhere(pipeline: Pipeline) -> None:
    """Dead letters of each kind: with others beside her, of hers alone, of others alone, and one nobody can read."""

    def bury(message: tuple[bytes, dict[str, str]]) -> None:
        pipeline.bury(*dead_letter(*message, reason="broken", source=resource_names.HITS_SUBSCRIPTION))

    for users in ((ADA, "bob", ADA, "eve"), (ADA,), ("bob",)):
        bury(hit.pack([hit.encode(one) for one in hits(*users)], PACK))
    arrow = rows.arrow_schema(pipeline.schema.tables["events"])
    values = [
        {"day": DAY, "event_id": "e", "received_at": NOON, "user_id": user, "params": params}
        for user, params in ((ADA, None), ("bob", None), ("eve", f'{{"user_id":"{ADA}"}}'))
    ]
    bury(rows.pack(pa.RecordBatch.from_pylist(values, arrow), "events", PACK))
    bury((f"[{json.dumps(ENTRY)}, {json.dumps(ENTRY).replace('507f', ADA)}]".encode(), {}))
    bury((b"\xff no zstd", {"schema": "hit/1"}))


def buried(pipeline: Pipeline) -> list[tuple[str, dict[str, str]]]:
    """What the dead letters hold, as text, and their attributes; this takes them."""
    found = []
    for one in pipeline.topics.pull(DEAD_SUBSCRIPTION):
        data = one.data
        if one.attributes.get("schema") == rows.SCHEMA:
            data = str(rows.unpack(data, one.attributes).to_pylist()).encode()
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstd_frame.decompress(data)
        found.append((data.decode(errors="replace"), dict(one.attributes)))
    return found


def test_a_person_goes_from_every_place_and_nobody_else_does(shop: Pipeline) -> None:
    within_one(A_DAY)
    earlier = datetime.now(UTC) - timedelta(days=1)
    with shop.services("processor", "loader"), shop.collector() as url:
        for user in (ADA, "bob"):
            for query in (
                f"user_id={user}",
                f"user_id={user}&type=click",
                f"user_id={user}&event_id=yesterday&event_time={earlier:%Y-%m-%dT%H:%M:%SZ}",
                f"user_id=carol&user_id={user}",
                f"user_id={user}&n=wrong",
            ):
                assert requests.get(f"{url}/pixel.gif?{query}", timeout=20).status_code == 200
            posted = {"user_id": user, "n": "wrong"}
            assert requests.post(f"{url}/events", json=[posted], timeout=20).status_code < 300
        shop.until("SELECT COUNT(*) FROM pixelpipe.events_log", 6)
        shop.until("SELECT COUNT(*) FROM pixelpipe.clicks_log", 2)
        shop.until("SELECT COUNT(*) FROM pixelpipe.rejects_log", 4)
    assert shop.number("SELECT COUNT(DISTINCT day) FROM pixelpipe.events_log") == 2
    shop.load("events", [row("x", user_id=user, seconds=n, n=n) for n, user in enumerate(("bob", ADA, "eve"))])
    shop.load("events", [row("y", seconds=n, n=n, params={"user_id": [ADA, n]}) for n in range(2)])
    reject = {"day": str(DAY), "event_id": "z", "stage": "loader", "table": "events", "reason": "bigquery"}
    shop.load(
        "rejects",
        [
            {**reject, "received_at": (NOON + timedelta(seconds=n)).isoformat(), "hit": {"user_id": user, "n": n}}
            for n, user in enumerate(("bob", ADA, "eve", ADA))
        ],
    )
    for table in ("events", "rejects"):
        Compactor(shop.client, shop.project, "pixelpipe").compact(shop.schema.tables[table], DAY, dry_run=False)
    bury_everywhere(shop)
    before = log_rows(shop)
    assert {name: sum(ADA in one for one in several) for name, several in before.items()} == {
        "clicks_log": 1, "conflicts_log": 4, "events_log": 4, "rejects_log": 2, "tallies_log": 0,
    }  # fmt: skip

    dry = forget(shop, "--user-id", ADA, "--dry-run")
    assert log_rows(shop) == before and dry["dry_run"]
    assert shop.number("SELECT COUNT(*) FROM pixelpipe.erasures") == 0
    assert dry["deleted"] == {"clicks": 1, "events": 4, "rejects": 2, "conflicts": 4}

    receipt = forget(shop, "--user-id", ADA, "--by", "the officer")
    assert receipt["deleted"] == dry["deleted"]
    assert receipt["dead_letters"] == dry["dead_letters"] == 6
    assert log_rows(shop) == without(before, ADA)
    letters = buried(shop)
    assert not any(ADA in text for text, _ in letters)
    held = [text for text, attributes in letters if attributes.get("schema") == hit.SCHEMA and "no zstd" not in text]
    users = sorted(sorted(msgspec.json.decode(line, type=Hit).query for line in text.splitlines()) for text in held)
    assert users == [["user_id=bob"], ["user_id=bob", "user_id=eve"]]
    assert ["user_id=507f" in text for text, attributes in letters if "schema" not in attributes] == [True]
    assert all(attributes["dead_reason"] == "broken" for _, attributes in letters)
    assert sorted(attributes.get("count", "") for _, attributes in letters) == ["", "", "1", "1", "2"]

    # What is left is named: until when time travel holds it, what is on its way, what nobody can read, what is away.
    (kept,) = shop.rows("SELECT * FROM pixelpipe.erasures")
    assert (kept["erased_by"], kept["people"], kept["complete"]) == ("the officer", 1, False)
    assert ADA not in str(kept)
    assert {one["place"] for one in kept["remains"]} == {
        f"dead letters of {DEAD_SUBSCRIPTION}", "time travel", "fail-safe", "subscriptions of hits and rows",
        "spools of collectors", "archive", "copies",
    }  # fmt: skip
    assert kept["time_travel_until"] - kept["erased_at"] == timedelta(days=7)
    assert kept["again_after"] - kept["erased_at"] == timedelta(days=14)
    again = forget(shop, "--user-id", ADA)
    assert set(again["deleted"].values()) == {0} and again["dead_letters"] == 0
    assert again["follows"] == [receipt["erasure_id"]] and not again["complete"]
    assert again["again_after"] == receipt["again_after"]


@pytest.mark.slow
def test_access_prints_every_row_of_the_person_and_changes_nothing(shop: Pipeline) -> None:
    shop.load("events", [row("a", user_id=ADA, n=2**60), row("a", user_id=ADA, n=2**60), row("b", user_id="bob")])
    shop.load("clicks", [{name: value for name, value in row("c", user_id=ADA).items() if name != "n"}])
    bury_everywhere(shop)
    before = log_rows(shop)
    done = asked(shop, "access", "--user-id", ADA)
    found = done.lines
    assert sorted(one["table"] for one in found) == ["clicks", *["dead letters"] * 6, "events", "events"]
    assert [one["row"]["n"] for one in found if one["table"] == "events"] == [str(2**60)] * 2
    assert all(ADA in str(one["row"]) for one in found)
    assert "access: events: 2\n" in done.err and "access: rejects: 0\n" in done.err
    where = ("--project", shop.project, "--schema", str(shop.file), "--subscription", "none", "--user-id", ADA)
    assert [json.loads(line)["table"] for line in on_a_terminal("access", *where, "--json", code=1).splitlines()] == [
        "clicks", "events", "events",
    ]  # fmt: skip
    said = on_a_terminal("access", *where, code=1)  # not read: dead letters
    assert "{" not in said and said.count(str(2**60)) == 2
    assert log_rows(shop) == before
    assert len(shop.left(6)) == 6


@pytest.mark.slow
def test_what_is_on_its_way_is_waited_for_where_the_services_can_be_asked(pipeline: Pipeline) -> None:
    own = {
        "loader": {"PIPE_SCHEMA": str(pipeline.file), "PIPE_LINGER_SECONDS": "2"},
        "processor": {"PIPE_SCHEMA": str(pipeline.file)},
        "collector": {"PIPE_PORT": str(process.free_port()), "PIPE_DRAIN_DELAY_SECONDS": "0"},
    }
    with ExitStack() as stack:
        admins = []
        for name, settings in own.items():
            port = str(process.free_port())
            local = {"PIPE_PROJECT": pipeline.project, "PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": port}
            env = {**pipeline.env, **local, **settings}
            stack.enter_context(process.running(f"services.{name}", env=env, wait_ready=False))
            admins.append(f"http://127.0.0.1:{port}")
        for url in admins:
            wait_for(lambda url=url: is_ready(url), 60, f"{url} to be ready")
        for user in (ADA, "bob"):
            url = f"http://127.0.0.1:{own['collector']['PIPE_PORT']}/pixel.gif?user_id={user}"
            assert requests.get(url, timeout=20).status_code == 200
        found = forget(pipeline, "--user-id", ADA, *(f"--admin={url}" for url in admins))
    assert found["deleted"]["events"] == 1
    assert [one["user_id"] for one in pipeline.rows("SELECT * FROM pixelpipe.events_log")] == ["bob"]


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


def test_what_does_not_arrive_in_time_is_named(pipeline: Pipeline) -> None:
    with serving(*scrapes(("collector", "hits_settled_total", 'outcome="published"', 5)).values()) as urls:
        found = forget(pipeline, "--user-id", ADA, "--admin-wait", "0", *(f"--admin={url}" for url in urls))
        assert {"services and subscriptions": "105 hits had not arrived after 0 s"}.items() <= {
            one["place"]: one["why"] for one in found["remains"]
        }.items()
        done = asked(pipeline, "forget", "--user-id", ADA, "--admin", urls[0], code=1)
        assert "there are no metrics of processor and collector" in done.err
    with serving(*scrapes().values()) as urls:
        found = forget(pipeline, "--user-id", ADA, "--admin-wait", "0", *(f"--admin={url}" for url in urls))
        assert "100 hits had not" in str(found["remains"])  # which are in the spool


STRANGE = {
    "quotes": "o'b\"r`ien",
    "a backslash": "a\\b",
    "wildcards": "50%_",
    "a line end": "a\nb",
    "a placeholder": "@texts_0 {} {0}",
    "a statement": "') OR TRUE --",
    "white space": "  ada ",
    "Cyrillic": "\u0430da",
    "decomposed": "e\u0301",
    "an astral character": "\U0001f600",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRANGE)
def test_an_id_of_any_characters_is_itself_alone(pipeline: Pipeline, name: str) -> None:
    others = ["50X_", "50%X", "ada", "\u00e9", "a", "b", "bob", "o'brien", ""]
    pipeline.load("events", [row(f"e{n}", user_id=user) for n, user in enumerate([*others, STRANGE[name]])])
    pipeline.load("events", [row("p", params={"user_id": STRANGE[name]}), row("q", params={"user_id": "bob"})])
    query = "".join(f"%{byte:02X}" for byte in STRANGE[name].encode())
    reject = {"day": str(DAY), "received_at": NOON.isoformat(), "stage": "processor", "reason": "missing"}
    pipeline.load(
        "rejects",
        [
            {**reject, "event_id": id, "hit": json.loads(hit.encode(Hit(id, 1, "GET", "/", f"user_id={value}")))}
            for id, value in (("r", query), ("s", "bob"))
        ],
    )
    file = pipeline.file.with_name("people.ndjson")
    file.write_text(json.dumps({"user_id": STRANGE[name]}) + "\n")
    assert forget(pipeline, "--file", str(file))["deleted"] == {"events": 2, "rejects": 1, "conflicts": 0}
    left = pipeline.rows("SELECT user_id FROM pixelpipe.events_log WHERE event_id LIKE 'e%'")
    assert sorted(one["user_id"] for one in left) == sorted(others)
    assert pipeline.number("SELECT STRING_AGG(event_id) FROM pixelpipe.rejects_log") == "s"


class Client:
    """The official client, with something done before each statement that begins with DELETE."""

    def __init__(self, client: Any, before: Callable[[int], None]) -> None:
        self._client, self._before, self.deletes = client, before, 0

    def query(self, sql: str, **options: Any) -> Any:
        if sql.startswith("DELETE"):
            self.deletes += 1
            self._before(self.deletes)
        return self._client.query(sql, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class CutOff(Exception):
    """The process ends here."""


def fill(pipeline: Pipeline) -> None:
    pipeline.load("events", [row(f"{user}{n}", user_id=user) for user in (ADA, "bob") for n in range(5)])
    pipeline.load("clicks", [row(f"{user}{n}", user_id=user) for user in (ADA, "bob") for n in range(3)])


def test_a_run_that_is_cut_off_is_completed_by_the_next(shop: Pipeline) -> None:
    fill(shop)

    def cut_off(number: int) -> None:
        if number == 2:
            raise CutOff

    with pytest.raises(CutOff):
        erased(search(shop, ADA, client=Client(shop.client, cut_off)))
    assert forget(shop, "--user-id", ADA)["rows"] == 5
    assert sum(map(len, log_rows(shop).values())) == 8


def test_runs_side_by_side_delete_each_row_once(shop: Pipeline) -> None:
    fill(shop)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: erased(search(shop, ADA)), range(4)))
    assert sum(one["events"] for one in found) == 5
    assert sum(one["clicks"] for one in found) == 3
    assert sum(map(len, log_rows(shop).values())) == 8


def test_a_statement_that_met_another_is_tried_again(shop: Pipeline) -> None:
    fill(shop)

    def collide(number: int) -> None:
        if number == 1:
            raise exceptions.BadRequest("Could not serialize access to table due to concurrent update")

    assert erased(search(shop, ADA, client=Client(shop.client, collide)))["clicks"] == 3


def test_rows_in_the_streaming_buffer_are_waited_for_within_a_limit(shop: Pipeline) -> None:
    fill(shop)

    def buffered(number: int) -> None:
        raise exceptions.BadRequest("UPDATE or DELETE statement would affect rows in the streaming buffer")

    with pytest.raises(StillBuffered, match="streaming buffer"):
        erased(search(shop, ADA, client=Client(shop.client, buffered)), buffer_seconds=0.2)
    assert sum(map(len, log_rows(shop).values())) == 16


@pytest.mark.parametrize("many", [1_999, pytest.param(99_999, marks=pytest.mark.slow)])
def test_many_people_go_in_one_statement_a_table(shop: Pipeline, many: int) -> None:
    fill(shop)
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(many)]
    shop.load("events", [row(f"m{n}", user_id=ids[n]) for n in (0, many // 2, many - 1)])
    client = Client(shop.client, lambda number: None)
    assert erased(search(shop, *ids, ADA, client=client)) == {"clicks": 3, "events": 8, "rejects": 0, "conflicts": 0}
    assert client.deletes == 2
    assert sum(map(len, log_rows(shop).values())) == 8
    # All of them are in one receipt, which knows each of them.
    salt, everybody = b"salt", People(many, {USER: tuple(ids)})
    now = datetime.now(UTC)
    receipt = Receipt("e", now, "x", many, salt.hex(), everybody.digests(salt), {}, 0, None, None)
    book = Receipts(shop.client, shop.project, "pixelpipe")
    book.check()
    book.write(receipt)
    assert [len(one.who) for one in book.of(everybody)] == [many]
    assert len(book.of(People(1, {USER: (ids[-1],)}))) == 1
    assert book.of(People(1, {USER: ("another",)})) == []


@pytest.mark.slow
def test_the_second_run_after_the_longest_retention_completes_the_first(pipeline: Pipeline) -> None:
    first = forget(pipeline, "--user-id", ADA)
    assert asked(pipeline, "forget", "--pending").lines[0]["erasure_id"] == first["erasure_id"]
    # As if the first had been long ago.
    book = Receipts(pipeline.client, pipeline.project, "pixelpipe")
    book.check()
    (receipt,) = book.all()
    then = receipt.erased_at - timedelta(days=20)
    pipeline.client.query_and_wait("DELETE FROM pixelpipe.erasures_log WHERE day > '2020-01-01'")
    old = dataclasses.replace(receipt, erasure_id="old", erased_at=then, again_after=then + timedelta(days=14))
    book.write(old)
    assert len(asked(pipeline, "forget", "--pending", code=1).lines) == 1
    pipeline.load("events", [row("late", user_id=ADA)])
    second = forget(pipeline, "--user-id", ADA)
    assert (second["complete"], second["rows"], second["follows"]) == (True, 1, ["old"])
    assert second["again_after"] is None
    assert asked(pipeline, "forget", "--pending").lines == []
    third = forget(pipeline, "--user-id", ADA)
    assert (third["complete"], third["rows"]) == (True, 0)
    shown = asked(pipeline, "forget", "--receipts", "--user-id", ADA).lines
    assert [one["erasure_id"] for one in shown] == ["old", second["erasure_id"], third["erasure_id"]]
    assert asked(pipeline, "forget", "--receipts", "--user-id", "bob").lines == []


@pytest.mark.slow
def test_a_second_run_about_some_of_them_completes_nothing(pipeline: Pipeline) -> None:
    both = forget(pipeline, "--user-id", ADA, "--user-id", "bob")
    assert forget(pipeline, "--user-id", ADA)["follows"] == []
    assert forget(pipeline, "--user-id", "bob", "--user-id", ADA)["follows"] == [both["erasure_id"]]
    shown = asked(pipeline, "forget", "--receipts", "--user-id", "bob").lines
    assert len(shown) == 2 and shown[0]["erasure_id"] == both["erasure_id"]


def test_a_receipt_that_cannot_be_written_is_printed(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id=ADA)])
    table = pipeline.client.get_table("pixelpipe.erasures_log")
    pipeline.client.delete_table(table)
    table.schema = [*table.schema, bigquery.SchemaField("more", "STRING", "REQUIRED")]
    pipeline.client.create_table(bigquery.Table(table.reference, table.schema))
    done = asked(pipeline, "forget", "--user-id", ADA, "--json", code=1)
    assert done.json["deleted"]["events"] == 1
    assert "the receipt could not be written" in done.err


def test_a_receipt_that_was_written_is_not_written_twice(pipeline: Pipeline) -> None:
    forget(pipeline, "--user-id", ADA)
    book = Receipts(pipeline.client, pipeline.project, "pixelpipe")
    book.check()
    (receipt,) = book.all()
    book.write(receipt)
    assert len(list(book.all())) == 1


def test_time_travel_is_as_long_as_the_dataset_says(pipeline: Pipeline) -> None:
    dataset = pipeline.client.get_dataset("pixelpipe")
    dataset.max_time_travel_hours = 48
    pipeline.client.update_dataset(dataset, ["max_time_travel_hours"])
    pipeline.load("events", [row("a", user_id=ADA)])
    found = forget(pipeline, "--user-id", ADA)
    moments = [datetime.fromisoformat(found[name]) for name in ("erased_at", "time_travel_until")]
    assert moments[1] - moments[0] == timedelta(hours=48)


def test_what_cannot_be_reached_is_named_and_the_exit_code_says_so(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id=ADA)])
    done = pipeline.ops("forget", "--user-id", ADA, "--subscription", "no-such", "--json", code=1)
    assert done.json["deleted"]["events"] == 1
    (left,) = [one for one in done.json["remains"] if one["open"]]
    assert left["place"] == "dead letters of no-such" and "there is no subscription" in left["why"]
    pipeline.client.delete_table("pixelpipe.rejects")
    pipeline.client.delete_table("pixelpipe.rejects_log")
    found = forget(pipeline, "--user-id", ADA)
    assert "table rejects" in [one["place"] for one in found["remains"]]


def test_nothing_is_deleted_without_a_table_of_receipts(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id=ADA)])
    pipeline.client.delete_table("pixelpipe.erasures_log")
    done = asked(pipeline, "forget", "--user-id", ADA, code=1)
    assert "run the provisioner" in done.err
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.events_log") == 1


def test_a_parameter_is_found_in_its_column_or_among_the_others(bare: Pipeline) -> None:
    mail = "mail: {type: STRING, from: [param.mail, param.email]}"
    bare.provision(schemas.text(mail, "num: {type: INT64, from: param.num}"))
    bare.load(
        "events",
        [
            row("a", mail="a@b.example"),
            row("b", params={"email": "a@b.example"}),
            row("c", params={"context": {"traits": {"email": "a@b.example"}}}),
            row("d", params={"context.traits.email": "a@b.example"}),
            row("e", num=42),
            row("f", params={"num": 42}),
            row("g", n=42, params={"friend": "a@b.example"}),
        ],
    )
    for where, wanted in (
        ("param.email=a@b.example", 2),
        ("param.context.traits.email=a@b.example", 2),
        ("param.num=042", 1),
        ("param.num=42", 1),
    ):
        found = bare.ops("forget", "--wait", "0.2", "--json", "--where", where)
        assert found.json["deleted"]["events"] == wanted, where
    assert [one["event_id"] for one in bare.rows("SELECT * FROM pixelpipe.events_log")] == ["g"]


@pytest.mark.parametrize(
    "table",
    ["partition: received_at", "partition: day\nrequire_partition_filter: true", "partition: due"],
    ids=["time", "filter", "another day"],
)
def test_a_table_of_other_partitions_is_searched_too(bare: Pipeline, table: str) -> None:
    bare.provision(schemas.text("due: {type: DATE, mode: REQUIRED, from: param.due}", table=table))
    last = {"seconds": 43_199.999999, "day": DAY + timedelta(1), "due": "9999-12-31"}
    bare.load("events", [row("a", user_id=ADA, due="2026-03-01"), row("b", user_id=ADA, **last)])
    bare.load("events", [row("c", user_id="bob", due="2026-03-01")])
    assert erased(search(bare, ADA))["events"] == 2
    assert bare.number("SELECT COUNT(*) FROM pixelpipe.events WHERE day > '2026-01-01'") == 1


def test_people_read_what_went_and_what_is_left(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id=ADA)])
    dry = asked(pipeline, "forget", "--user-id", ADA, "--dry-run").out
    assert "events: 1 rows would be deleted\n" in dry and "receipt" not in dry
    done = asked(pipeline, "forget", "--user-id", ADA, "--where", "param.email=a@b.example").out
    assert "events: 1 rows deleted\n" in done
    assert "not reached: time travel: " in done and "run it again after " in done
    assert ADA not in done and "a@b.example" not in done


WRONG = {
    "nobody": ((), "nobody is named"),
    "an empty id": (("--user-id", ""), "--user-id: it is empty"),
    "no parameter": (("--where", "email=x"), "use param.NAME=VALUE"),
    "a name with a quote": (("--where", "param.a'b=x"), "not the name of a parameter"),
    "all parameters": (("--where", "param.*=x"), "not the name of a parameter"),
    "no such file": (("--file", "/no/such"), "it cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_who_cannot_be_meant_is_refused_with_2(pipeline: Pipeline, name: str) -> None:
    arguments, text = WRONG[name]
    for command in ("forget", "access"):
        done = asked(pipeline, command, *arguments, code=2)
        assert text in done.err and len(done.err.splitlines()) == 1


BAD_FILES = {
    "not JSON": ("{}x", "people.ndjson:2: it is not JSON"),
    "no object": ("[]", "people.ndjson:2: an object with ids"),
    "another name": ('{"name": "x"}', "people.ndjson:2: 'name': use user_id"),
    "no text": ('{"user_id": true}', "people.ndjson:2: user_id: a text"),
    "an empty id": ('{"user_id": ""}', "people.ndjson:2: user_id: it is empty"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_wrong_line_of_a_file_is_named(pipeline: Pipeline, name: str) -> None:
    line, text = BAD_FILES[name]
    file = pipeline.file.with_name("people.ndjson")
    file.write_text('{"user_id": "x"}\n' + line + "\n")
    assert text in asked(pipeline, "forget", "--file", str(file), code=2).err
