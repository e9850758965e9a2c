"""Faults specific to BigQuery: the effects on offer, their error responses, and which rows they reject."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from emulators.bigquery.append import BadRows, RowError
from emulators.bigquery.errors import ApiError
from emulators.faults import fault
from emulators.faults.active_faults import ActiveFault, Call
from emulators.faults.fault import AppendError, RowErrors, Vocabulary
from emulators.faults.fault_runtime import InjectedError

APPEND = "AppendRows"
STREAM = "GetWriteStream"
# BigQuery's HTTP status and reason for a gRPC status; https://cloud.google.com/bigquery/docs/error-messages
_HTTP = {
    "CANCELLED": (400, "stopped"),
    "UNKNOWN": (500, "internalError"),
    "INVALID_ARGUMENT": (400, "invalid"),
    "DEADLINE_EXCEEDED": (504, "timeout"),
    "NOT_FOUND": (404, "notFound"),
    "ALREADY_EXISTS": (409, "duplicate"),
    "PERMISSION_DENIED": (403, "accessDenied"),
    "RESOURCE_EXHAUSTED": (403, "rateLimitExceeded"),
    "FAILED_PRECONDITION": (412, "conditionNotMet"),
    "ABORTED": (409, "aborted"),
    "OUT_OF_RANGE": (400, "outOfRange"),
    "UNIMPLEMENTED": (501, "notImplemented"),
    "INTERNAL": (500, "internalError"),
    "UNAVAILABLE": (503, "backendError"),
    "DATA_LOSS": (500, "internalError"),
    "UNAUTHENTICATED": (401, "authError"),
}


class AppendRefused(Exception):
    """An append_error fault: the append gets this error as its response, and the stream stays open."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def vocabulary(rest: Iterable[str]) -> Vocabulary:
    """The faults of both APIs; `rest` has the names of the REST methods."""
    every = [APPEND, STREAM, *rest]
    return Vocabulary(
        {
            fault.Error: every,
            fault.Latency: every,
            fault.LatencyAfter: every,
            fault.Blackhole: every,
            fault.LostReply: every,
            fault.Quota: every,
            fault.DropStream: (APPEND,),
            fault.AppendError: (APPEND,),
            fault.RowErrors: (APPEND,),
        }
    )


def table_call(method: str, key: tuple[str, str, str]) -> Call:
    """A call about a table: `project.dataset.table`, `dataset.table` and `table` all name it."""
    project, dataset, table = key
    return Call(method, (f"{project}.{dataset}.{table}", f"{dataset}.{table}", table))


def api_error(injected: InjectedError) -> ApiError:
    status, reason = _HTTP[injected.code]
    return ApiError(status, reason, injected.text)


def refuse_append(active: ActiveFault) -> None:
    """Raise `AppendRefused` if the fault is an append_error."""
    if isinstance(active.fault, AppendError):
        raise AppendRefused(active.fault.code, active.fault.message)


def bad_rows(active: ActiveFault, batch: pa.RecordBatch) -> BadRows | None:
    """The rows of a batch that a row_errors fault rejects: chosen by content, so a retry rejects the same rows."""
    message = active.fault.message if isinstance(active.fault, RowErrors) else ""
    errors = [
        RowError(index, message)
        for index, row in enumerate(batch.to_pylist())
        if active.refuses(repr(sorted(row.items())))
    ]
    return BadRows(errors) if errors else None
