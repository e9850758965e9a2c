"""Sends a report to a webhook and to a mail address, each whether or not the other takes it.

What it says when one does not names no URL, mail address or password, and has no words of a server's: those may be
secrets, or a stranger's text. Of a certificate it may name the mail server's host.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import smtplib
import ssl
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime, make_msgid
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp

from services.ops import option
from services.ops.deployment import CommandRefused
from services.shared.config import ConfigError

_WEBHOOK_SECONDS = 30.0
_MAIL_SECONDS = 30.0  # one answer of the mail server may take
_PASSWORD = "PIPE_MAIL_PASSWORD"  # noqa: S105 - the name of the variable
_TLS_PORT, _STARTTLS_PORT = 465, 587


@dataclass(frozen=True)
class MailRoute:
    """From and to whom a report is mailed, and through which server. Always by TLS; `user` is "" without a login."""

    server: str
    port: int
    starttls: bool
    user: str
    password: str
    sender: str
    recipient: str


@dataclass(frozen=True)
class Destinations:
    webhook: str | None
    mail: MailRoute | None


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--webhook",
        type=option.secret_url,
        default=os.environ.get("PIPE_WEBHOOK") or None,
        metavar="URL",
        help="post the report there too, as JSON with a `text`, as Slack takes it (environment PIPE_WEBHOOK)",
    )
    parser.add_argument("--mail-to", type=option.mail_address, metavar="ADDRESS", help="mail the report there too")
    parser.add_argument("--mail-from", type=option.mail_address, metavar="ADDRESS", help="the sender of the mail")
    parser.add_argument(
        "--mail-server",
        type=option.mail_server,
        metavar="URL",
        help="smtps://[USER@]HOST[:465], or smtp://[USER@]HOST[:587] for STARTTLS; the user's password is in the "
        f"environment's {_PASSWORD}",
    )


def destinations(options: argparse.Namespace) -> Destinations:
    """Where the report goes by these options. Raises ConfigError for a mail that nobody could send."""
    given = (options.mail_to, options.mail_from, options.mail_server)
    if not any(given):
        return Destinations(options.webhook, None)
    if not all(given):
        raise ConfigError("a mail needs all of --mail-to, --mail-from and --mail-server")
    place = urlsplit(options.mail_server)
    user, password = unquote(place.username or ""), os.environ.get(_PASSWORD, "")
    if bool(user) != bool(password):
        raise ConfigError(f"to log in to the mail server takes both a user in --mail-server and {_PASSWORD}")
    if not (user + password).isascii():  # which smtplib cannot log in with
        raise ConfigError(f"the user in --mail-server and {_PASSWORD} must be plain ASCII")
    starttls = place.scheme == "smtp"
    port = place.port or (_STARTTLS_PORT if starttls else _TLS_PORT)
    route = MailRoute(
        place.hostname or "", port, starttls, user, password, sender=options.mail_from, recipient=options.mail_to
    )
    return Destinations(options.webhook, route)


async def deliver(to: Destinations, report: Mapping[str, Any], text: str) -> list[str]:
    """Send the report everywhere; why where it did not arrive, whatever it was. `text` is the body of the mail."""
    sending: dict[str, Awaitable[None]] = {}
    if to.webhook:
        sending["webhook"] = _post(to.webhook, report)
    if to.mail:
        sending["mail"] = asyncio.to_thread(_mail, to.mail, str(report["subject"]), text)
    ends = await asyncio.gather(*sending.values(), return_exceptions=True)
    return [_why(name, end) for name, end in zip(sending, ends, strict=True) if end is not None]


def _why(name: str, end: BaseException) -> str:
    if isinstance(end, CommandRefused):
        return str(end)
    if not isinstance(end, Exception):  # such as Ctrl-C
        raise end
    return f"the {name} cannot be sent: {type(end).__name__}"


async def _post(url: str, report: Mapping[str, Any]) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WEBHOOK_SECONDS)) as session,
            session.post(url, json=report, allow_redirects=False) as reply,
        ):
            status = reply.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandRefused(f"the webhook cannot be reached: {type(error).__name__}; check --webhook") from None
    if status >= 300:
        raise CommandRefused(f"the webhook answers {status}; check --webhook")


def _mail(route: MailRoute, subject: str, text: str) -> None:
    message = EmailMessage(SMTP)
    message["From"], message["To"], message["Subject"] = route.sender, route.recipient, subject
    message["Date"], message["Message-ID"] = localtime(), make_msgid(domain=route.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # so that nobody's holiday notice answers
    message.set_content(text + "\n")
    try:
        _send(route, message)
    except smtplib.SMTPAuthenticationError as error:
        problem = f"refuses the login ({error.smtp_code}); check the user in --mail-server and {_PASSWORD}"
    except smtplib.SMTPRecipientsRefused as error:
        code, _ = error.recipients[route.recipient]
        problem = f"refuses the recipient ({code}); check --mail-to"
    except smtplib.SMTPSenderRefused as error:
        problem = f"refuses the sender ({error.smtp_code}); check --mail-from"
    except smtplib.SMTPResponseException as error:  # also SMTPDataError, SMTPHeloError, SMTPConnectError
        problem = f"refuses the mail ({error.smtp_code}); check --mail-server"
    except smtplib.SMTPNotSupportedError:
        what = "STARTTLS; use smtps://" if route.starttls else "a login; check --mail-server"
        problem = f"offers no {what}"
    except ssl.SSLCertVerificationError as error:
        problem = f"has a certificate that is not trusted ({error.verify_message}); check --mail-server"
    except (smtplib.SMTPException, OSError) as error:  # also a name that is not found, a timeout, no TLS
        problem = f"cannot be used: {type(error).__name__}; check --mail-server"
    else:
        return
    raise CommandRefused(f"the mail server {problem}")


def _send(route: MailRoute, message: EmailMessage) -> None:
    tls = ssl.create_default_context()
    connect = (
        smtplib.SMTP(route.server, route.port, timeout=_MAIL_SECONDS)
        if route.starttls
        else smtplib.SMTP_SSL(route.server, route.port, timeout=_MAIL_SECONDS, context=tls)
    )
    with contextlib.closing(connect) as server:
        if route.starttls:
            server.starttls(context=tls)
        if route.user:
            server.login(route.user, route.password)
        server.send_message(message, route.sender, [route.recipient])
        with contextlib.suppress(smtplib.SMTPException, OSError):  # the mail is accepted, however it says goodbye
            server.quit()
