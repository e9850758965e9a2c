"""`python -m services.ops privacy`: what is in force, how long data stays, and what became of each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.shared.privacy import PRESETS, SIGNALS
from tests.ops import schemas
from tests.ops.conftest import Pipeline

COLUMNS = (
    "anonymous_id: {type: STRING, from: param.anonymous_id}",
    "consent: {type: STRING, from: [hit.opt_out, param.consent]}",
    "ip: {type: STRING, from: hit.ip}",
    "user_agent: {type: STRING, from: header.user-agent}",
    "url: {type: STRING, from: param.url}",
)
SCHEMA = schemas.text(*COLUMNS, table="partition: day\nexpire_days: 400\nrequire_any: [user_id, anonymous_id]")
BECAME = {
    "off": "a row of events with address, with ids, with browser",
    "balanced": "a row of events without address, without ids, without browser",
    "strict": "no row",
}


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.provision(SCHEMA)
    return pipeline


@pytest.mark.parametrize("preset", PRESETS)
def test_each_signal_is_treated_as_the_preset_says_and_shown(shop: Pipeline, preset: str) -> None:
    with shop.collector(PIPE_PRIVACY=preset) as url, shop.services("processor", "loader"):
        report: dict[str, Any] = shop.ops("privacy", "--privacy", preset, "--url", url, "--json").json
    assert (report["preset"], report["schema_file"]) == (preset, shop.schema.digest)
    plain, *signals = report["evidence"]
    assert [one["sent"] for one in signals] == list(SIGNALS)
    assert {one["found"] for one in signals} == {BECAME[preset]}
    address = "without" if preset == "strict" else "with"
    assert plain["found"] == f"a row of events {address} address, with ids, with browser"


def test_a_collector_that_does_otherwise_is_found_out(shop: Pipeline) -> None:
    with shop.collector(PIPE_PRIVACY="off") as url, shop.services("processor", "loader"):
        report = shop.ops("privacy", "--privacy", "balanced", "--url", url, "--json", code=1).json
        assert not any(one["as_the_policy_says"] for one in report["evidence"])
        assert "FAULT: ids; FAULT: the browser; FAULT: an address" in report["evidence"][1]["found"]
        text = shop.ops("privacy", "--privacy", "strict", "--url", url, code=1).out
    assert "NOT SO      gpc" in text and "FAULT: it is stored" in text


def test_how_long_data_stays_is_what_google_says(shop: Pipeline) -> None:
    report = shop.ops("privacy", "--json").json
    kept = {one["table"]: one["in_bigquery"] for one in report["tables"]}
    assert kept == {"events": 400, "rejects": None, "conflicts": None, "erasures": None, "tallies": 62}
    assert {one["keeps_days"] for one in report["subscriptions"]} == {7, 31}
    text = shop.ops("privacy").out
    assert "table events               400 days; deleted rows can be restored for 168 hours" in text
    assert "dead letters                          31 days at most" in text
    assert "Evidence: none taken" in text
    other = shop.ops("privacy", "--dead-subscription", "nobodys-letters", "--json").json["subscriptions"][-1]
    assert (other["subscription"], other["keeps_days"]) == ("nobodys-letters", "not there: provision it")


def test_a_row_that_does_not_come_is_no_evidence(shop: Pipeline) -> None:
    with shop.collector() as url:
        report = shop.ops("privacy", "--url", url, "--wait", "0", "--json", code=1).json
    assert {one["found"] for one in report["evidence"]} == {"no row; FAULT: no row in time"}


def test_a_wrong_preset_and_a_collector_that_is_not_there_are_named(
    shop: Pipeline, free_port: int, tmp_path: Path
) -> None:
    shop.env = {**shop.env, "PIPE_PRIVACY": "tight"}
    log = tmp_path / "access.log"
    log.touch()
    for command in (("privacy",), ("ingest", str(log))):
        assert "PIPE_PRIVACY='tight': use one of strict, balanced, off" in shop.ops(*command, code=2).err
    done = shop.ops("privacy", "--privacy", "off", "--url", f"http://127.0.0.1:{free_port}", code=1)
    assert done.err.startswith("privacy: the collector does not answer: ") and done.out == ""
