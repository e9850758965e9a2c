"""Whose event it is, as rows and rejects say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.processor.parse import Parser, Reject, Row
from services.shared import hit, identity, schema_file
from services.shared.hit import Hit
from services.shared.policy import Policy
from services.shared.privacy import BALANCED, BY_PRESET
from tests import tenants
from tests.processor.test_log_entry import ENTRY
from tests.processor.test_worker import _now, _rows, _running
from tests.tenants import hashed
from tests.topics import Topics

LIST = f"""\
  parameter: tenant
  list:
    keyed: {{keys: [{hashed("k1")}], hosts: [k.example.com], rate: 5}}
    placed: {{hosts: [a.example.com], paths: [/placed/]}}
    said: {{}}
"""
SCHEMA = tenants.schema(LIST)
PARSER = Parser(SCHEMA)
NOW = 20_000 * 86_400_000_000


def _hit(query: str = "user_id=u", **fields: Any) -> Hit:
    return Hit(**{"id": identity.uuid7(NOW), "at": NOW, "method": "GET", "path": "/i", "query": query, **fields})


def _values(row: Row | Reject) -> dict[str, Any]:
    assert isinstance(row, Row), row
    return dict(zip((column.name for column in SCHEMA.tables[row.table].columns), row.values, strict=True))


def test_the_tenant_that_was_found_fills_the_column_and_a_claim_stays_a_parameter() -> None:
    found = _values(PARSER.parse(_hit("user_id=u&tenant=placed&tenant_id=said", tenant="keyed"), NOW))
    assert found["tenant"] == "keyed"
    assert json.loads(found["params"]) == {"tenant": "placed", "tenant_id": "said"}


def test_a_tenant_that_the_file_no_longer_lists_is_still_what_the_collector_found() -> None:
    assert _values(PARSER.parse(_hit(tenant="former"), NOW))["tenant"] == "former"


@pytest.mark.parametrize(
    "one",
    [
        _hit(),
        _hit("user_id=u&tenant=placed"),
        _hit("user_id=u&tenant=said"),  # the collector would have seen it, or it was hidden from it
        _hit("user_id=u&t%65nant=said"),
        _hit(headers={"host": "k.example.com"}),
        _hit("user_id=u&write_key=k1"),
        _hit(via="segment.track", text="not a message"),
        _hit(method="POST", body=b"{"),
    ],
    ids=range(8),
)
def test_a_hit_of_no_tenant_is_a_reject_that_claims_none(one: Hit) -> None:
    refused = PARSER.parse(one, NOW)
    assert isinstance(refused, Reject) and refused.reason == "unknown_tenant"
    row = _values(PARSER.reject_row(one, refused, NOW))
    assert (row["tenant"], row["reason"]) == (None, "unknown_tenant")


@pytest.mark.parametrize(
    "one", [_hit(headers={"host": "A.example.com:443"}), _hit(path="/placed/i.gif")], ids=["host", "path"]
)
def test_a_hit_of_before_there_were_tenants_is_known_by_host_and_path(one: Hit) -> None:
    assert _values(PARSER.parse(one, NOW))["tenant"] == "placed"


def test_a_hit_over_the_rate_is_a_reject_of_its_tenant() -> None:
    one = _hit(tenant="keyed", limited=True)
    refused = PARSER.parse(one, NOW)
    assert isinstance(refused, Reject) and refused.reason == "limited"
    assert _values(PARSER.reject_row(one, refused, NOW))["tenant"] == "keyed"


def test_without_tenants_a_parameter_says_it() -> None:
    parser = Parser(schema_file.parse(tenants.text(LIST).partition("\ntables:")[2].join(["tables:", ""])))
    found = _values(parser.parse(_hit("user_id=u&tenant=anyone"), NOW))
    assert found["tenant"] == "anyone"
    assert _values(parser.parse(_hit("user_id=u"), NOW))["tenant"] is None


def _entry(url: str, number: int) -> dict[str, Any]:
    request = {**ENTRY["httpRequest"], "requestUrl": url}
    return {**ENTRY, "insertId": f"id-{number}", "httpRequest": request}


async def test_log_entries_are_of_the_tenant_of_their_url(topics: Topics, tmp_path: Path) -> None:
    wanted = {
        "https://x.example.com/i?user_id=1&write_key=k1": "keyed",
        "https://k.example.com/i?user_id=2": "keyed",
        "https://a.example.com:443/i?user_id=3&write_key=no": "placed",
        "https://x.example.com/placed/i?user_id=4": "placed",
        "https://x.example.com/i?user_id=5&tenant=said": "said",
        "https://k.example.com/i?user_id=6&write_key=no": None,
        "https://x.example.com/i?user_id=7&tenant=keyed": None,
    }
    entries = [_entry(url, number) for number, url in enumerate(wanted)]
    async with _running(topics, schema=tenants.file(tmp_path, LIST)):
        topics.publish("hits", json.dumps(entries).encode())
        found = await _rows(topics, 2)
    events = {row["user_id"]: row["tenant"] for table, row in found if table == "events"}
    assert events == {str(number): name for number, name in enumerate(wanted.values(), 1) if name}
    rejects = [(row["tenant"], row["reason"]) for table, row in found if table == "rejects"]
    assert rejects == [(None, "unknown_tenant")] * 2


def test_a_log_entry_of_a_tenant_whose_events_are_opted_out_is_anonymized_and_its_key_is_removed() -> None:
    shop = f"    shop: {{keys: {hashed('k3y')}, consent: denied}}\n"
    listed = tenants.schema(f"  list:\n{shop}    other: {{hosts: o.example.com}}\n")
    policy = Policy(BY_PRESET[BALANCED], tenants=listed.tenants)
    found = policy.apply(_hit("user_id=u&n=1&write_key=k3y", ip="192.0.2.1"))
    assert found is not None
    assert (found.tenant, found.opt_out, found.anonymized, found.ip) == ("shop", "consent", True, "")
    assert found.query == "n=1"
    other = policy.apply(_hit("user_id=u&write_key=no", headers={"host": "o.example.com"}))
    assert other is not None and (other.tenant, other.opt_out, other.anonymized) == ("other", "", False)


async def test_a_pack_of_several_tenants(topics: Topics, tmp_path: Path) -> None:
    now = _now()
    made = [_hit(id=identity.uuid7(now), at=now, tenant=name) for name in ("keyed", "", "placed")]
    async with _running(topics, schema=tenants.file(tmp_path, LIST)):
        topics.publish("hits", *hit.pack([hit.encode(one) for one in made], identity.uuid7(now)))
        found = await _rows(topics, 2)
    assert sorted((table, row["tenant"]) for table, row in found if table == "events") == [
        ("events", "keyed"),
        ("events", "placed"),
    ]
    assert [row["reason"] for table, row in found if table == "rejects"] == ["unknown_tenant"]
