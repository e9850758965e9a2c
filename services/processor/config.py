"""Every setting of the processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.shared import log, privacy, resource_names
from services.shared.config import setting
from services.shared.schema import DEFAULT_FILE


@dataclass(frozen=True)
class Config:
    project: str = setting(help="the Google Cloud project that holds the topics")
    hits_subscription: str = setting(resource_names.HITS_SUBSCRIPTION, "subscription to pull packs of hits from")
    rows_topic: str = setting(resource_names.ROWS_TOPIC, "topic the typed rows are published to")
    dead_topic: str = setting(resource_names.DEAD_TOPIC, "topic for messages that cannot be decoded")
    schema: Path = setting(DEFAULT_FILE, "path of the schema file, whose `privacy` is applied to log entries")
    privacy: str = setting(
        privacy.BALANCED,
        "what protects people in log entries where the schema file's `privacy` says nothing, as in the collector: "
        "`strict`, `balanced` or `off`",
        choices=privacy.PRESETS,
    )
    hash_key_file: str = setting("", "file of the keys that the collector hashes parameters with, for log entries")
    geo_database: str = setting(
        "", "path of a MaxMind database of cities or countries, for `geo.*`; a new file under it is taken by itself"
    )
    agent_addresses: str = setting(
        "",
        "folder of address lists, for `agent.*`, each named after who sends from them, such as `GPTBot.json`",
    )
    host: str = setting("0.0.0.0", "address the admin port listens on")  # noqa: S104 - probes come from the node
    admin_port: int = setting(9102, "port of /livez, /readyz and /metrics, never public", minimum=0, maximum=65535)
    max_bytes: int = setting(33_554_432, "bytes of messages held at a time, decompressed", minimum=2**22, maximum=2**28)
    publish_timeout_seconds: float = setting(
        30.0, "seconds Pub/Sub may take to confirm a pack", minimum=0.1, maximum=300
    )
    shutdown_timeout_seconds: float = setting(
        20.0, "seconds after SIGTERM to finish the packs in hand", minimum=0, maximum=600
    )
    log_level: str = setting("info", "least severity that is logged", choices=log.LEVELS)
