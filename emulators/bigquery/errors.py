"""Error responses with BigQuery's HTTP status, reason and wording."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """An error response; clients map its `reason` to the exception they raise."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def proto(self) -> dict[str, str]:
        """The ErrorProto that job statuses carry."""
        return {"reason": self.reason, "message": self.message}

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "code": self.status,
                "message": self.message,
                "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
                "status": STATUS_NAMES.get(self.status, HTTPStatus(self.status).phrase.upper().replace(" ", "_")),
            }
        }


def not_found(what: str) -> ApiError:
    return ApiError(404, "notFound", f"Not found: {what}")


def duplicate(what: str) -> ApiError:
    return ApiError(409, "duplicate", f"Already Exists: {what}")


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid", message)


def invalid_query(message: str) -> ApiError:
    return ApiError(400, "invalidQuery", message)


def unsupported(what: str) -> ApiError:
    """A construct that BigQuery may know and the emulator does not: always an error, never a guess."""
    return ApiError(400, "invalidQuery", f"The local BigQuery emulator does not support {what}")
