"""The errors a call may end with."""

from __future__ import annotations

from grpc import StatusCode

# gRPC refuses trailers above 8 KiB, and sends each byte outside ASCII as three.
MAX_TEXT = 500


class PubsubError(Exception):
    """Ends a call with a gRPC status other than OK; `text`, cut at 500 characters, is what the caller reads."""

    def __init__(self, code: StatusCode, text: str) -> None:
        text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


def invalid(text: str) -> PubsubError:
    return PubsubError(StatusCode.INVALID_ARGUMENT, text)


def not_found(name: str) -> PubsubError:
    return PubsubError(StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")


def already_exists(name: str) -> PubsubError:
    short = name.rpartition("/")[2]
    return PubsubError(StatusCode.ALREADY_EXISTS, f"Resource already exists in the project (resource={short}).")


def unsupported(what: str) -> PubsubError:
    return PubsubError(StatusCode.UNIMPLEMENTED, f"{what} is not supported by this emulator.")
