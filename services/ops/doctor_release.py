"""Asks what runs: admin ports, the public URL, its certificate, their clocks."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

from services import __version__
from services.ops import doctor_checks
from services.ops.doctor_checks import DO, NOT_ASKED, OK, Certificate, Finding
from services.ops.doctor_cloud import ahead
from services.shared import reconciliation

SECONDS = 10.0  # a process may take to answer


async def processes(urls: Sequence[str], digest: str) -> list[Finding]:
    """Of admin ports; `digest` is the schema file's here."""
    if not urls:
        names = ("versions", "services", "in flight")
        return [Finding(one, NOT_ASKED, "name the admin ports with --admin URL, by port-forward") for one in names]
    found: list[Finding] = []
    scrapes: dict[str, str] = {}
    builds: dict[str, Mapping[str, str]] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        for url in urls:
            try:
                unready, text, skew = await _process(session, url.rstrip("/"))
                samples = reconciliation.samples(url, text)
            except (aiohttp.ClientError, TimeoutError, ValueError, reconciliation.Incomplete) as error:
                found.append(Finding(f"service {url}", DO, f"{doctor_checks.one_line(error)}: is it running there?"))
                continue
            scrapes[url] = text
            if build := next((one.labels for one in samples if one.name == "pixelpipe_build_info"), None):
                builds[url] = build
            found += doctor_checks.process(url, unready, samples)
            found += [one for one in [doctor_checks.clock(f"service {url}", skew)] if one.state != OK]
    if builds:
        found.append(doctor_checks.versions(builds, __version__, digest))
    return [*found, _in_flight(scrapes)]


async def _process(session: aiohttp.ClientSession, url: str) -> tuple[str | None, str, float]:
    """Why it is not ready, None if it is, its metrics, and by how many seconds its clock is ahead."""
    before = time.time()
    async with session.get(f"{url}/readyz") as reply:
        skew = ahead(reply.headers.get("Date", ""), before, time.time())
        unready = None if reply.status == 200 else f"{reply.status} {(await reply.text(errors='replace')).strip()}"
    async with session.get(f"{url}/metrics") as reply:
        return unready, await reply.text(errors="replace"), skew


def _in_flight(scrapes: dict[str, str]) -> Finding:
    try:
        return doctor_checks.reconciled(reconciliation.reconcile(scrapes))
    except reconciliation.Incomplete as error:
        return Finding("in flight", NOT_ASKED, str(error))


async def public(url: str | None, trusted: ssl.SSLContext | None = None) -> list[Finding]:
    """Of the collector's URL; `trusted` are other authorities than the machine's."""
    if url is None:
        names = ("public URL", "certificate")
        return [Finding(one, NOT_ASKED, "name the collector with --url https://…") for one in names]
    place = urlsplit(url)
    host = place.hostname or ""
    found = await _answers(url, trusted)
    if place.scheme != "https":
        return [*found, Finding("certificate", NOT_ASKED, f"{url} has none: it is not https")]
    try:
        seen = await asyncio.to_thread(certificate, host, place.port or 443, trusted)
    except OSError as error:
        return [*found, Finding("certificate", NOT_ASKED, doctor_checks.one_line(error))]
    return [*found, doctor_checks.certificate(host, seen, datetime.now(UTC))]


async def _answers(url: str, trusted: ssl.SSLContext | None) -> list[Finding]:
    """Whether it answers, and its clock; any answer of a collector will do, since nothing is to be stored."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    before = time.time()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, ssl=trusted or True, allow_redirects=False) as reply,
        ):
            date, after = reply.headers.get("Date"), time.time()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return [Finding("public URL", DO, f"no answer: {doctor_checks.one_line(error)}")]
    if reply.status >= 500:
        text = f"answers {reply.status}: see the balancer's backends, and whether the collectors are ready"
        return [Finding("public URL", DO, text)]
    found = [Finding("public URL", OK, "answers")]
    try:
        return [*found, doctor_checks.clock("the public URL", ahead(date or "", before, after))]
    except ValueError:
        return [*found, Finding("clock of the public URL", NOT_ASKED, "its reply has no Date")]


def certificate(host: str, port: int, trusted: ssl.SSLContext | None = None) -> Certificate:
    """What the host presents, verified as browsers do. Raises OSError where no connection is made."""
    context = trusted or ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            until = str((secure.getpeercert() or {})["notAfter"])
    except ssl.SSLCertVerificationError as error:
        return Certificate(problem=error.verify_message)
    return Certificate(datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC))
