"""The keys by which parameters are hashed: HMAC-SHA256, so that nobody without the key can try out addresses."""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from services.shared import key_file
from services.shared.config import ConfigError, shown
from services.shared.privacy import Privacy

MIN_BYTES = 16
MAX_KEYS = 2  # the current one, and the one before it
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_HEX = re.compile(rb"[0-9a-fA-F]+")


@dataclass(frozen=True)
class HashKey:
    """A key and its id, which stands before each hash that it made."""

    id: str
    secret: bytes

    def hash(self, value: str) -> str:
        """`ID:` and 64 hex digits."""
        digest = hmac.new(self.secret, value.encode("utf-8", "surrogatepass"), sha256).hexdigest()
        return f"{self.id}:{digest}"


@dataclass(frozen=True)
class HashKeys:
    """`current` makes the hashes; `previous`, if there is one, makes those that old rows are joined by."""

    current: HashKey
    previous: HashKey | None = None


def check(names: Sequence[str], file: str) -> HashKeys | None:
    """The keys in `file` for the parameters that the schema file's `hash` names; None where it names none.

    Raises ValueError, saying what is wrong and what to do.
    """
    if not names and not file:
        return None
    if not file:
        raise ValueError(f"the schema file's `privacy: hash` names {', '.join(names)}; set it to a file of keys")
    return read(file)


def of_setting(privacy: Privacy, file: str) -> HashKeys | None:
    """The keys in the file that PIPE_HASH_KEY_FILE names, for `privacy`. Raises ConfigError."""
    try:
        return check(tuple(privacy.hash), file)
    except ValueError as error:
        raise ConfigError(f"PIPE_HASH_KEY_FILE={shown(file)}: {error}") from error


def read(file: str) -> HashKeys:
    """The keys in a file, lines of `ID:KEY`, KEY in hex or base64; the first is current, the second previous.

    Raises ValueError for a file that cannot be read, or that holds anything else.
    """
    lines = key_file.read(file)
    if len(lines) > MAX_KEYS:
        raise ValueError(f"the file holds {len(lines)} keys; keep two: the current one, then the previous one")
    found = [_key(line, number) for number, line in enumerate(lines, 1)]
    for one, other in pairwise(found):
        if one.id == other.id:
            raise ValueError(f"both keys have the id {one.id}; give each an id of its own")
        if one.secret == other.secret:
            raise ValueError("both keys are the same; make a new one for the first line")
    return HashKeys(*found)


def _key(line: bytes, number: int) -> HashKey:
    # Neither the line nor a part of it is shown: whatever it is, it may be the key.
    id, colon, text = line.decode("latin-1").partition(":")
    if not colon or not _ID.fullmatch(id):
        raise ValueError(f"line {number} is not ID:KEY; an id has 1 to 32 letters, digits, - and _")
    secret = _secret(text.strip().encode("latin-1"))
    if secret is None:
        raise ValueError(f"the key of line {number} is neither hex nor base64; make one by `openssl rand -hex 32`")
    if len(secret) < MIN_BYTES:
        raise ValueError(
            f"the key of line {number} has {len(secret)} bytes, not {MIN_BYTES}; make one by `openssl rand -hex 32`"
        )
    return HashKey(id, secret)


def _secret(text: bytes) -> bytes | None:
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        return bytes.fromhex(text.decode())
    try:
        plain = text.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except ValueError:
        return None
