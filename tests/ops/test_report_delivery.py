"""Where the report of `pixelpipe reconcile` goes: a webhook, a mail address, a Prometheus; what it says if not."""

from __future__ import annotations

import asyncio
import email
import http.server
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import requests
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.ops import option
from services.ops.__main__ import main
from tests import process
from tests.ops.conftest import Done, Pipeline
from tests.ops.test_doctor_cloud import made
from tests.ops.test_reconcile import HOUR, last, tally
from tests.waiting import until

PASSWORD = "correct horse"
TO, FROM, USER = "team@example.com", "pixelpipe@example.com", "reports%40example.com"


def reconcile(pipeline: Pipeline, *arguments: str, code: int = 0) -> Done:
    return pipeline.ops("reconcile", "--no-dead", "--since", HOUR.isoformat(), *arguments, code=code)


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[Any]]]:
    got: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Mailbox:
    """A mail server's handler: takes mails after a login, and refuses what `refused` has a reply for."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []
        self.refused: dict[str, str] = {}

    async def handle_MAIL(self, _s: SMTP, _session: Session, envelope: Envelope, address: str, options: Any) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.refused.get("sender", "250 OK")

    async def handle_RCPT(self, _s: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any) -> str:
        envelope.rcpt_tos.append(address)
        return self.refused.get("recipient", "250 OK")

    async def handle_DATA(self, _s: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return self.refused.get("mail", "250 OK")

    async def handle_QUIT(self, _s: SMTP, _session: Session, _envelope: Envelope) -> str:
        return self.refused.get("goodbye", "221 Bye")

    def authenticate(self, _s: SMTP, _session: Session, _e: Envelope, _mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
        good = good and data.login == b"reports@example.com"
        return AuthResult(success=good, handled=good)


@asynccontextmanager
async def mail_server(box: Mailbox, certificate: Path, *, kind: str = "smtps") -> AsyncIterator[int]:
    """A server of `smtps`, of `smtp` with STARTTLS, or a `plain` one; its port."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    more = {
        # It is TLS already, which aiosmtpd does not see.
        "smtps": {"authenticator": box.authenticate, "auth_require_tls": False},
        "smtp": {
            "authenticator": box.authenticate,
            "auth_required": True,
            "tls_context": tls,
            "require_starttls": True,
        },
        "plain": {},
    }[kind]
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(box, hostname="localhost", **more), "127.0.0.1", 0, ssl=tls if kind == "smtps" else None
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of `localhost`, which is trusted."""
    file = made(tmp_path, "localhost", 90)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return file


@pytest.fixture
def lossy(pipeline: Pipeline) -> Pipeline:
    """Two hits of it are missing."""
    pipeline.load("tallies", [tally("a", "acknowledged", 5), last("a"), tally("p1", "loaded", 3)])
    return pipeline


def mailing(port: int, scheme: str = "smtps", user: str = f"{USER}@") -> list[str]:
    return ["--mail-to", TO, "--mail-from", FROM, "--mail-server", f"{scheme}://{user}localhost:{port}"]


def test_the_report_goes_to_a_webhook(pipeline: Pipeline) -> None:
    pipeline.load("tallies", [last("a")])
    with webhook(200) as (url, got):
        report = reconcile(pipeline, "--json", "--webhook", url).json
    assert got == [report]
    with webhook(404) as (url, _):
        done = reconcile(pipeline, "--json", "--webhook", url, code=1)
        assert done.err == "reconcile: the webhook answers 404; check --webhook\n"
    gone = reconcile(pipeline, "--webhook", url, code=1)
    assert gone.err.startswith("reconcile: the webhook cannot be reached: ") and "secret" not in gone.err


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
async def test_the_report_is_mailed(
    scheme: str, lossy: Pipeline, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPE_MAIL_PASSWORD", PASSWORD)
    box = Mailbox()
    async with mail_server(box, certificate, kind=scheme) as port:
        done = await asyncio.to_thread(reconcile, lossy, *mailing(port, scheme), code=1)
    assert done.err == ""
    (mail,) = box.mails
    first = HOUR.isoformat().replace("+00:00", "Z")
    assert mail["Subject"] == f"pixelpipe: 2 hits are missing ({lossy.project}.pixelpipe since {first})"
    assert box.envelopes == [(FROM, [TO])]
    assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == (FROM, TO, "auto-generated")
    assert mail["Message-ID"].endswith("@example.com>") and mail["Date"].datetime
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == done.out, "the table of a terminal"
    assert f"{first}: 2 missing, of collectors a" in done.out


async def test_a_mail_that_is_refused_is_one_line_that_says_why(
    lossy: Pipeline, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither the report nor the webhook is lost by it; nothing of what the server says is shown."""
    monkeypatch.setenv("PIPE_MAIL_PASSWORD", PASSWORD)
    box = Mailbox()

    async def said(*arguments: str) -> str:
        done = await asyncio.to_thread(reconcile, lossy, *arguments, code=1)
        assert done.out.endswith(
            "hits are missing (5 acknowledged, 3 loaded, 0 rejected, 0 sampled-out, 0 in flight)\n"
        )
        assert PASSWORD not in done.err and "their words" not in done.err and len(done.err.splitlines()) == 1
        return done.err.removeprefix("reconcile: the mail server ").rstrip()

    async with mail_server(box, certificate) as port:
        for what, text in (
            ("sender", "refuses the sender (553); check --mail-from"),
            ("recipient", "refuses the recipient (553); check --mail-to"),
            ("mail", "refuses the mail (553); check --mail-server"),
        ):
            box.refused = {what: "553 their words"}
            assert await said(*mailing(port)) == text
        with webhook(200) as (url, got):
            both = await said(*mailing(port), "--webhook", url)
            assert both == text and [one["missing"] for one in got] == [2]
        both = await said(*mailing(port), "--webhook", url)  # which has gone
        assert both.startswith("reconcile: the webhook cannot be") and both.endswith(f"the mail server {text}")
        wrong = mailing(port, user="somebody@")
        assert await said(*wrong) == "refuses the login (535); check the user in --mail-server and PIPE_MAIL_PASSWORD"
        monkeypatch.delenv("SSL_CERT_FILE")
        assert (await said(*mailing(port))).startswith("has a certificate that is not trusted (")
    assert await said(*mailing(port)) == "cannot be used: ConnectionRefusedError; check --mail-server"
    async with mail_server(box, certificate, kind="plain") as port:
        assert await said(*mailing(port, "smtp")) == "offers no STARTTLS; use smtps://"


async def test_an_odd_goodbye_changes_nothing(
    lossy: Pipeline, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPE_MAIL_PASSWORD", PASSWORD)
    box = Mailbox()
    box.refused = {"goodbye": "451 their words"}
    async with mail_server(box, certificate) as port:
        done = await asyncio.to_thread(reconcile, lossy, *mailing(port), code=1)
        assert (done.err, len(box.mails)) == ("", 1)
        box.refused["recipient"] = "553 their words"
        done = await asyncio.to_thread(reconcile, lossy, *mailing(port), code=1)
        assert done.err == "reconcile: the mail server refuses the recipient (553); check --mail-to\n"


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["--mail-to", TO], "", "a mail needs all of --mail-to, --mail-from and --mail-server"),
        (mailing(25), "", "takes both a user in --mail-server and PIPE_MAIL_PASSWORD"),
        (mailing(25, user=""), PASSWORD, "takes both a user in --mail-server and PIPE_MAIL_PASSWORD"),
        (mailing(25, user=f"{USER}:hunter2@"), "", "the password belongs in PIPE_MAIL_PASSWORD, not in the URL"),
        (mailing(25, "http"), "", "use a URL, such as smtps://"),
        (["--mail-to", "team@example.com\nBcc: all@example.com"], "", "use an address"),
        (["--mail-from", "a@example.com, b@example.com"], "", "use an address"),
        (mailing(25), "hunter2é", "must be plain ASCII"),
        (mailing(25, user="hunter2%C3%A9@"), PASSWORD, "must be plain ASCII"),
        (mailing(25, user="a?b@"), PASSWORD, "use a URL, such as smtps://"),
        (["--webhook", "hooks.example.com/hunter2"], "", "use a URL, such as https://hooks.example.com/…"),
        (["--webhook", "https://hooks.example.com:x/hunter2"], "", "use a URL, such as https://hooks.example.com/…"),
    ],
)
def test_what_nobody_could_mail_is_refused_at_once(
    arguments: list[str], password: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPE_MAIL_PASSWORD", password)
    try:
        code = main(["reconcile", "--project", "p", *arguments])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    err = capsys.readouterr().err
    assert said in err and "hunter2" not in err


@pytest.mark.parametrize("text", ["9104", "127.0.0.1", "x:y", ":1", "a@b:1", "h:1/metrics", "h:99999"])
def test_where_metrics_are_served_is_a_host_and_a_port(text: str) -> None:
    with pytest.raises(option.argparse.ArgumentTypeError, match="use a host and a port"):
        option.host_and_port(text)


@pytest.mark.slow
async def test_its_numbers_can_be_scraped_for_a_while(lossy: Pipeline) -> None:
    """Although what it is sent to is of a name that cannot be, which the libraries have no error of their own for."""
    port = process.free_port()
    arguments = ["--metrics", f"127.0.0.1:{port}", "--metrics-seconds", "8"]
    arguments += ["--webhook", f"http://{'a' * 64}.example.com/secret"]
    arguments += ["--mail-to", TO, "--mail-from", FROM, "--mail-server", f"smtps://{'a' * 64}.example.com"]
    running = asyncio.create_task(asyncio.to_thread(reconcile, lossy, *arguments, code=1))
    text = ""

    async def scraped() -> bool:
        nonlocal text
        try:
            text = (await asyncio.to_thread(requests.get, f"http://127.0.0.1:{port}/metrics", timeout=5)).text
        except (requests.ConnectionError, requests.Timeout):
            assert not running.done()
        return bool(text)

    await until(scraped, "the numbers", 60)
    assert "pixelpipe_reconciliation_missing_hits 2.0\n" in text
    for outcome, hits in (("acknowledged", 5), ("loaded", 3), ("in_flight", 0)):
        assert f'pixelpipe_reconciliation_hits{{outcome="{outcome}"}} {hits:.1f}\n' in text
    done = await running
    assert "2 hits are missing" in done.out
    assert done.err.startswith("reconcile: the webhook cannot be ") and len(done.err.splitlines()) == 1
    assert done.err.endswith("; the mail cannot be sent: UnicodeError\n")
    text = ""
    with pytest.raises(AssertionError):
        await scraped()


def test_a_port_that_is_in_use_is_named(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pipeline.ops("reconcile", "--no-dead", "--metrics", f"127.0.0.1:{port}", code=1)
    wanted = f"reconcile: --metrics 127.0.0.1:{port}: nobody can listen there: Address already in use; use another\n"
    assert done.err == wanted
