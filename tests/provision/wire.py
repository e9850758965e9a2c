"""Stands between one service and the emulators, passes everything on, and notes which method was called on what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import requests
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest
from google.pubsub_v1 import types

from tests.conftest import BigQueryAddress

_REQUESTS = {"CreateTopic": types.Topic, "CreateSubscription": types.Subscription, "AppendRows": AppendRowsRequest}
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TABLE = re.compile(r"projects/[^/]+/datasets/([^/]+)/tables/([^/]+)/")
_PATHS = (  # of BigQuery's REST API, below the project
    ("POST", r"/datasets", "datasets.insert"),
    ("GET", r"/datasets/([^/]+)", "datasets.get"),
    ("(PATCH|PUT)", r"/datasets/([^/]+)", "datasets.patch"),
    ("POST", r"/datasets/([^/]+)/tables", "tables.insert"),
    ("GET", r"/datasets/([^/]+)/tables/([^/]+)", "tables.get"),
    ("(PATCH|PUT)", r"/datasets/([^/]+)/tables/([^/]+)", "tables.patch"),
    ("POST", r"/datasets/([^/]+)/routines", "routines.insert"),
    ("GET", r"/datasets/([^/]+)/routines/([^/]+)", "routines.get"),
    ("PUT", r"/datasets/([^/]+)/routines/([^/]+)", "routines.update"),
    ("GET", r"/datasets/([^/]+)/tables/([^/]+)/rowAccessPolicies", "rowAccessPolicies.list"),
    (
        "POST",
        r"/datasets/([^/]+)/tables/([^/]+)/rowAccessPolicies/[^/]+:getIamPolicy",
        "rowAccessPolicies.getIamPolicy",
    ),
    ("POST", r"/jobs", "jobs.insert"),
    ("POST", r"/queries", "jobs.query"),
    ("GET", r"/jobs/([^/]+)", "jobs.get"),
    ("GET", r"/queries/([^/]+)", "jobs.getQueryResults"),
)


@dataclass(frozen=True)
class Noted:
    """`resource` is a topic's or subscription's id, a dataset, or DATASET.TABLE; `text` is the SQL or view of it."""

    method: str
    resource: str = ""
    topic: str = ""
    text: str = ""


@contextmanager
def noting(pubsub: str, bigquery: BigQueryAddress, notes: set[Noted]) -> Iterator[dict[str, str]]:
    """The environment of a service whose calls are noted."""
    with (
        _grpc(pubsub, notes) as pubsub_port,
        _grpc(bigquery.grpc, notes) as append_port,
        _rest(bigquery.rest, notes) as port,
    ):
        yield {
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub_port}",
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{append_port}",
        }


@contextmanager
def _grpc(target: str, notes: set[Noted]) -> Iterator[int]:
    with grpc.insecure_channel(target, _OPTIONS) as channel, ThreadPoolExecutor(64) as pool:
        server = grpc.server(pool, [_Forward(channel, notes)], options=_OPTIONS)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait(10)


class _Forward(grpc.GenericRpcHandler):
    """Every method, as a stream of bytes either way: a unary call is a stream of one."""

    def __init__(self, channel: grpc.Channel, notes: set[Noted]) -> None:
        self._channel, self._notes = channel, notes

    def service(self, details: Any) -> Any:
        method: str = details.method

        def handle(incoming: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            def seen() -> Iterator[bytes]:
                for data in incoming:
                    self._notes.update(_rpc(method.rpartition("/")[2], data))
                    yield data

            call = self._channel.stream_stream(method)(seen(), metadata=_metadata(details))
            context.add_callback(call.cancel)
            try:
                yield from call
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(handle)


def _metadata(details: Any) -> list[tuple[str, str]]:
    return [(key, value) for key, value in details.invocation_metadata if key.startswith("x-goog")]


def _rpc(method: str, data: bytes) -> Iterator[Noted]:
    kind = _REQUESTS.get(method) or getattr(types, f"{method}Request")
    request = kind.pb().FromString(data)
    if method == "AppendRows":
        if request.write_stream:
            matched = _TABLE.match(request.write_stream)
            assert matched is not None, request.write_stream
            yield Noted(method, ".".join(matched.groups()))
        return
    names = [getattr(request, field, "") for field in ("name", "subscription", "topic")]
    found = next((getattr(name, "name", name) for name in names if name), "")
    if not found:
        assert method == "StreamingPull", f"{method} names nothing"  # only the first request of a stream names it
        return
    topic = request.topic if method == "CreateSubscription" else ""
    yield Noted(method, found.rpartition("/")[2], topic.rpartition("/")[2])


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """Let it answer in a thread; its port."""
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _rest(target: str, notes: set[Noted]) -> Iterator[int]:
    session = requests.Session()
    session.trust_env = False

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            notes.add(_call(self.command, self.path, body.decode(errors="replace")))
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _OURS}
            answer = session.request(self.command, target + self.path, data=body, headers=headers, timeout=60)
            self.send_response(answer.status_code)
            for key, value in answer.headers.items():
                if key.lower() not in _OURS:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    server.daemon_threads = True  # clients keep connections open
    with serving(server) as port:
        yield port


_OURS = ("host", "content-length", "connection", "transfer-encoding", "content-encoding", "accept-encoding")


def _call(verb: str, path: str, body: str) -> Noted:
    below = re.sub(r"^/bigquery/v2/projects/[^/]+", "", path.partition("?")[0])
    for verbs, pattern, method in _PATHS:
        matched = re.fullmatch(pattern, below)
        if matched and re.fullmatch(verbs, verb):
            resource = "" if method.startswith("jobs.") else ".".join(matched.groups())
            texts = method in ("datasets.patch", "tables.insert", "tables.patch", "jobs.insert", "jobs.query")
            return Noted(method, resource, text=body if texts else "")
    raise AssertionError(f"{verb} {path}: which method is it, and what does it need?")
