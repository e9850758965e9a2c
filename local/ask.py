"""Reads a service's admin port for the page; a failure is explained in one line."""

from __future__ import annotations

from typing import Any

import aiohttp

from emulators.arguments import HOST

SECONDS = 1.0  # limit for one request; the page polls every few seconds


class NoAnswer(Exception):
    """A service did not answer; the text names it, the reason and its log."""


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
