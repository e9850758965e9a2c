"""STAND-IN until branch j-guard is merged: passes everything through."""

from __future__ import annotations

from collections.abc import Callable

from services.shared.hit import Hit
from services.shared.privacy import Privacy


class HashKeys:
    pass


class Guard:
    def __init__(
        self, privacy: Privacy, keys: HashKeys | None = None, removed: Callable[[str], None] = lambda name: None
    ) -> None:
        pass

    def passes(self, query: bytes) -> bool:
        return True

    def query(self, text: str, anonymize: bool) -> str:
        return text

    def json(self, item: bytes, anonymize: bool) -> bytes:
        return item

    def text(self, item: str, anonymize: bool) -> str:
        return item

    def headers(self, headers: dict[str, str], anonymize: bool) -> dict[str, str]:
        return headers

    def ip(self, ip: str, anonymize: bool) -> str:
        return ip

    def hit(self, hit: Hit, signal: str, anonymize: bool) -> Hit:
        return hit
