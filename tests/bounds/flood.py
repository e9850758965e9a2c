"""One tenant's flood: `python -m tests.bounds.flood PORT KEY`, pixels and posts as fast as they are answered.

Prints a line once it floods; ends when its standard input does, and then prints how many replies had each status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from tests.collector import wire

CONNECTIONS = 4  # of each kind
BATCH = 50  # events in one post


async def _send(port: int, request: bytes, statuses: Counter[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(request)
            statuses[(await wire.read(reader)).status] += 1
    finally:
        writer.close()


async def _run(port: int, key: str) -> None:
    pixel = wire.get(b"/i?write_key=%b&order_id=flood&type=view" % key.encode())
    events = json.dumps([{"write_key": key, "order_id": "flood", "n": number} for number in range(BATCH)]).encode()
    statuses: Counter[int] = Counter()
    requests = (pixel, wire.post(events))
    tasks = [asyncio.create_task(_send(port, one, statuses)) for one in requests for _ in range(CONNECTIONS)]
    print(json.dumps({"flooding": True}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
    print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), sys.argv[2]))
