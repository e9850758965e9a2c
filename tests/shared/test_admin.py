"""What the admin port says of a service's life, over real HTTP."""

from __future__ import annotations

import aiohttp
from prometheus_client import CollectorRegistry

from services.shared.admin import Admin
from services.shared.background import Background
from tests.waiting import until


async def _get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_step_that_does_not_move_fails_liveness_until_it_does() -> None:
    async with Background() as background, Admin("127.0.0.1", 0, CollectorRegistry(), background) as admin:
        step = background.step("the step", 0.05)
        assert await _get(admin.port, "/livez") == (200, "alive\n")
        step.moved()

        async def stuck() -> bool:
            status, text = await _get(admin.port, "/livez")
            return status == 503 and text.startswith("the step has not moved for ")

        await until(stuck, "the step to be stuck")
        assert (await _get(admin.port, "/readyz"))[1] == "starting\n"  # readiness is another matter
        step.idle()
        assert await _get(admin.port, "/livez") == (200, "alive\n")


async def test_readiness_says_why_not() -> None:
    async with Background() as background, Admin("127.0.0.1", 0, CollectorRegistry(), background) as admin:
        admin.ready(because="waiting for credentials")
        assert await _get(admin.port, "/readyz") == (503, "waiting for credentials\n")
        admin.ready()
        assert await _get(admin.port, "/readyz") == (200, "ready\n")
