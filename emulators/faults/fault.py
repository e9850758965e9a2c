"""The faults that can be set: a JSON object each, one class per effect, parsed and validated here.

`active_faults` decides which calls a fault applies to, `fault_runtime` what happens to them.
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
    resource: str | None = None  # a glob on names; None also matches calls without a resource
    share: Share = 1.0
    times: Annotated[int, Meta(ge=1)] | None = None  # the most often it applies
    seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None  # after which it expires
    seed: int = 0  # of its random choices


class _Coded(Fault, frozen=True):
    code: str = "UNAVAILABLE"
    message: Annotated[str, Meta(min_length=1, max_length=1_000)] = "Injected fault."

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
    """A stream ends with UNAVAILABLE after whichever comes first; at once if neither is given.

    Counted from when the stream was opened or the fault was set, whichever is later.
    """

    after_seconds: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    after_messages: Annotated[int, Meta(ge=1)] | None = None


class Duplicate(Fault, tag="duplicate", frozen=True):
    """A share of deliveries is repeated at once, with another ack id, to any consumer."""


class Reorder(Fault, tag="reorder", frozen=True):
    """Deliveries wait until `window` are there or the oldest is `delay` seconds old, and come shuffled."""

    window: Annotated[int, Meta(ge=2, le=1_000)] = 100
    delay: Annotated[float, Meta(ge=0, le=60)] = 0.2


class DropAcks(Fault, tag="drop_acks", frozen=True):
    """A share of ack ids is ignored, though the call succeeds."""


class AppendError(_Coded, tag="append_error", frozen=True):
    """An append is refused as a whole in its response, and the stream stays open."""


class RowErrors(Fault, tag="row_errors", frozen=True):
    """A share of rows is refused by index, chosen by the row's content: the same row fails again."""

    message: Annotated[str, Meta(min_length=1, max_length=1_000)] = "Injected fault."


class Quota(Fault, tag="quota", frozen=True):
    """Calls above any of the rates fail with RESOURCE_EXHAUSTED; bursts of one second's worth pass."""

    bytes_per_second: Rate | None = None
    rows_per_second: Rate | None = None
    requests_per_second: Rate | None = None

    def __post_init__(self) -> None:
        if not (self.bytes_per_second or self.rows_per_second or self.requests_per_second):
            raise ValueError("a quota needs at least one of bytes_per_second, rows_per_second, requests_per_second")


@dataclass(frozen=True)
class Vocabulary:
    """What one emulator offers: its effects, and the methods that each can apply to."""

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
