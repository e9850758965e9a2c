"""Cloud Storage as the archive's reader needs it: lists and reads objects, which are files of a folder, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@contextmanager
def serving(folder: Path, calls: list[str]) -> Iterator[str]:
    """The address, for STORAGE_EMULATOR_HOST; buckets are the folders in `folder`. `calls` gets what was asked for.

    Only what `roles/storage.objectViewer` allows is answered: reading a bucket's metadata is not.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            parts = [unquote(part) for part in place.path.removeprefix("/storage/v1/b/").split("/")]
            if not place.path.startswith("/storage/v1/b/"):  # the XML API: /BUCKET/OBJECT
                bucket, _, name = unquote(place.path.lstrip("/")).partition("/")
                calls.append("read")
                self._file(folder / bucket / name)
            elif parts[1:] == ["o"]:
                calls.append("list")
                self._list(folder / parts[0], parse_qs(place.query))
            elif len(parts) > 2 and parts[1] == "o":
                file = folder / parts[0] / "/".join(parts[2:])
                if "alt=media" in place.query:
                    calls.append("read")
                    self._file(file)
                elif file.is_file():
                    self._json(200, self._object(folder / parts[0], file))
                else:
                    self._json(404, {"error": {"code": 404, "message": "No such object"}})
            else:
                calls.append("bucket")
                self._json(403, {"error": {"code": 403, "message": "storage.buckets.get is denied"}})

        def _list(self, bucket: Path, query: dict[str, list[str]]) -> None:
            prefix = query.get("prefix", [""])[0]
            files = sorted(file for file in bucket.rglob("*") if file.is_file())
            found = [file for file in files if str(file.relative_to(bucket)).startswith(prefix)]
            start = int(query.get("pageToken", ["0"])[0])
            page: dict[str, Any] = {"items": [self._object(bucket, file) for file in found[start : start + 2]]}
            if start + 2 < len(found):
                page["nextPageToken"] = str(start + 2)
            self._json(200, page)

        def _object(self, bucket: Path, file: Path) -> dict[str, Any]:
            return {
                "kind": "storage#object",
                "bucket": bucket.name,
                "name": str(file.relative_to(bucket)),
                "size": str(file.stat().st_size),
                "generation": "1",
                "updated": "2026-03-01T00:00:00Z",
                "timeCreated": "2026-03-01T00:00:00Z",
            }

        def _file(self, file: Path) -> None:
            if not file.is_file():
                self._json(404, {"error": {"code": 404, "message": "No such object"}})
                return
            data = file.read_bytes()
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
            self.send_header("x-goog-generation", "1")
            self.end_headers()
            self.wfile.write(part)

        def _json(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
