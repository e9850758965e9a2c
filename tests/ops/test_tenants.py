"""Events of no tenant, and those over a rate, come back by hand; logs have their tenants."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from services.ops.compact import Compactor
from services.shared import hit, rows
from services.shared.hit import Hit
from tests import tenants
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.ops.schemas import DAY, NOON, row
from tests.ops.test_forget import ADA, PACK, asked, buried, forget, log_rows, without
from tests.ops.test_replay import EVENTS, NOW, REJECTS, refused, send
from tests.processor.test_log_entry import ENTRY
from tests.tenants import hashed

LIST = f"""\
tenants:
  list:
    keyed: {{keys: [{hashed("k1")}]}}
    placed: {{hosts: [a.example.com]}}
"""
COLUMN = "tenant: {type: STRING, from: hit.tenant}"
STAMP = (datetime.now(UTC) - timedelta(days=1)).strftime("%d/%b/%Y:11:00:%S +0000")
TENANTS = "SELECT user_id, tenant FROM pixelpipe.events"


def _text() -> str:
    return LIST + schemas.text(COLUMN)


def _hit(name: str, **fields: object) -> Hit:
    one = refused(name, query=f"user_id={name}&n=1")
    for field, value in fields.items():
        setattr(one, field, value)
    return one


def _found(pipeline: Pipeline) -> dict[str, str]:
    return {row["user_id"]: row["tenant"] for row in pipeline.rows(TENANTS)}


def test_rejects_for_want_of_a_tenant_or_of_room_come_back(bare: Pipeline) -> None:
    pipeline = bare
    pipeline.provision(_text())
    with pipeline.services("processor", "loader"):
        send(pipeline, _hit("a"), _hit("b", tenant="placed", limited=True), _hit("c", tenant="placed"))
        pipeline.until(REJECTS, 2)
        pipeline.until(EVENTS, 1)
        refusal = pipeline.ops("replay", "--tenant", "nobody", code=2).err
        assert "--tenant 'nobody': the schema file lists no such tenant (keyed, placed)" in refusal
        done = pipeline.ops("replay", "--reason", "unknown_tenant", "--tenant", "keyed").json
        assert done == {"found": 1, "published": 1, "skipped": 0, "failed": 0, "left": 0}
        assert pipeline.ops("replay", "--reason", "limited", "--tenant", "keyed").json["published"] == 1
        pipeline.until(EVENTS, 3)
    assert _found(pipeline) == {"a": "keyed", "b": "placed", "c": "placed"}
    assert NOW and pipeline.number(REJECTS) == 2  # they are history


def test_lines_of_a_log_are_of_the_tenant_of_their_key(bare: Pipeline, tmp_path: Path) -> None:
    pipeline = bare
    pipeline.provision(_text())
    log = tmp_path / "access.log"
    log.write_text(
        "".join(
            f'203.0.113.7 - - [{STAMP}] "GET /i?user_id={name}&n=1{key} HTTP/1.1" 200 43 "-" "curl"\n'
            for name, key in (("a", "&write_key=k1"), ("b", "&write_key=no"))
        )
    )
    with pipeline.services("processor", "loader"):
        assert pipeline.ops("ingest", str(log)).json["published"] == 2
        pipeline.until(EVENTS, 1)
        pipeline.until(REJECTS, 1)
    assert _found(pipeline) == {"a": "keyed"}
    assert tenants.hashed("k1") in LIST


@pytest.mark.slow
def test_a_tenants_person_is_forgotten_and_nobody_of_the_same_id_at_another(pipeline: Pipeline) -> None:
    rejects = schemas.REJECTS.replace("stage:", f"{COLUMN}\n      stage:", 1)
    pipeline.provision(LIST + schemas.text(COLUMN, rejects=rejects))
    with pipeline.services("processor", "loader"):
        send(pipeline, *(_hit(ADA, tenant=tenant) for tenant in ("keyed", "placed")))
        wrong = [_hit(ADA, tenant=tenant) for tenant in ("keyed", "placed")]
        for one in wrong:
            one.query = f"user_id={ADA}&n=wrong"
        send(pipeline, *wrong)
        pipeline.until(EVENTS, 2)
        pipeline.until(REJECTS, 2)
    both = [row(f"{n}", user_id=ADA, seconds=n, n=n, tenant=tenant) for n in (1, 2) for tenant in ("keyed", "placed")]
    pipeline.load("events", [{**one, "event_id": "same"} for one in both])
    Compactor(pipeline.client, pipeline.project, "pixelpipe").compact(
        pipeline.schema.tables["events"], DAY, dry_run=False
    )
    arrow = rows.arrow_schema(pipeline.schema.tables["events"])
    values = [
        {"day": DAY, "event_id": "e", "received_at": NOON, "user_id": ADA, "tenant": tenant}
        for tenant in ("keyed", "placed")
    ]
    entry = json.dumps(ENTRY).replace("507f", ADA)
    hosts = [entry.replace(urlsplit(ENTRY["httpRequest"]["requestUrl"]).netloc, f"{name}.example.com") for name in "ab"]
    pipeline.bury(*hit.pack([hit.encode(_hit(ADA, tenant=tenant)) for tenant in ("keyed", "placed")], PACK))
    pipeline.bury(*rows.pack(pa.RecordBatch.from_pylist(values, arrow), "events", PACK))
    pipeline.bury(f"[{','.join(hosts)}]".encode(), {})
    pipeline.bury(f"not JSON user_id={ADA}".encode(), {})
    before = log_rows(pipeline)
    wanted = {"events": 2, "rejects": 1, "conflicts": 1}

    found = asked(pipeline, "access", "--user-id", ADA, "--tenant", "placed").lines
    assert Counter(one["table"] for one in found) == {**wanted, "dead letters": 3}
    receipt = forget(pipeline, "--user-id", ADA, "--tenant", "placed")
    assert (receipt["tenant"], receipt["deleted"], receipt["dead_letters"]) == ("placed", wanted, 3)
    assert log_rows(pipeline) == without(before, "placed")
    assert "of no tenant that is known" in str(receipt["remains"])
    letters = [text for text, _ in buried(pipeline)]
    assert len(letters) == 4 and not any("placed" in text or "a.example.com" in text for text in letters)
    assert sum(ADA in text for text in letters) == 4
    # A receipt about one tenant's person says nothing of another's, nor of all.
    assert forget(pipeline, "--user-id", ADA, "--tenant", "keyed")["follows"] == []
    assert forget(pipeline, "--user-id", ADA)["follows"] == []
    assert forget(pipeline, "--user-id", ADA, "--tenant", "placed")["follows"] == [receipt["erasure_id"]]


def test_a_tenant_that_cannot_be_told_is_refused_with_2(pipeline: Pipeline) -> None:
    pipeline.provision(_text())
    said = pipeline.ops("forget", "--user-id", ADA, "--tenant", "nobody", code=2).err
    assert "--tenant 'nobody': the schema file lists no such tenant (keyed, placed)" in said
    said = pipeline.ops("access", "--user-id", ADA, "--tenant", "placed", code=2).err
    assert "--tenant: nobody knows whose the rows of rejects are, which have no column from hit.tenant" in said


@pytest.mark.slow
def test_all_rows_of_a_tenant_go_and_no_others(pipeline: Pipeline) -> None:
    rejects = schemas.REJECTS.replace("stage:", f"{COLUMN}\n      stage:", 1)
    pipeline.provision(LIST + schemas.text(COLUMN, rejects=rejects))
    tenants_of = ("keyed", "placed", None)
    pipeline.load("events", [row(f"{n}", user_id=f"u{n}", tenant=tenant) for n, tenant in enumerate(tenants_of)])
    reject = {"day": str(DAY), "received_at": NOON.isoformat(), "stage": "loader", "reason": "bigquery", "hit": {}}
    pipeline.load("rejects", [{**reject, "event_id": f"{n}", "tenant": tenant} for n, tenant in enumerate(tenants_of)])
    lines = [_hit(f"u{n}", tenant=tenant or "") for n, tenant in enumerate(tenants_of)]
    pipeline.bury(*hit.pack([hit.encode(one) for one in lines], PACK))
    before = log_rows(pipeline)

    for arguments in (("--everyone",), ("--everyone", "--tenant", "placed", "--user-id", "u1")):
        assert "--everyone goes with --tenant alone" in pipeline.ops("forget", *arguments, code=2).err
    receipt = forget(pipeline, "--tenant", "placed", "--everyone")
    assert (receipt["tenant"], receipt["people"], receipt["dead_letters"]) == ("placed", 0, 1)
    assert receipt["deleted"] == {"events": 1, "rejects": 1, "conflicts": 0}
    assert log_rows(pipeline) == without(before, "placed")
    ((text, _),) = buried(pipeline)
    assert [name in text for name in ("user_id=u0", "user_id=u1", "user_id=u2")] == [True, False, True]
    assert forget(pipeline, "--tenant", "keyed", "--everyone")["follows"] == []
    assert forget(pipeline, "--tenant", "placed", "--user-id", "u1")["follows"] == []
    assert forget(pipeline, "--tenant", "placed", "--everyone")["follows"] == [receipt["erasure_id"]]
