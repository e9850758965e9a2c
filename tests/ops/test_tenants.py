"""Events of no tenant, and those over a rate, come back by hand; logs have their tenants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.shared.hit import Hit
from tests import tenants
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.ops.test_replay import EVENTS, NOW, REJECTS, refused, send
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
        refusal = pipeline.ops("replay", "--tenant", "nobody", code=1).err
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
