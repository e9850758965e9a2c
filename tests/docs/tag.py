"""The tag of docs/tracker.md for pages with a strict policy, with the hash of the script as it is."""

from __future__ import annotations

import base64
from hashlib import sha256

from services.collector import scripts


def integrity() -> str:
    return "sha256-" + base64.b64encode(sha256(scripts.OWN.read_bytes()).digest()).decode()


def tag() -> str:
    source = "https://t.example.com"
    return (
        "```html\n"
        f'<script async src="{source}/p.js" integrity="{integrity()}"\n'
        '  crossorigin="anonymous"></script>\n'
        "```\n\n"
        "```\n"
        f"Content-Security-Policy: script-src '{integrity()}'; connect-src {source}\n"
        "```\n"
    )


def script() -> str:
    """The tracker in a page, with the hash that a strict Content-Security-Policy needs."""
    return (
        '```html\n<script async src="https://track.example.com/p.js"></script>\n```\n\n'
        f"Under a strict Content-Security-Policy its hash is `{integrity()}`.\n"
    )
