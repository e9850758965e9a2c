"""Outages to rehearse: faults of the emulators by name, in words, and as they are set and removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from local.refusal import Refused
from local.scrape import NoAnswer, ask_json
from local.watched import EMULATORS

_SECONDS = 15.0  # to set or remove one: someone has pressed a button, and waits
_NAMES = {"pubsub": "Pub/Sub", "bigquery": "BigQuery"}
_CALLS = {"*": "calls", "Publish": "publishing calls", "AppendRows": "appends"}
EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "name": "Pub/Sub is down",
        "text": "No call succeeds for 30 s. The collector replies all the same and spools what it takes; afterwards "
        "everything is loaded.",
        "fault": {"target": "pubsub", "effect": "error", "seconds": 30},
    },
    {
        "name": "Pub/Sub is slow",
        "text": "Publishing takes 0.3 s longer for a minute: replies wait for it, and nothing is lost.",
        "fault": {"target": "pubsub", "effect": "latency", "method": "Publish", "delay": 0.3, "seconds": 60},
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
        "means": meaning(target, fault),
        "expires_in": fault["ends_in"],
        "applied": fault["applied"],
        "fault": {name: value for name, value in fault.items() if name not in ("id", "applied", "ends_in")},
    }


def in_words(target: str, fault: Mapping[str, Any]) -> str:
    """Such as: Pub/Sub is down: all calls fail with UNAVAILABLE."""
    effect, share, delay = fault["effect"], fault.get("share", 1), fault.get("delay")
    all_of = "all" if share >= 1 else f"{share:.0%} of"
    method = fault.get("method", "*")
    calls = f"{all_of} {_CALLS.get(method, f'calls of {method}')}"
    effects = {
        "error": f"{calls} fail with {fault.get('code')}",
        "latency": f"{calls} take {delay} s longer",
        "latency_after": f"{calls} are answered {delay} s late",
        "blackhole": f"{calls} get no answer",
        "lost_reply": f"{calls} are done, but the answer is lost",
        "drop_stream": f"{calls} break off",
        "duplicate": f"{all_of} messages are delivered twice",
        "reorder": "messages are delivered out of order",
        "drop_acks": f"{all_of} acks are ignored, and their messages delivered again",
        "append_error": f"{all_of} appends are refused with {fault.get('code')}",
        "row_errors": f"{all_of} rows are refused",
        "quota": "its quota is low",
    }
    down = share >= 1 and effect in ("error", "blackhole")
    who = _NAMES[target] + (" is down" if down else " is slow" if effect.startswith("latency") else "")
    times = fault.get("times")
    limit = "" if times is None else ", once" if times == 1 else f", at most {times} times"
    return f"{who}: {effects.get(effect, effect)}{limit}"


def meaning(target: str, fault: Mapping[str, Any]) -> str:
    """What becomes of events meanwhile."""
    effect = fault["effect"]
    if effect in ("duplicate", "reorder", "drop_acks"):
        return "What is delivered again is dropped: each event counts once."
    if effect == "row_errors":
        return "They become rejects, with the reason; nothing is lost."
    if effect in ("lost_reply", "latency_after"):
        return "What is sent again counts once."
    if target == "bigquery":
        return "Rows wait in the loader and in Pub/Sub; nothing is lost."
    if fault.get("method", "*") not in _CALLS:
        return "Messages wait in Pub/Sub; nothing is lost."
    if effect == "latency":
        return "Replies wait for it, or the hits go to the collector's disk where it takes too long; nothing is lost."
    return "Hits wait on the collector's disk; nothing is lost."


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
    limit = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with session.request(method, control[target] + path, json=body, timeout=limit) as reply:
            answer: dict[str, Any] = json.loads(await reply.text())
    except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
        raise Refused(f"the {target} emulator does not answer", HTTPStatus.SERVICE_UNAVAILABLE) from error
    if reply.status >= HTTPStatus.BAD_REQUEST:
        raise Refused(str(answer.get("error")), reply.status)
    return answer
