"""STAND-IN until branch j-signals is merged: sees no signal."""

from __future__ import annotations

from collections.abc import Mapping

from services.shared.privacy import Privacy

HEADERS = ("sec-gpc", "dnt", "sp-anonymous")


class Signals:
    def __init__(self, privacy: Privacy) -> None:
        pass

    def passes(self, query: bytes) -> bool:
        return True

    def of_headers(self, headers: Mapping[str, str]) -> str:
        return ""

    def of_params(self, query: str) -> str:
        return ""

    def of_item(self, item: bytes | str) -> str:
        return ""
