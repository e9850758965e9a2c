"""What the page offers to put into a page or server can be pasted as it is, whatever the collector's address."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest

from local import snippets
from services.ops import pasted
from tests import tools

COLLECTORS = (
    "http://127.0.0.1:8080",
    "http://[::1]:8080",
    "https://c.shop.example",
    "https://[2001:db8::1]",
    "http://collector",
    "https://t.shop.example:8443/x",
)
# What is not the collector: the shop, scripts that the reader serves, and Google's.
OTHERS = {"shop.example.com", "static.example.com", "www.googletagmanager.com"}
JAVASCRIPT = """
const { SourceTextModule } = require("vm");
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const text of texts) try { new SourceTextModule(text); } catch (error) { console.log(`${error}: ${text}`); }
"""


class Markup(HTMLParser):
    """The attributes that hold addresses, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "input"):
            self.open.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "action", "data-api", "data-host-url")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)


def texts_of(one: dict[str, Any]) -> list[str]:
    """The texts in which the addresses of a snippet are, after its language's own parser has taken it."""
    text = one["text"]
    if one["language"] == "HTML":
        found = Markup(text)
        return [*found.addresses, *found.scripts]
    if one["language"] == "Python":
        return [
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    if one["language"] == "Shell":
        pasted.read(text)
        return shlex.split(text)
    assert one["language"].startswith("JavaScript"), one
    return [text]


@pytest.mark.parametrize("collector", COLLECTORS)
def test_every_snippet_names_the_collector_and_nobody_else(collector: str) -> None:
    host = collector.partition("://")[2]
    for one in snippets.snippets(collector, "e1"):
        texts = texts_of(one)
        addresses = [found for text in texts for found in re.findall(r"https?://[^\s'\"<>,\\)]+", text)]
        bare = [found for text in texts for found in re.findall(r"(?<!/)" + re.escape(host) + r"[^\s'\"]*", text)]
        ours = [address for address in addresses if address == collector or address.startswith(f"{collector}/")]
        # Umami's calls need no address: the tag beside them has it.
        assert ours or bare or one["text"].startswith("umami.track("), one
        rest = [urlsplit(address).hostname for address in addresses if address not in ours]
        assert set(rest) <= OTHERS, one
        left = one["text"].replace(collector, "").replace(host, "")
        assert set(re.findall(r"[\w.-]*example\.com", left)) <= OTHERS, one
        assert not re.search(r"[\w.-]" + re.escape(host), one["text"].replace(collector, "")), one
        if bare and collector.startswith("http:"):  # what takes a host alone talks https unless it is told
            assert "protocol: 'http'" in one["text"], one
        assert "protocol: 'http'" not in one["text"] or collector.startswith("http:"), one


def test_every_script_is_one() -> None:
    node = tools.require("node", "apt-get install nodejs")
    scripts = []
    for collector in COLLECTORS:
        for one in snippets.snippets(collector, "e1"):
            if one["language"].startswith("JavaScript"):
                scripts.append(one["text"])
            elif one["language"] == "HTML":
                scripts += Markup(one["text"]).scripts
    assert len(scripts) > 10 * len(COLLECTORS)
    command = [node, "--no-warnings", "--experimental-vm-modules", "-e", JAVASCRIPT]
    done = subprocess.run(command, input=json.dumps(scripts), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


def test_what_is_fired_goes_to_the_collector_of_the_page_and_carries_a_text_of_its_own() -> None:
    for one in snippets.snippets("http://127.0.0.1:8080", "MARK", shown="https://t.shop.example"):
        assert "127.0.0.1" not in one["text"], one
        fires = one["fires"]
        assert fires["url"].startswith("http://127.0.0.1:8080/"), one
        assert fires["marker"] == "MARK"
        assert f"{fires['url']}{fires['body']}".count("MARK") == 1, one
        assert fires["event_id"] is None or "MARK" in fires["event_id"], one


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://t.shop.example", "https://t.shop.example"),
        (" t.shop.example/ ", "https://t.shop.example"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("HTTP://T.Shop.Example:8080/x/", "http://t.shop.example:8080/x"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_read_as_people_type_it(text: str, address: str) -> None:
    assert snippets.address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "ftp://t.shop.example",
        "https://t.shop.example:99999",
        "https://t.shop.example:0",
        "https://[::g]",
        "https://t'.shop.example",
        'https://t".shop.example',
        "https://t<b>",
        "https://a b",
        "https://a?b",
        "https://t.shop.example/'",
        "https://user:word@t.shop.example",
        "https://-t.shop.example",
        "https://t..example",
        "https://" + "t" * 300,
    ],
)
def test_what_would_break_a_snippet_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="such as https://"):
        snippets.address(text)
