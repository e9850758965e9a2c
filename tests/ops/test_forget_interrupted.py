"""A run that is told to end says in its receipt what it did until then."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from services.ops import deployment, forget
from services.ops.__main__ import parser
from tests import process
from tests.ops.conftest import DEAD_SUBSCRIPTION, WAIT, Pipeline
from tests.ops.test_forget import ADA, Client, fill, log_rows, shop
from tests.ops.test_ledger import serving
from tests.process import wait_for
from tests.shared.test_reconciliation import scrapes

__all__ = ["shop"]  # a fixture


def test_a_run_that_is_interrupted_leaves_a_receipt_that_says_so(pipeline: Pipeline) -> None:
    seen: list[str] = []
    with serving(*scrapes().values(), asked=seen) as urls:
        environment = {**pipeline.env, "PIPE_PROJECT": pipeline.project, "PIPE_SCHEMA": str(pipeline.file)}
        options = ("--user-id", ADA, "--subscription", DEAD_SUBSCRIPTION, *(f"--admin={url}" for url in urls))
        child = process.start("services.ops", "forget", *options, env=environment, wait_ready=False)
        wait_for(lambda: len(seen) > 3, 60, "it to wait for what is on its way")
        assert child.stop(signal.SIGINT, timeout=60) == 130, child.output()
        assert "Traceback" not in child.output()
        child.log.unlink()
    (kept,) = pipeline.rows("SELECT * FROM pixelpipe.erasures")
    assert not kept["complete"]
    assert [one["why"] for one in kept["remains"] if one["open"]] == ["it was interrupted; run it again"]


@pytest.mark.parametrize("wait", [60, 0.1], ids=["waited for", "too long"])
def test_what_an_interrupted_run_deletes_is_in_its_receipt(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch, wait: float
) -> None:
    """The statement that runs at that moment is counted, or the receipt says that it is not; no other one begins."""
    fill(shop)
    before, began, goes_on = sum(map(len, log_rows(shop).values())), threading.Event(), threading.Event()

    def hold(number: int) -> None:
        began.set()
        assert goes_on.wait(60)

    client = Client(shop.client, hold)
    monkeypatch.setattr(forget, "STATEMENT_SECONDS", wait)
    monkeypatch.setattr(deployment, "bigquery_client", lambda project: client)
    for name in ("PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.setenv(name, shop.env[name])
    arguments = ("--project", shop.project, "--schema", str(shop.file), "--subscription", DEAD_SUBSCRIPTION)
    options = parser(["forget"]).parse_args(["forget", *arguments, *WAIT, "--user-id", ADA])

    async def interrupted() -> None:
        command = asyncio.create_task(forget.run(options))
        assert await asyncio.to_thread(began.wait, 60)
        command.cancel()
        if wait > 1:
            await asyncio.sleep(0)  # the command is told first
            goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await command
        goes_on.set()

    asyncio.run(interrupted())  # whose end waits for the thread
    (kept,) = shop.rows("SELECT * FROM pixelpipe.erasures")
    why = [one["why"] for one in kept["remains"] if one["open"]]
    gone = before - sum(map(len, log_rows(shop).values()))
    assert (client.deletes, gone, kept["complete"]) == (1, 3, False)
    if wait > 1:
        assert (kept["deleted"], why) == ({"clicks": 3}, ["it was interrupted; run it again"])
    else:
        assert kept["deleted"] == {"clicks": 0}
        assert why == ["a statement still ran, and no receipt counts its rows", "it was interrupted; run it again"]
