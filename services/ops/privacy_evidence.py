"""Pixels with each opt-out signal, and what became of them, held against the policy."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import deployment, smoke
from services.ops.deployment import CommandRefused
from services.provision import view
from services.shared import address, fault, identity, privacy
from services.shared.privacy import ANONYMIZE, CUT, DROP, NONE, Privacy
from services.shared.schema import REJECTS, Schema

_AS_IT_IS = "no signal"
# What sends each signal: headers, and parameters.
_SENT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    _AS_IT_IS: ({}, {}),
    "gpc": ({"Sec-GPC": "1"}, {}),
    "dnt": ({"DNT": "1"}, {}),
    "sp_anonymous": ({"SP-Anonymous": "*"}, {}),
    "consent": ({}, {"consent": "denied"}),
    "google_consent": ({}, {"gcs": "G100"}),
}
_PAUSE = 0.5  # seconds between two looks


@dataclass
class _Pixel:
    signal: str
    event_id: str
    secret: str = field(default_factory=lambda: secrets.token_hex(8))
    person: str = field(default_factory=lambda: secrets.token_hex(8))
    browser: str = field(default_factory=lambda: secrets.token_hex(8))

    def request(self, url: str) -> tuple[str, dict[str, str]]:
        headers, parameters = _SENT[self.signal]
        page = f"https://example.com/?{urlencode({'token': self.secret, 'page': 1})}"
        query = {
            "event_id": self.event_id,
            "type": "privacy_check",
            "user_id": f"u-{self.person}",
            "anonymous_id": f"a-{self.person}",
            "password": self.secret,
            "url": page,
            **parameters,
        }
        agent = f"Mozilla/5.0 (X11; Linux x86_64) PrivacyCheck/{self.browser}"
        return f"{url.rstrip('/')}/pixel.gif?{urlencode(query)}", {"User-Agent": agent, **headers}


class Evidence:
    def __init__(self, client: Any, schema: Schema, policy: Privacy, project: str, dataset: str) -> None:
        self._client, self._schema, self._policy = client, schema, policy
        self._dataset = f"{project}.{dataset}"

    async def take(self, url: str, wait: float) -> list[dict[str, Any]]:
        """Send, wait for the rows, compare. Raises CommandRefused where a collector does not take the pixels."""
        now = datetime.now(UTC)
        start = int(now.timestamp() * 1e6)
        pixels = [_Pixel(signal, identity.uuid7(start + index)) for index, signal in enumerate(_SENT)]
        # The one as it is goes last: once its row is there, those of the others would be too.
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=smoke.REPLY_SECONDS)) as http:
            for pixel in [*pixels[1:], pixels[0]]:
                await _send(http, *pixel.request(url))
        end = time.monotonic() + wait
        wanted = {pixel.event_id for pixel in pixels if self._action(pixel) != DROP}
        while True:
            rows = await asyncio.to_thread(self._rows, [pixel.event_id for pixel in pixels], now)
            if wanted <= rows.keys() or time.monotonic() > end:
                return [self._compare(pixel, rows.get(pixel.event_id)) for pixel in pixels]
            await asyncio.sleep(_PAUSE)

    def _action(self, pixel: _Pixel) -> str:
        return self._policy.signals.get(pixel.signal, privacy.RECORD)

    def _rows(self, ids: list[str], now: datetime) -> dict[str, dict[str, Any]]:
        """The row of each event, in whichever view it is, with the table's name as `_table`."""
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ArrayQueryParameter("ids", "STRING", ids),
                bigquery.ScalarQueryParameter("first", "DATE", (now - timedelta(days=1)).date()),
                bigquery.ScalarQueryParameter("last", "DATE", (now + timedelta(days=1)).date()),
            ],
            use_query_cache=False,
        )
        found: dict[str, dict[str, Any]] = {}
        for table in self._schema.tables.values():
            day, event_id = (view.source_column(table, source) for source in ("event.day", "event.id"))
            sql = (
                f"SELECT * FROM `{self._dataset}.{table.name}`\n"  # noqa: S608 - names of the schema file
                f"WHERE `{day}` BETWEEN @first AND @last AND `{event_id}` IN UNNEST(@ids)"
            )
            try:
                rows = self._client.query_and_wait(
                    sql, job_config=config, api_timeout=deployment.TIMEOUT, wait_timeout=deployment.TIMEOUT
                )
            except exceptions.NotFound as error:
                raise CommandRefused(f"the view {table.name} is not there: provision it") from error
            for row in rows:
                found[row[event_id]] = {**dict(row), "_table": table.name}
        return found

    def _compare(self, pixel: _Pixel, row: dict[str, Any] | None) -> dict[str, Any]:
        action = self._action(pixel)
        if row is None:
            found, faults = "no row", [] if action == DROP else ["no row in time"]
        else:
            found, faults = self._look(pixel, row, action)
        return {
            "sent": pixel.signal,
            "event_id": pixel.event_id,
            "policy": action if pixel.signal != _AS_IT_IS else "",
            "found": found + "".join(f"; FAULT: {fault}" for fault in faults),
            "as_the_policy_says": not faults,
        }

    def _look(self, pixel: _Pixel, row: dict[str, Any], action: str) -> tuple[str, list[str]]:
        table = self._schema.tables[row["_table"]]
        text = json.dumps(row, default=str)
        ip = next((row[c.name] for c in table.columns if [str(s) for s in c.sources] == ["hit.ip"]), None) or ""
        person, browser = pixel.person in text, pixel.browser in text
        faults = []
        if action == DROP:
            faults.append("it is stored")
        if table.name == REJECTS:
            faults.append("it is a reject")
        if pixel.secret in text:
            faults.append("a secret is stored")
        if action == ANONYMIZE:
            faults += [what for what, there in (("ids", person), ("the browser", browser), ("an address", ip)) if there]
        elif ip and (self._policy.ip == NONE or (self._policy.ip == CUT and address.truncate(ip) != ip)):
            faults.append("the address is stored whole" if self._policy.ip == CUT else "an address is stored")
        parts = {"address": bool(ip), "ids": person, "browser": browser}
        kept = [f"with {name}" if there else f"without {name}" for name, there in parts.items()]
        return f"a row of {table.name} {', '.join(kept)}", faults


async def _send(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
    try:
        async with http.get(url, headers=headers) as reply:
            await reply.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandRefused(f"the collector does not answer: {fault.words(error)}") from error
    if reply.status != 200:
        raise CommandRefused(f"the collector refuses the pixel with {reply.status}; try `pixelpipe smoke`")
