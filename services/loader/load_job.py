"""BigQuery's load jobs over its REST API: upload a file with a job's id, and look at the job.

A job is all or nothing. Its id is taken once and for all, so an upload whose answer is lost can be looked up. Nothing
is tried again here; `job_writer.py` decides that.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from google.auth.credentials import with_scopes_if_required
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from services.loader.load_file import LoadFile
from services.shared import daemon_thread

EMULATOR = "BIGQUERY_EMULATOR_HOST"
_ENDPOINT = "https://bigquery.googleapis.com"
_TOKEN_SECONDS = 60.0
_SCOPE = "https://www.googleapis.com/auth/bigquery"
_BATCH = "pixelpipe_batch"  # the label that says which rows a job holds
# What may pass by itself, as BigQuery names it in an answer and in a job that failed.
_TRANSIENT = frozenset({
    "UNAVAILABLE", "aborted", "backendError", "internalError", "jobBackendError", "jobInternalError",
    "jobRateLimitExceeded", "rateLimitExceeded", "stopped", "tableUnavailable", "timeout",
})  # fmt: skip


class Failed(Exception):
    """BigQuery did not do it, as far as is known. `reason` is its word, UNAVAILABLE where it has not spoken."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.transient = reason in _TRANSIENT


class Conflict(Exception):
    """There is a job of this id."""


@dataclass(frozen=True)
class Job:
    """`digest` is that of its file, empty for a job of somebody else; `failed` says why, once it is done."""

    id: str
    digest: str
    done: bool
    failed: Failed | None


class LoadJobs:
    """The load jobs of one dataset. `timeout` is in seconds, for a request; `credentials` are those of google.auth."""

    def __init__(self, project: str, dataset: str, *, timeout: float, credentials: Any) -> None:
        self._credentials = credentials
        self._project, self._dataset = project, dataset
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._location = ""

    async def __aenter__(self) -> LoadJobs:
        emulator = os.environ.get(EMULATOR)
        self._base = (emulator or _ENDPOINT).rstrip("/")
        self._token = None if emulator else Token(self._credentials)
        self._http = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def insert(self, id: str, table: str, file: LoadFile) -> Job:
        """Start a job that appends the file to the table. Raises Conflict, or Failed."""
        reference = {"projectId": self._project, "jobId": id, "location": await self._where(table)}
        load = {
            "destinationTable": {"projectId": self._project, "datasetId": self._dataset, "tableId": table},
            "sourceFormat": file.format,
            "createDisposition": "CREATE_NEVER",
            "writeDisposition": "WRITE_APPEND",
        }
        resource = {"jobReference": reference, "configuration": {"load": load, "labels": {_BATCH: file.digest}}}
        url = f"{self._base}/upload/bigquery/v2/projects/{self._project}/jobs?uploadType=resumable"
        kind = {"X-Upload-Content-Type": "application/octet-stream", "X-Upload-Content-Length": str(len(file.data))}
        _, headers = await self._call("POST", url, msgspec.json.encode(resource), "application/json", kind)
        body, _ = await self._call("PUT", headers["Location"], file.data, "application/octet-stream")
        return _job(body)

    async def get(self, id: str, table: str) -> Job | None:
        """The job as it is now, None where there is none. `table` is one of the dataset, to know where that is."""
        url = f"{self._base}/bigquery/v2/projects/{self._project}/jobs/{id}?location={await self._where(table)}"
        try:
            body, _ = await self._call("GET", url)
        except Failed as error:
            if error.reason == "notFound":
                return None
            raise
        return _job(body)

    async def _where(self, table: str) -> str:
        """The dataset's location, in which its jobs are."""
        if not self._location:
            path = f"/bigquery/v2/projects/{self._project}/datasets/{self._dataset}/tables/{table}?fields=location"
            body, _ = await self._call("GET", self._base + path)
            self._location = str(body["location"])
        return self._location

    async def _call(
        self,
        verb: str,
        url: str,
        data: bytes | None = None,
        kind: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The body and the headers of the answer. Raises Conflict, or Failed."""
        headers = {**(more or {}), **({"Content-Type": kind} if kind else {})}
        try:
            if self._token is not None:
                headers["Authorization"] = await self._token.header()
            async with self._http.request(verb, url, data=data, headers=headers) as reply:
                text, status = await reply.read(), reply.status
        except (aiohttp.ClientError, TimeoutError, GoogleAuthError) as error:
            raise Failed("UNAVAILABLE", f"{verb}: {error!r}") from error
        body = _object(text)
        if status < 300:
            return body, reply.headers
        failed = _failure(status, body)
        if failed.reason == "duplicate":
            raise Conflict
        raise failed


class Token:
    """The access token of the pod's account, renewed when it is about to expire."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = with_scopes_if_required(credentials, [_SCOPE])
        self._renewing = asyncio.Lock()

    async def header(self) -> str:
        async with self._renewing:
            if not self._credentials.valid:
                await daemon_thread.call("token", partial(self._credentials.refresh, Request()), _TOKEN_SECONDS)
        return f"Bearer {self._credentials.token}"


def _object(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict) if text else {}
    except msgspec.DecodeError:
        return {}  # a proxy's page, whose status says enough


def _failure(status: int, body: Mapping[str, Any]) -> Failed:
    error = body.get("error", {})
    reason = next((item.get("reason", "") for item in error.get("errors", ())), "")
    if status == 404 and not reason:
        reason = "notFound"
    # The reasons of a 5xx and of a 429 are many, and all of them may pass.
    if status >= 500 or status in (408, 429):
        reason = reason if reason in _TRANSIENT else "backendError"
    return Failed(reason or f"HTTP {status}", str(error.get("message", "")))


def _job(body: Mapping[str, Any]) -> Job:
    status = body["status"]
    failed = status.get("errorResult")
    return Job(
        id=body["jobReference"]["jobId"],
        digest=body["configuration"].get("labels", {}).get(_BATCH, ""),
        done=status["state"] == "DONE",
        failed=Failed(failed["reason"], failed.get("message", "")) if failed else None,
    )
