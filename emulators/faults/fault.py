"""What a fault says: one JSON object, one class an effect, and how it is read and refused.

Which calls it strikes is decided in `faults`, what then happens in `outage`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Delay = Annotated[float, Meta(gt=0, le=3_600)]  # seconds
Rate = Annotated[float, Meta(gt=0)]  # a second

CODES = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class BadFault(Exception):
    """A fault that cannot be set, and why."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="effect"):
    """The fields that every effect has."""

    method: str = "*"  # a glob on the names of methods, such as Publish, AppendRows, jobs.*
    resource: str | None = None  # a glob on names; None strikes calls without a resource too
    share: Share = 1.0
    times: Annotated[int, Meta(ge=1)] | None = None  # how often it strikes at most
    seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None  # after which it ends by itself
    seed: int = 0  # of its random choices


class _Coded(Fault, frozen=True):
    code: str = "UNAVAILABLE"
    message: Annotated[str, Meta(min_length=1, max_length=1_000)] = "A fault that was asked for."

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"code is not a gRPC status: {self.code!r}; one of {', '.join(CODES)}")


class Error(_Coded, tag="error", frozen=True):
    """The call fails; its work is not done."""


class Latency(Fault, tag="latency", frozen=True):
    """The call waits so many seconds before its work is done."""

    delay: Delay


class LatencyAfter(Fault, tag="latency_after", frozen=True):
    """The work is done at once, the answer comes so many seconds late."""

    delay: Delay


class Blackhole(Fault, tag="blackhole", frozen=True):
    """No answer, and no work, while the fault is set; UNAVAILABLE when it ends."""


class LostReply(_Coded, tag="lost_reply", frozen=True):
    """The work is done, and the answer is an error."""


class DropStream(Fault, tag="drop_stream", frozen=True):
    """A stream ends with UNAVAILABLE, whichever comes first; at once where neither is said.

    Counted from when the stream was opened or the fault was set, whichever is later.
    """

    after_seconds: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    after_messages: Annotated[int, Meta(ge=1)] | None = None


class Duplicate(Fault, tag="duplicate", frozen=True):
    """A share of deliveries comes again, at once, with another ack id; any consumer may get it."""


class Reorder(Fault, tag="reorder", frozen=True):
    """Deliveries wait until so many are there, or the oldest for `delay` seconds, and come shuffled."""

    window: Annotated[int, Meta(ge=2, le=1_000)] = 100
    delay: Annotated[float, Meta(ge=0, le=60)] = 0.2


class DropAcks(Fault, tag="drop_acks", frozen=True):
    """A share of ack ids is ignored, though the call succeeds."""


class AppendError(_Coded, tag="append_error", frozen=True):
    """An append is refused as a whole in its response, and the stream stays open."""


class RowErrors(Fault, tag="row_errors", frozen=True):
    """A share of rows is refused by index, chosen by the row's content: the same row fails again."""

    message: Annotated[str, Meta(min_length=1, max_length=1_000)] = "A fault that was asked for."


class Quota(Fault, tag="quota", frozen=True):
    """Calls above any of the rates fail with RESOURCE_EXHAUSTED; a second's worth may come at once."""

    bytes_per_second: Rate | None = None
    rows_per_second: Rate | None = None
    requests_per_second: Rate | None = None

    def __post_init__(self) -> None:
        if not (self.bytes_per_second or self.rows_per_second or self.requests_per_second):
            raise ValueError("a quota has at least one of bytes_per_second, rows_per_second, requests_per_second")


@dataclass(frozen=True)
class Vocabulary:
    """What one emulator can be asked for: its effects, and the methods that each of them can strike."""

    effects: Mapping[type[Fault], Collection[str]]

    def read(self, text: bytes) -> Fault:
        """Read a JSON object; raises `BadFault`."""
        names = {effect.__struct_config__.tag: methods for effect, methods in self.effects.items()}
        try:
            given: Any = msgspec.json.decode(text)
            if not isinstance(given, dict):
                raise BadFault("a fault is a JSON object")
            effect = given.get("effect")
            if not isinstance(effect, str) or effect not in names:
                said = "has no effect" if effect is None else f"has an unknown effect, {effect!r}"
                raise BadFault(f"the fault {said}; this emulator has {', '.join(sorted(map(str, names)))}")
            fault: Fault = msgspec.convert(given, Union[tuple(self.effects)])  # noqa: UP007 - made at run time
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadFault(f"the fault cannot be used: {error}") from error
        methods = names[effect]
        if not any(fnmatchcase(method, fault.method) for method in methods):
            raise BadFault(f"no method of {effect} matches {fault.method!r}; it has {', '.join(sorted(methods))}")
        return fault
