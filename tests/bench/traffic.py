"""Events as browsers send them: about 525 bytes each, random ids, user agents of which few are frequent, campaigns."""

from __future__ import annotations

import random
import time
from typing import Any
from urllib.parse import quote

import msgspec

from services.shared import hit, identity
from services.shared.hit import Hit

USER_AGENTS = 400  # different ones
_REFERER = "https://shop.example.com/"


def agents(chance: random.Random) -> list[str]:
    """User agents to choose from, each in it as often as it is sent."""
    different = [_agent(chance) for _ in range(USER_AGENTS)]
    return chance.choices(different, [1 / (rank + 1) for rank in range(USER_AGENTS)], k=4_096)


def packs(count: int, hits: int, seed: int = 7) -> list[tuple[bytes, dict[str, str]]]:
    """So many messages of so many hits."""
    chance = random.Random(seed)
    now = time.time_ns() // 1000
    common = agents(chance)
    found = []
    for _ in range(count):
        lines = [hit.encode(event(chance, now, chance.choice(common))) for _ in range(hits)]
        found.append(hit.pack(lines, identity.uuid7(now)))
    return found


def orders(count: int, hits: int, seed: int = 7) -> list[tuple[bytes, dict[str, str]]]:
    """So many messages of so many hits, each an order that was posted: a cart of two items, shipping, a coupon."""
    chance = random.Random(seed)
    now = time.time_ns() // 1000
    common = agents(chance)
    found = []
    for _ in range(count):
        lines = []
        for _ in range(hits):
            one = event(chance, now, chance.choice(common))
            body = msgspec.json.encode(_order(chance, one.at))
            lines.append(hit.encode(msgspec.structs.replace(one, method="POST", query="", body=msgspec.Raw(body))))
        found.append(hit.pack(lines, identity.uuid7(now)))
    return found


def _order(chance: random.Random, at: int) -> dict[str, Any]:
    items = [
        {"product_id": f"sku-{chance.randrange(5_000)}", "quantity": chance.randint(1, 3), "price": 9.99}
        for _ in range(2)
    ]
    return {
        "user_id": chance.randbytes(12).hex(),
        "type": "order",
        "ts": at // 1000,
        "url": f"https://shop.example.com/p/{chance.randrange(5_000)}",
        "properties": {
            "products": items,
            "shipping": {"method": chance.choice(["Express", "Post"]), "cost": 4.9},
            "coupons": ["WELCOME"],
            "email": f" Ada.{chance.randrange(10_000)}@Example.com ",
            "total": chance.randrange(10_000) / 100,
            "currency": "EUR",
        },
    }


def _agent(chance: random.Random) -> str:
    version = chance.randint(100, 142)
    engine = "AppleWebKit/537.36 (KHTML, like Gecko)"
    phone = f"SM-{chance.choice('AFGS')}{chance.randint(100, 999)}B"
    return chance.choice(
        [
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {engine} Chrome/{version}.0.0.0 Safari/537.36",
            f"Mozilla/5.0 (Linux; Android {chance.randint(9, 15)}; {phone}) {engine} "
            f"Chrome/{version}.0.0.0 Mobile Safari/537.36",
            f"Mozilla/5.0 (iPhone; CPU iPhone OS {chance.randint(14, 18)}_{chance.randint(0, 7)} like Mac OS X) "
            "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
        ]
    )


def query(chance: random.Random, at: int) -> str:
    """Eight parameters of one event that happened at `at`, microseconds since 1970."""
    page = f"https://shop.example.com/p/{chance.randrange(5_000)}"
    if chance.random() < 0.2:
        page += f"?utm_source=newsletter&utm_medium=email&utm_campaign=week{chance.randrange(50)}"
    before = chance.choice(["https://www.google.com/", "https://shop.example.com/", "https://t.co/a", ""])
    parameters = [
        f"user_id={chance.randbytes(12).hex()}",
        f"type={chance.choice(['view', 'view', 'click', 'order'])}",
        f"tenant=shop{chance.randrange(20)}",
        f"url={quote(page, safe='')}",
        f"referrer={quote(before, safe='')}",
        f"ts={at // 1000}",
        f"screen={chance.choice(['1920x1080', '390x844'])}",
        f"n={chance.randrange(1_000)}",
    ]
    return "&".join(parameters)


def event(chance: random.Random, now: int, agent: str) -> Hit:
    """One hit of the second before `now`."""
    at = now - chance.randrange(1_000_000)
    return Hit(
        id=identity.uuid7(at, chance.randbytes(10)),
        at=at,
        method="GET",
        path="/pixel.gif",
        query=query(chance, at),
        headers={"user-agent": agent, "referer": _REFERER},
        ip=f"203.0.113.{chance.randrange(256)}",
    )
