"""The unit of absolute figures: what `orjson.loads` takes for one event of 525 bytes on this machine, now.

Hosts differ, and one host drifts by half; a figure in units can be compared where one in microseconds cannot.
"""

from __future__ import annotations

import time

import orjson

EVENT = (
    b'{"id":"019abb3c-5a2e-7c41-9d0e-6f1b2c3d4e5f","at":1764064800123456,"method":"GET","path":"/pixel.gif",'
    b'"query":"user_id=507f1f77bcf86cd799439011&order_id=608a2f88cd&type=click&tenant=acme'
    b'&event_time=2026-11-25T10:00:00Z&screen=1920x1080&lang=en-GB&plan=pro&coupon=WELCOME10-26&n=42",'
    b'"headers":{"user-agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) '
    b'Chrome/142.0.0.0 Safari/537.36","referer":"https://shop.example.com/products/42",'
    b'"accept-language":"en-GB,en;q=0.9"},"ip":"203.0.113.77"}'
)
ROUNDS = 2_000


def us() -> float:
    """CPU microseconds of one `orjson.loads(EVENT)`: a sample of about 2 ms, to be taken between those of others.

    Of this thread: a client of Pub/Sub may have others, which are not to be counted.
    """
    started = time.thread_time()
    for _ in range(ROUNDS):
        orjson.loads(EVENT)
    return (time.thread_time() - started) / ROUNDS * 1e6
