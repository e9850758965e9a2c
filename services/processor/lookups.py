"""What is known beside what a hit says: from files that an operator mounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.processor.enrich.address_lists import AddressLists, Unreadable
from services.processor.enrich.agent_class import Kind
from services.processor.enrich.geo import Geo
from services.processor.enrich.lookup_table import LookupFile
from services.shared.config import ConfigError, shown
from services.shared.privacy import FULL, Privacy
from services.shared.schema import Schema


@dataclass(frozen=True)
class Lookups:
    """`place` says where an address is, `sender` whose it is, None without a file for it; `tables` are the lookups'."""

    place: Callable[[str], Geo] | None = None
    sender: Callable[[str], Kind | None] | None = None
    tables: Mapping[str, LookupFile] = field(default_factory=dict)


NO_LOOKUPS = Lookups()


def senders(folder: str, schema: Schema, privacy: Privacy) -> Callable[[str], Kind | None] | None:
    """The lists in the folder that PIPE_AGENT_ADDRESSES names; None if none is, or no `agent.*`. Raises ConfigError."""
    if not folder or not schema.asks_for("agent"):
        return None
    try:
        return AddressLists(Path(folder), cut=privacy.ip != FULL).find
    except Unreadable as error:
        raise ConfigError(f"PIPE_AGENT_ADDRESSES={shown(folder)}: {error}; correct the lists, or unset it") from error
