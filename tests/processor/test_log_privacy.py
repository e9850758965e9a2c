"""Log entries reach the processor without the collector: what their URLs hold is treated here, before it is stored."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.processor.test_log_entry import ENTRY
from tests.processor.test_worker import _rows, _running
from tests.schemas import SCHEMA_FILE
from tests.topics import Topics

SECRET, PERSON, ADDRESS = "s3cr3t-value", "person-42", "203.0.113.77"
URL = "https://t.example.com/pixel.gif?"
TABLES = SCHEMA_FILE.read_text().replace("mode: REQUIRED, from: param.user_id", "from: param.user_id")


def _entry(query: str) -> bytes:
    request = {
        **ENTRY["httpRequest"],
        "requestUrl": URL + query,
        "remoteIp": ADDRESS,
        "referer": f"{URL}token={SECRET}",
    }
    return json.dumps({**ENTRY, "httpRequest": request}).encode()


def _file(tmp_path: Path, privacy: str = "{}") -> Path:
    file = tmp_path / "schema.yaml"
    file.write_text(f"privacy: {privacy}\n{TABLES}")
    return file


async def _stored(topics: Topics, query: str, **settings: Any) -> dict[str, Any]:
    async with _running(topics, **settings):
        topics.publish("hits", _entry(query), {})
        ((_, row),) = await _rows(topics, 1)
    return row


async def test_addresses_are_cut_and_secrets_removed(topics: Topics, tmp_path: Path) -> None:
    row = await _stored(topics, f"user_id={PERSON}&type=a&api_key={SECRET}&x=1", schema=_file(tmp_path))
    assert (row["user_id"], row["ip"], json.loads(row["params"])["x"]) == (PERSON, "203.0.113.0", "1")
    assert SECRET not in str(row)


async def test_who_opts_out_is_nobody(topics: Topics, tmp_path: Path) -> None:
    row = await _stored(topics, f"user_id={PERSON}&type=a&consent=denied", schema=_file(tmp_path))
    assert (row["user_id"], row["ip"], row["user_agent"], row["type"]) == (None, None, "mobile", "a")
    assert PERSON not in str(row)
    assert ENTRY["httpRequest"]["userAgent"] not in str(row)


async def test_what_the_policy_drops_is_acknowledged_and_not_stored(topics: Topics, tmp_path: Path) -> None:
    file = _file(tmp_path, "{signals: {google_consent: drop}}")
    async with _running(topics, schema=file):
        topics.publish("hits", _entry(f"user_id={PERSON}&gcs=G100"), {})
        topics.publish("hits", _entry("user_id=other"), {})
        ((_, row),) = await _rows(topics, 1)
    assert row["user_id"] == "other"
    assert topics.pull("rows-seen") == []
    assert topics.pull("hits-work") == []


async def test_named_parameters_are_hashed_with_the_keys_of_the_file(topics: Topics, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k1:" + base64.b64encode(b"x" * 32).decode() + "\n")
    keys.chmod(0o600)
    file = _file(tmp_path, "{hash: {user_id: [trim]}}")
    row = await _stored(topics, f"user_id=%20{PERSON}&type=a", schema=file, hash_key_file=str(keys))
    assert row["user_id"].startswith("k1:")
    assert PERSON not in str(row)
