"""Files that pages load: our own tracker, and those of a mounted folder. Read once, at the start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from services.collector.reply import Reply
from services.collector.routes import ANSWERED, Route

MAX_FILES = 50
MAX_BYTES = 2_097_152  # of one file
OWN = Path(__file__).with_name("p.js")

_NAME = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]{0,99}")
_ETAG = re.compile(r'(?:W/)?("[^"]*")|\*')
_MEDIA = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".gif": "image/gif",
    ".ico": "image/x-icon",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class Script:
    """One file as it is served: typed by its name, cached for an hour, and then asked for by its ETag."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self._etag = f'"{sha256(content).hexdigest()[:32]}"'
        headers = {
            "ETag": self._etag,
            "Cache-Control": "public, max-age=3600",
            # Pages that isolate themselves (COEP) can still load it.
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        typed = {
            "Content-Type": _MEDIA.get(Path(name).suffix.lower(), "application/octet-stream"),
            "X-Content-Type-Options": "nosniff",
        }
        self._whole = Reply(200, {**typed, **headers}, content, cached=True)
        self._unchanged = Reply(304, headers, cached=True)

    @property
    def route(self) -> Route:
        """Of a mounted file; our own is among the usual ones."""
        return Route(f"/{self.name}", f"script.{self.name}", "", ("GET", "HEAD"), outcome=ANSWERED)

    def reply(self, if_none_match: str) -> Reply:
        """304 where the client has what there is. HTTP compares ETags weakly here, and `*` is any."""
        has = any(found[0] == "*" or found[1] == self._etag for found in _ETAG.finditer(if_none_match))
        return self._unchanged if has else self._whole


def own() -> Script:
    return Script(OWN.name, OWN.read_bytes())


def read(folder: Path) -> Iterator[Script]:
    """The files of a folder, by name; hidden ones are left out. Raises ValueError naming what cannot be served."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ValueError(f"the folder cannot be read: {error.strerror}") from error
    if not found:
        raise ValueError("the folder holds no file; is it mounted?")
    if len(found) > MAX_FILES:
        raise ValueError(f"the folder holds {len(found)} files; at most {MAX_FILES} are served")
    for path in found:
        yield Script(path.name, _content(path, folder))


def _content(path: Path, folder: Path) -> bytes:
    if not _NAME.fullmatch(path.name):
        raise ValueError(f"{path.name[:100]!r} is not a plain file name; use letters, digits and _.~-")
    try:
        # A mounted ConfigMap's files are links, but none that leads out of it.
        if not path.is_file() or folder.resolve() not in path.resolve().parents:
            raise ValueError(f"{path.name!r} is not a file of this folder; remove it")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path.name!r} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path.name!r} is over {MAX_BYTES} bytes")
    return content
