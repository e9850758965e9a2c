"""The one way this emulator says no."""

from __future__ import annotations

from grpc import StatusCode


class Refused(Exception):
    """A call that ends with a gRPC status other than OK; `text` is what the caller reads."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


def invalid(text: str) -> Refused:
    return Refused(StatusCode.INVALID_ARGUMENT, text)


def not_found(name: str) -> Refused:
    return Refused(StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")


def already_exists(name: str) -> Refused:
    short = name.rpartition("/")[2]
    return Refused(StatusCode.ALREADY_EXISTS, f"Resource already exists in the project (resource={short}).")


def unsupported(what: str) -> Refused:
    return Refused(StatusCode.UNIMPLEMENTED, f"{what} is not supported by this emulator.")
