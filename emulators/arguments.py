"""Parsers of the emulators' command line arguments, and the address that control ports listen on."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HOST = "127.0.0.1"
LAST_PORT = 65_535
_NUMBER = re.compile("[0-9]{1,5}")
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,255}")


def port(text: str) -> int:
    """A port number, 0 for any free one."""
    if not _NUMBER.fullmatch(text) or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port; a port is a number from 0 to {LAST_PORT}")
    return int(text)


def host(text: str) -> str:
    """An address or a host name."""
    if not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:100]!r}: use an address or a host name")
    return text


def data_path(text: str) -> Path:
    """A file or folder of DuckDB's."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder or file")
    try:
        text.encode()
    except UnicodeEncodeError:  # DuckDB opens no such file
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8; choose another name") from None
    return Path(text)
