"""Outages to rehearse: faults of the emulators by name, in words, and as they are set and removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from local.refusal import Refused
from local.scrape import SECONDS, NoAnswer, ask_json
from local.watched import EMULATORS

_NAMES = {"pubsub": "Pub/Sub", "bigquery": "BigQuery"}
EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "name": "Pub/Sub is down",
        "text": "No call succeeds for 30 s. The collector replies all the same and spools what it takes; afterwards "
        "everything is loaded.",
        "fault": {"target": "pubsub", "effect": "error", "seconds": 30},
    },
    {
        "name": "Pub/Sub is slow",
        "text": "Publishing takes 2 s longer for a minute: replies wait, and nothing is lost.",
        "fault": {"target": "pubsub", "effect": "latency", "method": "Publish", "delay": 2, "seconds": 60},
    },
    {
        "name": "Messages are delivered twice",
        "text": "Pub/Sub delivers every message twice for a minute: duplicates are dropped, each event counts once.",
        "fault": {"target": "pubsub", "effect": "duplicate", "share": 1, "seconds": 60},
    },
    {
        "name": "BigQuery is down",
        "text": "No append succeeds for 30 s: rows wait in Pub/Sub and in the loader, then they are written.",
        "fault": {"target": "bigquery", "effect": "error", "method": "AppendRows", "seconds": 30},
    },
    {
        "name": "BigQuery is slow",
        "text": "Each append takes 3 s for a minute.",
        "fault": {"target": "bigquery", "effect": "latency", "method": "AppendRows", "delay": 3, "seconds": 60},
    },
    {
        "name": "BigQuery refuses rows",
        "text": "A tenth of the rows is refused for a minute: they go to rejects, the others are loaded.",
        "fault": {"target": "bigquery", "effect": "row_errors", "share": 0.1, "seconds": 60},
    },
    {
        "name": "BigQuery's answer is lost",
        "text": "The next append is done, but its answer is lost: the loader writes again, and the view counts once.",
        "fault": {"target": "bigquery", "effect": "lost_reply", "method": "AppendRows", "times": 1, "seconds": 300},
    },
)


async def listed(session: aiohttp.ClientSession, control: Mapping[str, str]) -> list[dict[str, Any]]:
    """The faults that are set, as /api/state has them; of an emulator that does not answer none."""
    found: list[dict[str, Any]] = []
    for target, url in control.items():
        try:
            faults = (await ask_json(session, target, f"{url}/faults"))["faults"]
        except (NoAnswer, KeyError):
            continue
        found += [shown(target, fault) for fault in faults]
    return found


def shown(target: str, fault: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{target}-{fault['id']}",
        "target": target,
        "effect": fault["effect"],
        "text": in_words(target, fault),
        "expires_in": fault["ends_in"],
        "applied": fault["applied"],
        "fault": {name: value for name, value in fault.items() if name not in ("id", "applied", "ends_in")},
    }


def in_words(target: str, fault: Mapping[str, Any]) -> str:
    """Such as: Pub/Sub's Publish fails with UNAVAILABLE, for 12 s more."""
    method = fault.get("method", "*")
    what = f"{_NAMES[target]}'s {'calls' if method == '*' else method}"
    effects = {
        "error": f"{what}: error {fault.get('code')}",
        "latency": f"{what}: {fault.get('delay')} s late",
        "latency_after": f"{what}: done, and answered {fault.get('delay')} s late",
        "blackhole": f"{what}: no answer",
        "lost_reply": f"{what}: done, and the answer is lost",
        "drop_stream": f"{what}: streams break",
        "duplicate": f"{_NAMES[target]} delivers twice",
        "reorder": f"{_NAMES[target]} delivers out of order",
        "drop_acks": f"{_NAMES[target]} ignores acks",
        "append_error": f"{_NAMES[target]} refuses appends with {fault.get('code')}",
        "row_errors": f"{_NAMES[target]} refuses rows",
        "quota": f"{_NAMES[target]}'s quota is low",
    }
    text = effects.get(fault["effect"], f"{what}: {fault['effect']}")
    if (share := fault.get("share", 1)) < 1:
        text += f", {share:.0%} of them"
    if (times := fault.get("times")) is not None:
        text += f", at most {times} times"
    if (left := fault.get("ends_in")) is not None:
        text += f", for {max(0, left):.0f} s more"
    return text


async def add(session: aiohttp.ClientSession, control: Mapping[str, str], wanted: dict[str, Any]) -> dict[str, Any]:
    """Set one: {"target", "effect", …} with the fields that the emulator has. Raises Refused with its reason."""
    target = wanted.pop("target", None)
    if target not in EMULATORS:
        raise Refused(f"target: use one of {', '.join(EMULATORS)}")
    return shown(target, await _send(session, control, target, "POST", "/faults", wanted))


async def remove(session: aiohttp.ClientSession, control: Mapping[str, str], name: str) -> dict[str, Any]:
    """Raises Refused, also where none of that id is set."""
    target, _, number = name.partition("-")
    if target not in EMULATORS or not (number.isascii() and number.isdigit()):
        raise Refused(f"no fault {name[:40]!r} is set", HTTPStatus.NOT_FOUND)
    return await _send(session, control, target, "DELETE", f"/faults/{number}")


async def clear(session: aiohttp.ClientSession, control: Mapping[str, str]) -> dict[str, Any]:
    removed = [(await _send(session, control, target, "DELETE", "/faults"))["removed"] for target in EMULATORS]
    return {"removed": sum(removed)}


async def _send(
    session: aiohttp.ClientSession,
    control: Mapping[str, str],
    target: str,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    limit = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with session.request(method, control[target] + path, json=body, timeout=limit) as reply:
            answer: dict[str, Any] = json.loads(await reply.text())
    except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
        raise Refused(f"the {target} emulator does not answer", HTTPStatus.SERVICE_UNAVAILABLE) from error
    if reply.status >= HTTPStatus.BAD_REQUEST:
        raise Refused(str(answer.get("error")), reply.status)
    return answer
