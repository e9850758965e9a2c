"""What a request would become, by the real collector and processor code in this process; nothing is sent."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

from local.refusal import Refused
from local.story import Reading
from services.ops import explain, pasted, sample
from services.ops.deployment import CommandRefused
from services.shared import privacy
from services.shared.config import ConfigError
from services.shared.schema import Schema

MOST_EVENTS = 100  # of one request that are told
_AT_ONCE = 2  # each is a collector of its own


class Explanation:
    """By the settings of the stack's collector, in `environ`."""

    def __init__(self, schema: Schema, reading: Reading, environ: Mapping[str, str]) -> None:
        self._schema, self._reading = schema, reading
        preset = environ.get("PIPE_PRIVACY", privacy.BALANCED)
        self._config = sample.settings(environ, preset, environ.get("PIPE_HASH_KEY_FILE", ""))
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def explain(self, text: str, protocol: str | None) -> dict[str, Any]:
        """The story of the first event, those of the others in `others`. Raises Refused."""
        try:
            found = pasted.read(text, protocol)
            async with self._slots:
                captured = await sample.send(self._config, self._schema, found.request)
                bare = await sample.send(self._config, sample.unprotected(self._schema), found.request)
        except (CommandRefused, ConfigError) as error:
            raise Refused(str(error)) from error
        now = time.time_ns() // 1000
        stories = [self._reading.of_hit(one, now) for one in captured.hits[:MOST_EVENTS]]
        if len(bare.hits) == len(captured.hits):
            for story, *pair in zip(stories, bare.hits, captured.hits, strict=False):
                story["privacy"] = explain.protected(*pair)
        said = {
            "reply": {"status": captured.status, "type": captured.media, "text": captured.reply},
            "secrets": captured.removed,
            "opt_outs": captured.opt_outs,
            "guessed": found.guessed,
            "more": max(0, len(captured.hits) - MOST_EVENTS),
        }
        if not stories:
            return {**_NOTHING, "note": _why(captured), **said}
        first, *others = stories
        note = "this is what it would become; nothing was sent"
        return {**first, "note": note, "others": list(itertools.islice(others, MOST_EVENTS - 1)), **said}


_NOTHING: dict[str, Any] = {
    "event_id": None,
    "found": False,
    "outcome": "nothing",
    "protocol": None,
    "table": None,
    "steps": [],
    "empty": [],
    "unknown": [],
    "kept_in": None,
    "changed": {},
    "refused": [],
    "privacy": None,
    "curl": None,
    "others": [],
}


def _why(captured: sample.Captured) -> str:
    if captured.opt_outs:
        return "its sender opted out, and such events are dropped: nothing is stored"
    return f"the collector answers {captured.status} and keeps nothing" + (
        f": {captured.reply}" if captured.reply else ""
    )
