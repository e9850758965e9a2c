"""Who sends from an address: the lists that operators publish, in a folder that a setting names."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import lookups
from services.processor.enrich import address_lists
from services.processor.enrich.address_lists import AddressLists
from services.processor.lookups import Lookups
from services.processor.parse import Parser, Row
from services.shared import schema_file
from services.shared.config import ConfigError
from services.shared.privacy import CUT, FULL, NONE, Privacy
from tests.processor.parsing import NOW, WIDE, a_hit
from tests.schemas import SCHEMA

N = "      n: {type: INT64, from: param.n, on_error: reject}\n"
NAMES = ("class", "name", "reason", "is_bot")
COLUMNS = "".join(
    f"      agent_{name}: {{type: {'BOOL' if name == 'is_bot' else 'STRING'}, from: agent.{name}}}\n" for name in NAMES
)
TABLES = schema_file.parse(WIDE.replace(N, N + COLUMNS, 1))
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36"
)
GPTBOT = {
    "creationTime": "2026-11-01T00:00:00",
    "prefixes": [{"ipv4Prefix": "203.0.113.0/28"}, {"ipv6Prefix": "2001:db8:7::/48"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "GPTBot.json").write_text(json.dumps(GPTBOT))
    (tmp_path / "Office.csv").write_text("# ours\n\n198.51.100.0/24,Berlin\n 192.0.2.7 ; the gateway\n")
    (tmp_path / ".hidden").write_text("no list")
    return tmp_path


def _who(folder: Path, ip: str, agent: str = CHROME, kept: str = FULL) -> tuple[Any, ...]:
    sender = lookups.senders(str(folder), TABLES, Privacy(ip=kept))
    assert sender is not None
    found = Parser(TABLES, Lookups(sender=sender)).parse(a_hit("x=1", ip=ip, headers={"user-agent": agent}), NOW)
    assert isinstance(found, Row), found
    names = [column.name for column in TABLES.tables[found.table].columns]
    return tuple(found.values[names.index(f"agent_{name}")] for name in NAMES)


@pytest.mark.parametrize(
    ("ip", "who"),
    [
        ("203.0.113.15", ("ai_crawler", "GPTBot", "address", True)),
        ("203.0.113.16", ("human", None, None, False)),
        ("2001:db8:7:1::1", ("ai_crawler", "GPTBot", "address", True)),
        ("198.51.100.9", ("bot", "Office", "address", True)),
        ("192.0.2.7", ("bot", "Office", "address", True)),
        ("192.0.2.8", ("human", None, None, False)),
        ("", ("human", None, None, False)),
        ("no address", ("human", None, None, False)),
    ],
)
def test_an_address_tells_who_poses_as_a_browser(folder: Path, ip: str, who: tuple[Any, ...]) -> None:
    assert _who(folder, ip) == who


def test_without_a_user_agent_the_address_still_tells(folder: Path) -> None:
    assert _who(folder, "203.0.113.1", agent="") == ("ai_crawler", "GPTBot", "address", True)


def test_a_user_agent_that_names_its_sender_has_the_word(folder: Path) -> None:
    assert _who(folder, "203.0.113.1", agent="curl/8.1")[:3] == ("bot", "curl", "user_agent")


@pytest.mark.parametrize("ip", [CUT, NONE])
def test_a_network_narrower_than_what_is_kept_of_addresses_says_nothing(folder: Path, ip: str) -> None:
    assert _who(folder, "203.0.113.0", kept=ip)[0] == "human"
    assert _who(folder, "192.0.2.0", kept=ip)[0] == "human"
    assert _who(folder, "198.51.100.0", kept=ip)[1] == "Office"
    assert _who(folder, "2001:db8:7::", kept=ip)[1] == "GPTBot"


def test_the_narrowest_network_counts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("203.0.113.0/24\n0.0.0.0/0\n::/0")
    (tmp_path / "b.txt").write_text("203.0.113.128/25\n")
    find = AddressLists(tmp_path, cut=False).find
    names = [kind.name for ip in ("203.0.113.1", "203.0.113.200", "8.8.8.8", "::1") if (kind := find(ip))]
    assert names == ["a", "b", "a", "a"]


def test_lists_are_read_only_if_a_column_asks_for_them(tmp_path: Path) -> None:
    assert lookups.senders("", TABLES, Privacy()) is None
    assert lookups.senders(str(tmp_path / "missing"), SCHEMA, Privacy()) is None


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"203.0.113.0/24\nhost.example\n", "a.txt:2: 'host.example' is no network"),
        ("a.txt", b"\xff\xfe", "cannot be read as text"),
        ("a.json", b"{", "has no list `prefixes`"),
        ("a.json", b"[]", "has no list `prefixes`"),
        ("a.json", b'{"prefixes": [1]}', "has no list `prefixes`"),
        ("a.json", b'{"prefixes": [{"ipv6Prefix": 7}]}', "'7' is no network"),
        ("a.json", b'{"prefixes":' + b"[" * 100_000, "has no list `prefixes`"),
        (".a", b"", "has no files"),
    ],
)
def test_a_list_that_cannot_be_read_fails_at_start_and_says_where(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        lookups.senders(str(tmp_path), TABLES, Privacy())
    assert "PIPE_AGENT_ADDRESSES=" in str(caught.value) and why in str(caught.value)


def test_a_folder_that_is_not_there_fails_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        lookups.senders(str(tmp_path / "missing"), TABLES, Privacy())


@pytest.mark.slow
def test_lists_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("203.0.113.0/24\n" * (address_lists.MAX_NETWORKS + 1))
    with pytest.raises(ConfigError, match="more than 200,000 networks"):
        lookups.senders(str(tmp_path), TABLES, Privacy())


@given(st.ip_addresses(), st.integers(0, 32), st.ip_addresses())
def test_an_address_is_found_in_just_the_networks_that_hold_it(
    tmp_path_factory: pytest.TempPathFactory, base: Any, bits: int, address: Any
) -> None:
    network = ipaddress.ip_network(f"{base}/{bits}", strict=False)
    folder = tmp_path_factory.mktemp("lists")
    (folder / "list.txt").write_text(str(network))
    assert (AddressLists(folder, cut=False).find(str(address)) is not None) == (address in network)
