"""What the page's API answers where it does not do what was asked."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """Answered with `status` and {"error": {"message"}}, one line that says why; `more` is such as line and column."""

    def __init__(self, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.status, self.more = status, more

    def shown(self) -> dict[str, Any]:
        return {"error": {"message": str(self), **self.more}}
