"""Types of options, for argparse: each refuses in one line what no command could use."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

from services.shared import config

_MAIL_SERVER = re.compile(r"smtps?://([A-Za-z0-9._~%!$&'()*+,;=-]+@)?[A-Za-z0-9._-]+(:[0-9]{1,5})?")


def name(kind: str) -> Callable[[str], str]:
    """A project, dataset, topic or subscription."""

    def read(text: str) -> str:
        try:
            config.check_shape(kind, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{config.shown(text)}: {error}") from None
        return text

    return read


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{config.shown(text)}: use a number {_range(low, high)}")
        return value

    return read


HITS_A_SECOND = number(0.001, 1e9)  # less than a hundred a day is as good as none


def whole(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{config.shown(text)}: use a whole number {_range(low, math.inf)}")
        return value

    return read


def url(text: str) -> str:
    if not _is_url(text):
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: use a URL, such as https://track.example.com")
    return text


def secret_url(text: str) -> str:
    """A URL that lets in whoever knows it. What is refused is not shown."""
    if not _is_url(text):
        raise argparse.ArgumentTypeError("use a URL, such as https://hooks.example.com/…")
    return text


def _is_url(text: str) -> bool:
    try:
        place = urlsplit(text)
        text.encode()
        return place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:  # a port that is none, or bytes that are not UTF-8
        return False


def host_and_port(text: str) -> tuple[str, int]:
    try:
        place = urlsplit(f"//{text}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or port is None or "/" in text or "@" in text:
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: use a host and a port, such as 127.0.0.1:9104")
    return host, port


def mail_server(text: str) -> str:
    """smtps://[USER@]HOST[:PORT], or smtp:// for STARTTLS. What is refused is not shown: it may hold a password."""
    try:
        place = urlsplit(text)
        usable, secret = place.port != 0, place.password is not None
    except ValueError:
        usable = secret = False
    if secret:
        raise argparse.ArgumentTypeError("the password belongs in PIPE_MAIL_PASSWORD, not in the URL")
    if not usable or not _MAIL_SERVER.fullmatch(text):
        raise argparse.ArgumentTypeError("use a URL, such as smtps://reports@smtp.example.com")
    return text


def mail_address(text: str) -> str:
    """One plain address: a line break in it would begin another header, a comma another recipient."""
    if not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w.-]{1,255}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: use an address, such as team@example.com")
    return text


def file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a file")
    return Path(text)


def archive(text: str) -> str:
    """gs://BUCKET[/FOLDER], or a folder that is there."""
    if not text or "://" in text:
        try:
            config.check_shape("archive", text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{config.shown(text)}: {error}, or a folder") from None
    if not text.startswith("gs://") and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: there is no such folder")
    return text


def moment(text: str) -> datetime:
    """A time in UTC, as which it is read where it does not say."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # in UTC, it may be in the year 0
        raise argparse.ArgumentTypeError(
            f"{config.shown(text)}: use a time, such as 2026-03-01 or 2026-03-01T12:30:00Z"
        ) from None


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: use a day, such as 2026-03-01") from None


def _range(low: float, high: float) -> str:
    return f"from {low:g} up" if math.isinf(high) else f"from {low:g} to {high:g}"
