from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import user_agent
from services.processor.enrich.user_agent import Agent

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4"


def _read(text: str) -> Agent:
    return user_agent.read({"user-agent": text}, {})


@pytest.mark.parametrize(
    ("text", "browser", "version", "os", "os_version", "device"),
    [
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36",
            "Chrome",
            "129.0.0",
            "Windows",
            "10",
            "desktop",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/129.0.2792.52",
            "Edge",
            "129.0.2792",
            "Windows",
            "10",
            "desktop",
        ),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Safari/605.1.15",
            "Safari",
            "17.4",
            "Mac OS X",
            "10.15.7",
            "desktop",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
            "Firefox",
            "131.0",
            "Linux",
            None,
            "desktop",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36",
            "Chrome",
            "129.0.0",
            "Chrome OS",
            "14541.0.0",
            "desktop",
        ),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) {SAFARI} Mobile/15E148 Safari/604.1",
            "Mobile Safari",
            "17.4",
            "iOS",
            "17.4",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) {SAFARI} Mobile/15E148 Safari/604.1",
            "Mobile Safari",
            "17.4",
            "iOS",
            "17.4",
            "tablet",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36",
            "Chrome Mobile",
            "129.0.0",
            "Android",
            "14",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 9; CUBOT NOTE 20) {CHROME} Mobile Safari/537.36",
            "Chrome Mobile",
            "129.0.0",
            "Android",
            "9",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 14; SM-X710) {CHROME} Safari/537.36",
            "Chrome",
            "129.0.0",
            "Android",
            "14",
            "tablet",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; AFTMM) AppleWebKit/537.36 Silk/100.1.1 like Chrome/100.0.0.0 Safari/537.36",
            "Amazon Silk",
            "100.1.1",
            "Android",
            "9",
            "other",
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot",
            "2.1",
            None,
            None,
            "bot",
        ),
        ("curl/8.1", "curl", "8.1", None, None, "bot"),
        ("anything", None, None, None, None, "other"),
    ],
)
def test_what_a_header_tells(
    text: str, browser: str | None, version: str | None, os: str | None, os_version: str | None, device: str
) -> None:
    found = _read(text)
    assert found[:5] == (browser, version, os, os_version, device)
    assert found.is_bot == (device == "bot")


def test_a_maker_is_named_only_where_it_is_known() -> None:
    assert _read(f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36")[5:7] == (
        "Google",
        "Pixel 8",
    )
    assert _read(f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36")[5:7] == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "python-requests/2.31",
        "Go-http-client/2.0",
        f"Mozilla/5.0 (X11; Linux x86_64) {CHROME.replace('Chrome', 'HeadlessChrome')} Safari/537.36",
        "Mozilla/5.0 (compatible; SomethingNew/1.0; +https://example.com/about-our-crawler)",
    ],
)
def test_machines_that_say_so_are_bots(text: str) -> None:
    assert (_read(text).device, _read(text).is_bot) == ("bot", True)


@pytest.mark.parametrize("headers", [{}, {"user-agent": ""}, {"referer": "x"}])
def test_no_header_tells_nothing(headers: dict[str, str]) -> None:
    assert user_agent.read(headers, {}) == user_agent.NOTHING
    assert user_agent.NOTHING == (None,) * 11


@given(st.text() | st.text(st.characters(categories=["Cs"]), min_size=1))
def test_no_text_raises_and_only_what_is_known_is_told(text: str) -> None:
    found = _read(text)
    assert found.device in ("desktop", "mobile", "tablet", "bot", "other", None)
    for value in found[:7]:
        assert value is None or (isinstance(value, str) and 0 < len(value) <= 2 * user_agent.MAX_LENGTH)
        (value or "").encode()


def test_what_lies_behind_the_limit_is_not_read() -> None:
    long = "x" * user_agent.MAX_LENGTH
    before = user_agent.parse.cache_info().currsize
    assert _read(long + " Firefox/131.0") == _read(long + "y" * 100_000) == _read(long)
    assert user_agent.parse.cache_info().currsize == before + 1


def test_what_is_remembered_is_bounded() -> None:
    assert user_agent.parse.cache_info().maxsize == user_agent.REMEMBERED
