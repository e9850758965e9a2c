"""A web site for browsers: its pages, and paths under /x/ that it passes on to the collector, as a first party does."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    collector: str
    pages: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of every page
    failures: int = 0  # so many posts to /x/e are answered 503
    failed: int = 0
    url: str = ""

    def answer(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/x/"):
            if method == "POST" and self.failures:
                self.failures -= 1
                self.failed += 1
                return 503, {"Retry-After": "1"}, b""
            return self._pass_on(method, {"/x/e": "/events"}.get(path, path.removeprefix("/x")), body, content_type)
        page = self.pages.get(path.partition("?")[0])
        if page is None:
            return 404, {}, b""
        return (
            200,
            {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", **self.headers},
            page.encode(),
        )

    def _pass_on(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, dict[str, str], bytes]:
        asked = urllib.request.Request(self.collector + path, method=method, data=body or None)
        asked.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(asked, timeout=60) as reply:
                return reply.status, {"Content-Type": reply.headers.get("Content-Type", "text/plain")}, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {}, error.read()


@contextmanager
def serving(collector: str) -> Iterator[Site]:
    site = Site(collector)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, headers, content = site.answer(self.command, self.path, body, self.headers.get("Content-Type", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
