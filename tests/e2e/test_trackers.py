"""Every tracker's path through real processes: what is accepted is loaded or rejected, exactly once."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from services.collector.routes import PROTOCOLS
from tests.contract import strange
from tests.e2e.conftest import Stack
from tests.process import wait_for

SOME = ("good ones", "items of every type", "lines of every kind", "half of gzip")  # tests/contract has the others


def _settled(stack: Stack) -> dict[str, Any]:
    """The ledger once nothing is on its way.

    What the page tells may be two seconds old: the second look that has ended from now on has also begun after now. In
    one, a service that is busy may not have answered.
    """
    began, looks = time.time(), set[float]()

    def settled() -> dict[str, Any] | None:
        state = requests.get(f"http://127.0.0.1:{stack.ports['page']}/api/state", timeout=60).json()
        looks.update({state["at"]} if state["at"] > began else ())
        now: dict[str, Any] = state["ledger"]
        fresh = len(looks) > 1 and now["error"] is None
        return now if fresh and now["in_flight"] == now["spooled"] == 0 else None

    found: dict[str, Any] = wait_for(settled, 60, "the ledger")
    return found


@pytest.mark.slow
def test_the_ledger_closes_over_bad_and_good_bodies_of_every_path(stack: Stack) -> None:
    before = _settled(stack)
    wanted = 0
    with requests.Session() as http:
        for protocol in PROTOCOLS:
            for route in strange.kept(protocol):
                for sent in strange.bodies(protocol, route) if "POST" in route.methods else ():
                    if sent.name in SOME:
                        reply = http.post(
                            stack.collector + strange.path(route), data=sent.body, headers=sent.headers, timeout=60
                        )
                        assert reply.status_code < 300 or route.own, f"{route.path}: {sent.name}"
                        wanted += sent.events or 0
    after = _settled(stack)
    change = {name: after[name] - before[name] for name in ("collected", "loaded", "rejected", "dead", "missing")}
    assert change["collected"] >= wanted
    assert change["collected"] == change["loaded"] + change["rejected"]
    assert (change["dead"], change["missing"]) == (0, 0)
    assert change["loaded"] >= wanted // 8
    said = stack.process.output()
    assert strange.SECRET not in said, [line for line in said.splitlines() if strange.SECRET in line][:3]
    rejects = stack.query("SELECT JSON_VALUE(hit, '$.via') AS via FROM pixelpipe.rejects WHERE reason = 'bad_body'")
    assert {row["via"].partition(".")[0] for row in rejects if row["via"]} >= set(PROTOCOLS)
