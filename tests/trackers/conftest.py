from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp.web
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from local import query
from tests.e2e.conftest import start_stack
from tests.tools import require
from tests.trackers import npm, proxy
from tests.trackers.pipeline import Pipeline
from tests.trackers.proxy import Proxy

# A person's browser, as far as trackers look: they send nothing for a robot.
_OPTIONS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_PERSON = ("--disable-component-update", "--disable-sync", "--disable-blink-features=AutomationControlled")


@pytest.fixture(scope="package")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    env = {"PIPE_LINGER_SECONDS": "0.02", "PIPE_SCHEMA": str(npm.FOLDER / "schema.yaml")}
    running = start_stack(tmp_path_factory.mktemp("stack"), env)
    yield Pipeline(running.collector, query.client("local", running.bigquery))
    assert running.process.stop() == 0, running.process.output()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def shared_proxy(pipeline: Pipeline) -> AsyncIterator[Proxy]:
    async with proxy.running(pipeline.collector) as found:
        yield found


@pytest.fixture
def collector(shared_proxy: Proxy) -> Proxy:
    """The collector's address for trackers, with nothing sent yet."""
    shared_proxy.reset()
    return shared_proxy


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = require("chromium", "apt-get install chromium")
    async with async_playwright() as playwright:
        options = [*_OPTIONS.split(), *_PERSON]
        browser = await playwright.chromium.launch(executable_path=path, args=options, timeout=120_000)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A site of another origin than the collector's, with a page for each tracker: /NAME/."""
    scripts = tmp_path_factory.mktemp("scripts")
    npm.bundle(npm.PAGES, scripts)

    async def handle(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        file = scripts / Path(request.path).name
        if file.suffix == ".js" and file.is_file():
            return aiohttp.web.FileResponse(file)
        name = request.path.strip("/")
        page = f'<!doctype html><meta charset="utf-8"><title>Café 🙂</title><script src="/{name}.js"></script>'
        return aiohttp.web.Response(text=page, content_type="text/html")

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(handle))
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def mark() -> str:
    """A text that no other test sends."""
    return uuid.uuid4().hex
