"""What `doctor` asks of Google Cloud, and of the public URL: answered here by stand-ins."""

from __future__ import annotations

import io
import json
import re
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.api_core import exceptions
from google.iam.v1 import iam_policy_pb2, iam_policy_pb2_grpc, policy_pb2

from services.ops import doctor_cloud, doctor_project, doctor_release
from services.ops.__main__ import main
from services.ops.doctor_checks import DO, NEEDS, NOT_ASKED, NOTE, OK
from services.provision import service_accounts
from services.provision.bindings import PUBLISHER, SUBSCRIBER
from services.provision.config import Config
from services.shared import resource_names
from tests.ops.conftest import Pipeline
from tests.provision.wire import serving

ALL = {place: [permission for at, permission, _ in NEEDS if at == place] for place, _, _ in NEEDS}


def made(folder: Path, host: str, days: float) -> Path:
    """A certificate that signs itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=300))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "own.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


class Handler(BaseHTTPRequestHandler):
    status = 404

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Late(Handler):
    """Its clock is behind."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate((timestamp or time.time()) - 90, usegmt=True)


@contextmanager
def answering(handler: type[Handler], certificate: Path | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        yield port


@pytest.mark.parametrize(
    ("host", "days", "trust", "state", "text"),
    [
        ("localhost", 90, True, OK, "89 days left"),
        ("localhost", 3, True, DO, "2 days left"),
        ("localhost", -1, True, DO, "certificate has expired"),
        ("other.example.com", 90, True, DO, "Hostname mismatch"),
        ("localhost", 90, False, DO, "self-signed certificate"),
    ],
)
async def test_the_certificate_is_checked_as_clients_do(
    host: str, days: int, trust: bool, state: str, text: str, tmp_path: Path
) -> None:
    file = made(tmp_path, host, days)
    context = ssl.create_default_context(cafile=str(file) if trust else None)
    with answering(Handler, file) as port:
        *_, found = await doctor_release.public(f"https://localhost:{port}", context)
    assert (found.check, found.state) == ("certificate of localhost", state)
    assert text in found.text


async def test_a_public_url_that_does_not_answer_is_something_to_do(free_port: int) -> None:
    answers, certificate = await doctor_release.public(f"https://127.0.0.1:{free_port}")
    assert (answers.state, certificate.state) == (DO, NOT_ASKED)


async def test_a_clock_that_is_off_is_said_of_url_and_admin_port() -> None:
    with answering(Late) as port:
        url = f"http://127.0.0.1:{port}"
        public = await doctor_release.public(url)
        admin = await doctor_release.processes([url], "digest")
    said = {one.check: one for one in (*public, *admin)}
    for check in ("clock of the public URL", f"clock of service {url}"):
        assert said[check].state == DO and re.match(r"(8\d|9\d|1[01]\d) s behind", said[check].text), said


class Google(requests.adapters.BaseAdapter):
    """Answers by the last part of the path, or the metric in the filter; what it does not know is forbidden."""

    def __init__(self, answers: dict[str, Any], ahead: float = 0.0) -> None:
        super().__init__()
        self._answers, self._ahead = answers, ahead

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        reply = requests.Response()
        reply.url, reply.request = str(request.url), request
        body = next((answer for name, answer in self._answers.items() if name in reply.url), None)
        reply.status_code = 403 if body is None else 200
        reply.reason = "Forbidden"
        reply.headers["Date"] = formatdate(time.time() + self._ahead, usegmt=True)
        reply.raw = io.BytesIO(json.dumps(body).encode())
        return reply

    def close(self) -> None:
        """Nothing is open."""


def session(answers: dict[str, Any], ahead: float = 0.0) -> requests.Session:
    made = requests.Session()
    made.mount("https://", Google(answers, ahead))
    return made


def series(*values: str) -> dict[str, Any]:
    return {"timeSeries": [{"points": [{"value": {"int64Value": one}} for one in values]}]}


def test_backlogs_and_dead_letters_come_from_cloud_monitoring() -> None:
    answers = {"oldest_unacked": series("900", "4"), "num_undelivered": series("3"), "generate_204": {}}
    found = doctor_cloud.over_http(Config("p"), session(answers, ahead=60))
    assert [(one.check, one.state) for one in found] == [
        ("backlog of pixelpipe-hits-processor", DO),
        ("backlog of pixelpipe-rows-loader", DO),
        ("dead letters", DO),
        ("clock of Google", DO),
    ]
    assert "15 min" in found[0].text and "3 wait" in found[2].text and "60 s ahead" in found[3].text


def test_what_may_not_be_asked_and_what_has_no_figure_is_said() -> None:
    found = doctor_cloud.over_http(Config("p"), session({"num_undelivered": {}, "generate_204": {}}))
    assert [(one.check, one.state) for one in found] == [
        ("backlog", NOT_ASKED),
        ("dead letters", NOT_ASKED),
        ("clock of Google", OK),
    ]
    assert "403" in found[0].text and "no figure" in found[1].text


class Iam(iam_policy_pb2_grpc.IAMPolicyServicer):
    """Its service agent lacks a role on the subscription of rows alone, and the caller may consume nothing."""

    def GetIamPolicy(self, request: Any, _context: Any) -> Any:
        policy = policy_pb2.Policy()
        if "rows" not in request.resource:
            role = PUBLISHER if "/topics/" in request.resource else SUBSCRIBER
            policy.bindings.add(role=role, members=[service_accounts.service_agent("1")])
        return policy

    def TestIamPermissions(self, request: Any, _context: Any) -> Any:
        granted = [one for one in request.permissions if not one.endswith("consume")]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)


@contextmanager
def iam() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    iam_policy_pb2_grpc.add_IAMPolicyServicer_to_server(Iam(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def test_roles_and_permissions_are_asked_of_whoever_has_them(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = session({":testIamPermissions": {"permissions": ALL["project"]}})
    with iam() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        found = doctor_cloud.examine(Config(pipeline.project), pipeline.schema, granted)
    said = {one.check: one for one in found}
    agent, mine = said["Pub/Sub's service agent"], said["your permissions"]
    assert agent.state == DO and f"lacks {SUBSCRIBER} on {resource_names.ROWS_SUBSCRIPTION} (" in agent.text
    assert mine.state == NOTE and mine.text.endswith(
        "on the dead subscription (dead, reconcile, trace, forget, access)"
    )
    # The emulator of BigQuery has no such call, which costs no other answer.
    assert said["your permissions on the events table"].state == NOT_ASKED


def test_without_credentials_one_line_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    file.write_bytes(b"no json")
    for name in ("PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert main(["doctor", "--project", "my-project"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in said["checks"] if one["state"] == DO] == ["credentials"]
    assert "gcloud auth application-default login" in said["checks"][0]["text"]
    assert all(one["state"] == NOT_ASKED for one in said["checks"][1:])


def test_who_does_not_answer_is_asked_once(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    with iam() as host:  # which knows no topics
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        found = list(doctor_project.planned(Config(pipeline.project), pipeline.schema))
    failed, *others = found
    assert failed.name == "topic pixelpipe-dead" and isinstance(failed.error, exceptions.MethodNotImplemented)
    assert {one.verb for one in others} == {"keep"} and not any(one.name.startswith("subscription") for one in others)
