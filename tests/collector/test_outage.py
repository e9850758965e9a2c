"""The collector while Pub/Sub is away: real processes, killed for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from services.shared import hit
from tests import process
from tests.process import Child, wait_for
from tests.topics import Topics


class Outage:
    """A Pub/Sub that hangs and goes on, and a collector that publishes to it."""

    def __init__(self, pubsub: Child, project: str, spool: Path) -> None:
        self.pubsub, self.project, self.spool = pubsub, project, spool
        self.collector: Child | None = None
        self.topics = Topics(project)
        self.topics.create("hits", "work")

    def pubsub_down(self) -> None:
        """From now on it takes calls and answers none."""
        self.pubsub.process.send_signal(signal.SIGSTOP)

    def pubsub_up(self) -> Topics:
        self.pubsub.process.send_signal(signal.SIGCONT)
        return self.topics

    def pubsub_killed(self) -> None:
        self.pubsub.stop(signal.SIGKILL)

    def pubsub_restarted(self) -> Topics:
        """On the same port, and it has forgotten everything."""
        self.pubsub = process.start("emulators.pubsub", "--port", str(self.pubsub.ready["grpc"]))
        self.topics.create("hits", "work")
        return self.topics

    def collector_up(self, **settings: str) -> str:
        self.collector = process.start_collector(self.project, **{"PIPE_SPOOL": str(self.spool), **settings})
        return f"http://127.0.0.1:{self.collector.ready['port']}"

    def admin(self, path: str) -> tuple[int, str]:
        assert self.collector is not None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.collector.ready['admin_port']}{path}") as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        lines = self.admin("/metrics")[1].splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))

    def stop(self) -> None:
        self.pubsub_up()
        if self.collector is not None:
            self.collector.stop(timeout=60)


@pytest.fixture(scope="module")
def pubsub() -> Iterator[Child]:
    """An emulator of this module's own, which its tests may stop."""
    with process.running("emulators.pubsub", "--port", "0") as emulator:
        yield emulator


@contextmanager
def _outage(pubsub: Child, project: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{pubsub.ready['grpc']}")
    outage = Outage(pubsub, project, folder / "spool")
    try:
        yield outage
    finally:
        outage.stop()


@pytest.fixture
def outage(pubsub: Child, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    with _outage(pubsub, project, tmp_path, monkeypatch) as outage:
        yield outage


@pytest.fixture
def mortal(free_port: int, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    """The same with an emulator that a test may kill."""
    emulator = process.start("emulators.pubsub", "--port", str(free_port))
    with _outage(emulator, project, tmp_path, monkeypatch) as outage:
        yield outage
    outage.pubsub.stop()


async def _fire(url: str, first: int, count: int) -> dict[int, int]:
    """The status of each hit, by its number."""
    statuses: dict[int, int] = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as http:

        async def one(number: int) -> None:
            try:
                async with http.get(f"{url}/i?n={number}") as reply:
                    statuses[number] = reply.status
            except aiohttp.ClientError:
                statuses[number] = 0

        await asyncio.gather(*(one(number) for number in range(first, first + count)))
    return statuses


def _received(topics: Topics, wanted: set[int]) -> dict[int, set[str]]:
    """The ids each number came with, once all that are wanted came."""
    found: dict[int, set[str]] = {}

    def all_there() -> bool:
        for message in topics.pull("work", wanted=1, timeout=60):
            for one in hit.unpack(message.data, dict(message.attributes)):
                found.setdefault(int(one.query.removeprefix("n=")), set()).add(one.id)
        return wanted <= set(found)

    wait_for(all_there, 60, "all acknowledged hits")
    return found


def _calm(outage: Outage) -> None:
    """Wait until Pub/Sub has all and answers in time; on a busy machine it may not do so at first."""
    wait_for(lambda: outage.metric("pixelpipe_collector_spool_packs") == 0, 60, "an empty spool")
    wait_for(lambda: outage.metric("pixelpipe_collector_breaker_state") == 0, 60, "a closed breaker")


@pytest.mark.parametrize("kind", ["outage", "mortal"])
async def test_hits_are_acknowledged_from_the_spool_and_published_after_the_outage(
    kind: str, request: pytest.FixtureRequest
) -> None:
    outage: Outage = request.getfixturevalue(kind)
    url = outage.collector_up()
    assert set((await _fire(url, 0, 50)).values()) == {200}
    _calm(outage)
    if kind == "mortal":
        outage.pubsub_killed()
    else:
        outage.pubsub_down()
    assert set((await _fire(url, 1000, 300)).values()) == {200}
    assert outage.metric("pixelpipe_collector_spool_hits") == 300
    assert outage.metric("pixelpipe_collector_breaker_state") > 0
    assert outage.admin("/readyz")[0] == 200
    topics = outage.pubsub_restarted() if kind == "mortal" else outage.pubsub_up()
    found = _received(topics, set(range(1000, 1300)))
    assert all(len(ids) == 1 for ids in found.values())
    _calm(outage)
    assert set((await _fire(url, 2000, 50)).values()) == {200}
    _received(topics, set(range(2000, 2050)))


async def test_what_a_killed_collector_spooled_its_successor_publishes(outage: Outage) -> None:
    url = outage.collector_up()
    outage.pubsub_down()
    statuses = await _fire(url, 0, 200)
    assert set(statuses.values()) == {200}
    assert outage.collector is not None
    outage.collector.stop(signal.SIGKILL)
    topics = outage.pubsub_up()
    outage.collector_up()
    assert outage.metric("pixelpipe_collector_spool_found_hits") == 200
    _received(topics, set(statuses))


@pytest.mark.slow
async def test_a_collector_killed_while_spooling_and_again_while_draining_loses_nothing(outage: Outage) -> None:
    url = outage.collector_up()
    outage.pubsub_down()
    firing = asyncio.create_task(_fire(url, 0, 4000))
    await asyncio.to_thread(wait_for, lambda: outage.metric("pixelpipe_collector_spool_hits") > 200, 60, "spooled hits")
    assert outage.collector is not None
    await asyncio.to_thread(outage.collector.stop, signal.SIGKILL)
    acknowledged = {number for number, status in (await firing).items() if status == 200}
    assert 100 < len(acknowledged) < 4000
    topics = outage.pubsub_up()
    outage.collector_up()
    first = topics.pull("work", wanted=1, timeout=60)
    outage.collector.stop(signal.SIGKILL)
    outage.collector_up()
    numbers = {
        int(one.query.removeprefix("n="))
        for message in first
        for one in hit.unpack(message.data, dict(message.attributes))
    }
    if acknowledged - numbers:
        numbers |= set(_received(topics, acknowledged - numbers))
    assert acknowledged <= numbers


async def test_sigterm_publishes_what_is_spooled_once_pubsub_is_back(outage: Outage) -> None:
    url = outage.collector_up(PIPE_SHUTDOWN_TIMEOUT_SECONDS="20")
    outage.pubsub_down()
    statuses = await _fire(url, 0, 100)
    assert set(statuses.values()) == {200}
    topics = outage.pubsub_up()
    assert outage.collector is not None
    assert await asyncio.to_thread(outage.collector.stop, timeout=60) == 0
    _received(topics, set(statuses))


async def test_a_full_spool_answers_503_and_readiness_says_so(outage: Outage) -> None:
    url = outage.collector_up(PIPE_SPOOL_MAX_BYTES=str(2**20), PIPE_SHUTDOWN_TIMEOUT_SECONDS="0")
    outage.pubsub_down()
    async with aiohttp.ClientSession() as http:
        for _ in range(20):
            noise = [{"n": number, "x": os.urandom(400).hex()} for number in range(900)]  # does not compress to nothing
            async with http.post(url + "/events", json=noise) as reply:
                if reply.status != 204:
                    break
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    status, text = await asyncio.to_thread(_until_unready, outage)
    assert (status, text.startswith("the spool is full")) == (503, True)


def _until_unready(outage: Outage) -> tuple[int, str]:
    found: tuple[int, str] = wait_for(
        lambda: answer if (answer := outage.admin("/readyz"))[0] == 503 else None, 60, "readiness to say so"
    )
    return found


async def test_without_a_spool_an_outage_is_503_and_ends_by_itself(outage: Outage) -> None:
    url = outage.collector_up(PIPE_SPOOL="")
    outage.pubsub_down()
    assert set((await _fire(url, 0, 10)).values()) == {503}
    topics = outage.pubsub_up()

    async def one_gets_through() -> int:
        number = 100
        while (await _fire(url, number, 1))[number] != 200:
            number += 1
        return number

    number = await asyncio.wait_for(one_gets_through(), 60)
    _received(topics, {number})


async def test_ack_immediate_replies_at_once_and_what_pubsub_never_got_is_lost(outage: Outage) -> None:
    # Long enough for a first call on a busy machine.
    url = outage.collector_up(PIPE_SPOOL="", PIPE_ACK="immediate", PIPE_PUBLISH_TIMEOUT_SECONDS="3")
    assert set((await _fire(url, 0, 10)).values()) == {200}
    settled = "pixelpipe_collector_hits_settled_total"
    wait_for(lambda: outage.metric(f'{settled}{{outcome="published"}}') == 10, 60, "published hits")
    outage.pubsub_down()
    assert set((await _fire(url, 100, 10)).values()) == {200}
    wait_for(lambda: outage.metric(f'{settled}{{outcome="unconfirmed"}}') == 10, 60, "hits given up")


def test_a_spool_of_the_old_kind_is_refused_at_start_in_one_line(outage: Outage) -> None:
    outage.spool.mkdir()
    (outage.spool / "hits.sqlite").write_bytes(b"SQLite format 3\0")
    env = {**os.environ, "PIPE_PROJECT": outage.project, "PIPE_ADMIN_PORT": "0", "PIPE_SPOOL": str(outage.spool)}
    env["PIPE_HOST"] = "127.0.0.1"
    command = [sys.executable, "-m", "services.collector"]
    ended = subprocess.run(command, env=env, cwd=process.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "hits.sqlite holds packs of an earlier version" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
