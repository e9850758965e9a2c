"""Compares what was collected with what is loaded, rejected, dead, spooled: from the services' metrics, in hits."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import aiohttp

from services.ops import output
from services.ops.deployment import CommandRefused
from services.shared import fault, reconciliation
from services.shared.config import ConfigError
from services.shared.reconciliation import Reconciliation

_SECONDS = 10.0  # a process may take to answer


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "urls",
        nargs="*",
        metavar="ADMIN_URL",
        help="the admin port of each process, such as http://127.0.0.1:9103; loaders first, collectors last, so that "
        "no hit is seen arriving before it left",
    )
    parser.add_argument("--promql", action="store_true", help="print the same as Prometheus expressions; asks nobody")
    parser.add_argument("--window", type=_window, default="1h", help="what they compare, such as 1h (%(default)s)")
    output.add_json(parser)


def _window(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[smhdw]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30m or 1h")
    return text


async def run(options: argparse.Namespace) -> int:
    if options.promql:
        expressions = {
            "missing": reconciliation.missing(options.window),
            "in_flight": reconciliation.in_flight(options.window),
        }
        hops = {name: reconciliation.hop(name, options.window) for name in reconciliation.HOPS}
        output.show(options, {**expressions, "hops": hops}, indent=2)
        return 0
    if not options.urls:
        raise ConfigError("name the admin URL of every loader, processor and collector")
    output.show(options, (await scraped(options.urls)).shown(), indent=2)
    return 0


async def scraped(urls: Sequence[str]) -> Reconciliation:
    """The reconciliation of the processes with these admin URLs. Raises CommandRefused if it cannot be made."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:
        scrapes = {url: await _read(session, url) for url in urls}
    try:
        return reconciliation.reconcile(scrapes)
    except reconciliation.Incomplete as error:
        raise CommandRefused(str(error)) from error


async def _read(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url.rstrip("/") + "/metrics") as response:
            if response.status != 200:
                raise CommandRefused(f"{url} answers {response.status}; is it an admin port?")
            return await response.text(errors="replace")
    except TimeoutError as error:
        raise CommandRefused(f"{url} did not answer in {_SECONDS:g} s; see the log of that process") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise CommandRefused(
            f"{url} cannot be read: {fault.words(error)}; give the admin URL of a running process"
        ) from error
