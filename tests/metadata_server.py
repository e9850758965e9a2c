"""A metadata server as a pod's node has one, on loopback, that can be late, wrong, silent or gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import process

WELL, ERROR, HTML, NO_TOKEN, SILENT = "well", "error 500", "html", "no token", "silent"
ACCOUNTS = "/computeMetadata/v1/instance/service-accounts/"


class MetadataServer:
    """`mode` says how it answers from now on; tokens last `lifetime` seconds.

    Google's clients renew a token minutes before it ends, so with a short lifetime each call asks for a new one.
    """

    def __init__(self) -> None:
        self.mode, self.lifetime = WELL, 5
        self.asked: list[str] = []  # paths, in order
        self._port = process.free_port()
        self._server: ThreadingHTTPServer | None = None
        self._awake = threading.Event()

    @property
    def env(self) -> dict[str, str]:
        """What makes Google's clients ask this server, and find no other credentials."""
        address = f"127.0.0.1:{self._port}"
        return {
            "GCE_METADATA_HOST": address,
            "GCE_METADATA_IP": address,
            "GCE_METADATA_TIMEOUT": "1",
            "GCE_METADATA_DETECT_RETRIES": "1",  # services look again by themselves
            "GOOGLE_APPLICATION_CREDENTIALS": "",
            "CLOUDSDK_CONFIG": "/nonexistent",
        }

    def start(self) -> None:
        """Listen, on the same port as before. Until then connections are refused."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing to say: `asked` holds it."""

        ThreadingHTTPServer.allow_reuse_address = True
        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._awake.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.mode == SILENT:
            self._awake.wait(60)
            return
        status, kind, body = 200, "application/json", "{}"
        if self.mode == ERROR:
            status, kind, body = 500, "text/plain", "not now"
        elif self.mode == HTML:
            kind, body = "text/html", "<html>a captive portal</html>"
        elif request.path.startswith(ACCOUNTS) and "/token" in request.path:
            token = "" if self.mode == NO_TOKEN else f"token-{len(self.asked)}"
            body = json.dumps({"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})
        elif request.path.startswith(ACCOUNTS):
            body = json.dumps({"email": "pod@test.iam.gserviceaccount.com", "scopes": ["cloud-platform"]})
        else:  # the ping, the project, the universe
            kind, body = "text/plain", "googleapis.com" if "universe" in request.path else "test"
        data = body.encode()
        request.send_response(status)
        request.send_header("Metadata-Flavor", "Google")
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@contextmanager
def metadata_server() -> Iterator[MetadataServer]:
    """One that does not listen yet."""
    server = MetadataServer()
    try:
        yield server
    finally:
        server.stop()
