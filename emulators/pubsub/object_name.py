"""Names of the objects that Cloud Storage subscriptions write: PREFIX, the time in UTC, `_`, a UUID, SUFFIX. Pure.

The rules are those of
https://docs.cloud.google.com/pubsub/docs/create-cloudstorage-subscription#file_names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from emulators.pubsub.errors import invalid

DEFAULT_FORMAT = "YYYY-MM-DDThh:mm:ss+00:00"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PARTS = re.compile(r"YYYY|YY|MM|DD|hh|mm|ss|T|Z|\+00:00|[-_:/]")
_SEPARATORS = frozenset("-_:/")
_STRFTIME = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_LONGEST = 900  # bytes of prefix and suffix together; an object's name has 1,024 at most


def check(bucket: str, prefix: str, suffix: str, datetime_format: str) -> None:
    """Raises `PubsubError` INVALID_ARGUMENT for what cannot be part of an object's name."""
    if not _BUCKET.fullmatch(bucket):
        raise invalid(f"Invalid Cloud Storage bucket given ({bucket[:100]}): a name without gs:// is wanted.")
    if suffix.endswith("/"):
        raise invalid("Invalid filename_suffix given: it must not end in '/'.")
    # Objects are files here, so a name that would leave the bucket's folder is refused too.
    parts = f"{prefix}x{suffix}".split("/")
    if len(f"{prefix}{suffix}".encode()) > _LONGEST or any(
        part in ("", ".", "..") or not part.isprintable() for part in parts
    ):
        raise invalid("Invalid filename_prefix or filename_suffix given: an object cannot be called that.")
    _parts(datetime_format)


def make(prefix: str, suffix: str, datetime_format: str, began: float, unique: str) -> str:
    """The name of an object that was begun at `began`, in unix seconds."""
    parts = _parts(datetime_format)
    when = datetime.fromtimestamp(began, UTC)
    text = "".join(when.strftime(_STRFTIME[part]) if part in _STRFTIME else part for part in parts)
    return f"{prefix}{text}{'' if parts[-1] in _SEPARATORS else '_'}{unique}{suffix}"


def _parts(datetime_format: str) -> list[str]:
    text = datetime_format or DEFAULT_FORMAT
    parts = _PARTS.findall(text)
    matchers = sorted(part.replace("YYYY", "YY") for part in parts if part not in _SEPARATORS)
    extra = [part for part in matchers if part not in _STRFTIME]
    once = [part for part in matchers if part in _STRFTIME] == ["DD", "MM", "YY", "hh", "mm", "ss"]
    if "".join(parts) != text or not once or extra not in ([], ["T"], ["Z"], ["+00:00"], ["T", "Z"], ["+00:00", "T"]):
        raise invalid(
            f"Invalid filename_datetime_format given ({text[:100]}): YYYY or YY, MM, DD, hh, mm and ss must be there "
            "once each; T, and Z or +00:00, may be there once, and - _ : / any number of times."
        )
    if text.startswith("/") or "//" in text:
        raise invalid(f"Invalid filename_datetime_format given ({text[:100]}): a part between slashes is empty.")
    return parts
