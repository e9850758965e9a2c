"""The archive of hits in Cloud Storage: where it is, how its objects are made and called, and how they go. Pure.

Pub/Sub writes it itself (a Cloud Storage subscription of the topic of hits), as Avro files of whole messages with their
attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.shared.hit import REPLAYED as REPLAYED

# What an operator's command publishes again is in the archive already: written again, it would outlive the bucket's
# lifecycle rule.
FILTER = f"NOT attributes:{REPLAYED}"
DATETIME_FORMAT = "YYYY-MM-DD/hh_mm_ssZ"  # a folder for each day, UTC; `ops.archive` reads these names
SUFFIX = ".avro"
OBJECT_SECONDS = 300  # of messages in one object, at most
OBJECT_BYTES = 100_000_000
ACK_DEADLINE_SECONDS = 600  # the most; an object may not be open for longer than this
BUCKET_ROLES = ("roles/storage.objectCreator", "roles/storage.legacyBucketReader")


@dataclass(frozen=True)
class Archive:
    """`prefix` is what the names of objects begin with: empty, or with a slash at its end."""

    bucket: str
    prefix: str

    def fill(self, config: Any) -> None:
        """Set a raw protobuf CloudStorageConfig."""
        config.bucket = self.bucket
        config.filename_prefix = self.prefix
        config.filename_suffix = SUFFIX
        config.filename_datetime_format = DATETIME_FORMAT
        config.avro_config.write_metadata = True  # a pack is nothing without its attributes
        config.max_duration.seconds = OBJECT_SECONDS
        config.max_bytes = OBJECT_BYTES

    def lifecycle(self, days: int) -> dict[str, Any]:
        """The bucket's lifecycle configuration that deletes objects of the archive after so many days."""
        condition: dict[str, Any] = {"age": days}
        if self.prefix:
            condition["matchesPrefix"] = [self.prefix]
        return {"rule": [{"action": {"type": "Delete"}, "condition": condition}]}


def of(location: str) -> Archive | None:
    """The archive at gs://BUCKET[/FOLDER]; None for an empty text. The setting has been checked."""
    if not location:
        return None
    bucket, _, folder = location.removeprefix("gs://").partition("/")
    folder = folder.strip("/")
    return Archive(bucket, f"{folder}/" if folder else "")
