"""Who sends from an address, by the lists that operators publish: files in a folder, each named after its sender.

`GPTBot.json` has the form of Google, OpenAI and others (`prefixes`, each with `ipv4Prefix` or `ipv6Prefix`); any other
file has a network at the beginning of each line, as in a CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.processor.enrich import agent_class
from services.processor.enrich.agent_class import Kind
from services.processor.enrich.networks import Network, Networks, network

MAX_NETWORKS = 200_000  # of all lists, 100 bytes each
MAX_BYTES = 33_554_432  # of one file
_FIRST = re.compile(r"\s*([^\s,;#]*)")


class Unreadable(Exception):
    """A list cannot be used: which, where and why."""


class AddressLists:
    """The lists in a folder, read once. Where addresses are `cut`, narrower networks than theirs say nothing.

    Raises Unreadable.
    """

    def __init__(self, folder: Path, *, cut: bool) -> None:
        networks: Networks[Kind] = Networks(cut=cut)
        count = 0
        for file in _files(folder):
            name = file.stem
            kind = Kind(agent_class.kind_of_name(name), name)
            for one in _networks(file):
                count += 1
                if count > MAX_NETWORKS:
                    raise Unreadable(f"{folder} lists more than {MAX_NETWORKS:,} networks")
                networks.add(one, kind)
        self.find = networks.find


def _files(folder: Path) -> list[Path]:
    """All but hidden ones, such as those by which a mounted volume is replaced."""
    try:
        found = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}") from error
    if not found:
        raise Unreadable(f"{folder} has no files")
    return found


def _networks(file: Path) -> Iterator[Network]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Unreadable(f"{file} has more than {MAX_BYTES:,} bytes")
        text = file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise Unreadable(f"{file} cannot be read as text: {error}") from error
    if file.suffix == ".json":
        yield from _of_json(file, text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = _FIRST.match(line)
        if match and match[1]:
            yield _network(match[1], f"{file}:{number}")


def _of_json(file: Path, text: str) -> Iterator[Network]:
    try:
        entries: Any = json.loads(text)["prefixes"]
        found = [entry.get("ipv4Prefix") or entry["ipv6Prefix"] for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{file} has no list `prefixes` of objects with ipv4Prefix or ipv6Prefix") from error
    for one in found:
        yield _network(one, str(file))


def _network(text: Any, where: str) -> Network:
    if isinstance(text, str) and (found := network(text)) is not None:
        return found
    raise Unreadable(f"{where}: {str(text)[:80]!r} is no network such as 192.0.2.0/24")
