"""Asks a service of the running stack at its admin port, for the page; silence is explained in one line."""

from __future__ import annotations

from typing import Any

import aiohttp

from emulators.arguments import HOST

SECONDS = 1.0  # a service may take; the page asks again every few seconds


class NoAnswer(Exception):
    """Which service is silent, for how long or why, and where its log is."""


async def ask(session: aiohttp.ClientSession, child: dict[str, Any], path: str) -> tuple[int, str]:
    """Status and text of GET `path` at the admin port of one child of run.json. Raises NoAnswer."""
    url = f"http://{HOST}:{child['ports']['admin']}{path}"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=SECONDS)) as response:
            return response.status, await response.text(errors="replace")
    except TimeoutError as error:
        raise NoAnswer(f"{child['name']} did not answer in {SECONDS:g} s; see its log {child['log']}") from error
    except aiohttp.ClientError as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise NoAnswer(f"{child['name']} does not answer: {why}; see its log {child['log']}") from error
