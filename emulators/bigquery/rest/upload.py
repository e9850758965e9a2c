"""Uploads: jobs.insert of load jobs with their data, in one request (multipart) or in chunks (resumable)."""

from __future__ import annotations

import re
import time
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web

from emulators.bigquery import load
from emulators.bigquery.errors import ApiError, invalid, not_found
from emulators.bigquery.jobs import FIRST_ANSWER
from emulators.bigquery.rest.sessions import MAX_UPLOAD, Session, Sessions, too_large
from emulators.bigquery.rest.shapes import JOB
from emulators.bigquery.rest.state import STATE, State, decoded

MAX_CONFIGURATION = 4 * 1024 * 1024
RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


async def post(request: web.Request) -> web.Response:
    kind = request.query.get("uploadType")
    if kind == "multipart":
        given, data = await _multipart(request)
        return await _finish(request.app[STATE], request.match_info["project"], given, data)
    if kind == "resumable":
        return await _begin(request)
    raise invalid(f"The local BigQuery emulator does not support uploadType {kind}")


async def _multipart(request: web.Request) -> tuple[dict[str, Any], bytes]:
    if not request.content_type.startswith("multipart/"):
        raise invalid(f"A multipart upload has Content-Type multipart/related, not {request.content_type}")
    try:
        reader = await request.multipart()
        first = await _part(reader, MAX_CONFIGURATION)
        second = await _part(reader, MAX_UPLOAD)
    except ValueError as error:
        raise invalid(f"The multipart body cannot be read: {error}") from error
    return decoded(first, JOB), second


async def _part(reader: MultipartReader, most: int) -> bytes:
    part = await reader.next()
    if not isinstance(part, BodyPartReader):
        raise ValueError("it has no two parts")
    data = bytearray()
    while chunk := await part.read_chunk(1 << 20):
        data += chunk
        if len(data) > most:
            raise too_large()
    return bytes(data)


async def _begin(request: web.Request) -> web.Response:
    given = decoded(await request.read(), JOB)
    _configuration(given)
    state = request.app[STATE]
    name = state.uploads.start(request.match_info["project"], given)
    location = request.url.update_query(upload_id=name)
    return web.Response(status=200, headers={"Location": str(location), "X-GUploader-UploadID": name})


async def put(request: web.Request) -> web.Response:
    """One chunk: 308 with what has arrived so far, or the job once all of it has."""
    state = request.app[STATE]
    name = request.query.get("upload_id", "")
    session = state.uploads.open.get(name)
    if session is None:
        raise not_found(f"Resumable upload {name}")
    if session.busy:
        raise ApiError(409, "conflict", f"Resumable upload {name} is receiving another chunk")
    session.busy = True
    try:
        done = await _receive(state.uploads, session, request)
    finally:
        session.busy = False
        session.touched = time.monotonic()
    if not done:
        held = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
        return web.Response(status=308, headers=held)
    del state.uploads.open[name]
    return await _finish(state, session.project, session.given, bytes(session.data))


async def _receive(sessions: Sessions, session: Session, request: web.Request) -> bool:
    """Add the chunk to what is there; true when the upload is whole."""
    header = request.headers.get("Content-Range")
    matched = RANGE.fullmatch(header) if header else None
    if header and matched is None:
        raise invalid(f"Invalid Content-Range: {header}")
    start = int(matched[1]) if matched and matched[1] is not None else len(session.data)
    if start > len(session.data):
        raise invalid(f"Invalid Content-Range: {header}; {len(session.data)} bytes have arrived so far")
    chunk = bytearray()
    async for piece in request.content.iter_chunked(1 << 20):
        sessions.room(len(chunk) + len(piece))
        chunk += piece
    if matched and matched[1] is not None and len(chunk) != int(matched[2]) - start + 1:
        raise invalid(f"Content-Range {header} does not fit {len(chunk)} bytes")
    # A chunk sent again after a lost answer is written over what is there.
    session.data[start:] = chunk
    return matched is None or (matched[3] != "*" and len(session.data) == int(matched[3]))


def _configuration(given: dict[str, Any]) -> dict[str, Any]:
    configuration = (given.get("configuration") or {}).get("load")
    if not isinstance(configuration, dict):
        raise invalid("An upload needs a load configuration")
    load.check(configuration)
    return configuration


async def _finish(state: State, project: str, given: dict[str, Any], data: bytes) -> web.Response:
    configuration = _configuration(given)
    identity = (given.get("jobReference") or {}).get("jobId")
    job = await state.jobs.create(project, identity, "load", given["configuration"], durable=True)
    state.jobs.start(job, load.run(state.store, job, configuration, data))
    await job.settled(FIRST_ANSWER)
    return web.json_response(job.resource())


VERBS = {"POST": post, "PUT": put}
