from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import client_hints, user_agent
from services.processor.enrich.client_hints import Hints
from services.processor.enrich.user_agent import Agent

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Safari/537.36"
ANDROID = f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Mobile Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
CHROME = '"Chromium";v="129", "Google Chrome";v="129", "Not=A?Brand";v="8"'
BRAVE = '"Not;A=Brand";v="8", "Chromium";v="129", "Brave";v="129"'
ENGINE_ONLY = '"Chromium";v="129", "Not_A Brand";v="24"'


def _read(text: str, brands: str = CHROME, **hints: str) -> Agent:
    headers = {f"sec-ch-ua-{name.replace('_', '-')}": value for name, value in hints.items()}
    return user_agent.read({"user-agent": text, "sec-ch-ua": brands, **headers}, {})


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({}, None),
        ({"sec-ch-ua-mobile": "?1"}, None),
        ({"sec-ch-ua": CHROME}, Hints("Chrome", "129")),
        ({"sec-ch-ua": BRAVE, "sec-ch-ua-mobile": "?0"}, Hints("Brave", "129", mobile=False)),
        ({"sec-ch-ua": ENGINE_ONLY, "sec-ch-ua-platform": '"Linux"'}, Hints(os="Linux")),
        ({"sec-ch-ua": "", "sec-ch-ua-platform": '"Unknown"'}, Hints()),
        ({"sec-ch-ua": ENGINE_ONLY, "sec-ch-ua-platform": '"macOS"'}, Hints(os="Mac OS X")),
        (
            {
                "sec-ch-ua": CHROME,
                "sec-ch-ua-full-version-list": '"Google Chrome";v="129.0.6668.59", "Chromium";v="129.0.6668.59"',
                "sec-ch-ua-mobile": "?1",
                "sec-ch-ua-platform": '"Android"',
                "sec-ch-ua-platform-version": '"14.0.0"',
                "sec-ch-ua-model": '"Pixel 8"',
            },
            Hints("Chrome", "129.0.6668.59", True, "Android", "14", "Pixel 8"),
        ),
        ({"sec-ch-ua": '"Br\ud800ve";v="1"', "sec-ch-ua-model": '"\ud800"', "sec-ch-ua-platform": '"é"'}, Hints()),
        ({"sec-ch-ua": '"Chrome', "sec-ch-ua-mobile": "yes", "sec-ch-ua-platform": "Linux"}, Hints()),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], hints: Hints | None) -> None:
    assert client_hints.read(headers, {}) == hints


UADATA = {
    "brands": [{"brand": "Chromium", "version": "129"}, {"brand": "Not=A?Brand", "version": "8"}],
    "fullVersionList": [
        {"brand": "Not=A?Brand", "version": "8.0.0.0"},
        {"brand": "Microsoft Edge", "version": "129.0.2792.52"},
    ],
    "mobile": False,
    "platform": "Windows",
    "platformVersion": "15.0.0",
    "model": "",
}


@pytest.mark.parametrize("name", ["uadata", "userAgentData"])
def test_a_tracker_sends_the_hints_with_the_event(name: str) -> None:
    parameters = {"context": {name: UADATA}}
    hints = Hints("Edge", "129.0.2792.52", False, "Windows", "11")
    assert client_hints.read({}, parameters) == client_hints.read({"sec-ch-ua": BRAVE}, parameters) == hints
    found = user_agent.read({"user-agent": WINDOWS}, parameters)
    assert (found.browser, found.browser_version, found.os_version) == ("Edge", "129.0.2792.52", "11")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"brands": "Chrome", "mobile": 1, "platform": 7, "model": ["x"], "platformVersion": {}},
        {"brands": [None, 1, {}, {"brand": "Brave"}, {"brand": "Brave", "version": 1}, {"brand": 1, "version": "1"}]},
        {"brands": [{"brand": "Chromium", "version": "1"}] * 100_000 + [{"brand": "Brave", "version": "1"}]},
        {"platform": "x" * 65, "model": "\ud800", "brands": [{"brand": "é", "version": "1"}]},
    ],
)
def test_what_is_not_of_their_form_says_nothing(data: dict[str, Any]) -> None:
    assert client_hints.read({}, {"context": {"uadata": data}}) == Hints()
    assert client_hints.read({}, {"context": {"uadata": [data]}}) is None
    assert client_hints.read({}, {"context": [data]}) is None


@pytest.mark.parametrize(
    ("version", "windows"), [("15.0.0", "11"), ("13.0.0", "11"), ("10.0.0", "10"), ("0.3.0", "10"), ("x", "10")]
)
def test_windows_11_is_told_by_the_hints_only(version: str, windows: str) -> None:
    found = _read(WINDOWS, platform='"Windows"', platform_version=f'"{version}"')
    assert (found.os, found.os_version) == ("Windows", windows)


def test_the_brand_of_the_hints_wins() -> None:
    assert _read(WINDOWS, BRAVE)[:2] == ("Brave", "129")
    assert _read(FIREFOX, CHROME)[:5] == ("Chrome", "129", "Linux", None, "desktop")
    # The same browser by both: the user agent's version says more.
    assert _read(WINDOWS)[:2] == ("Chrome", "129.0.0")
    assert _read(ANDROID)[0] == "Chrome Mobile"
    assert _read(WINDOWS, ENGINE_ONLY)[:2] == ("Chrome", "129.0.0")


def test_the_user_agent_wins_for_the_rest() -> None:
    found = _read(WINDOWS, mobile="?1", platform='"Android"', platform_version='"14.0.0"')
    assert (found.os, found.os_version, found.device) == ("Windows", "10", "desktop")


def test_hints_fill_what_a_frozen_user_agent_leaves_out() -> None:
    found = _read(ANDROID, mobile="?1", platform='"Android"', platform_version='"14.0.0"', model='"Pixel 8"')
    assert (found.os, found.os_version, found.device, found.model) == ("Android", "14", "mobile", "Pixel 8")


@pytest.mark.parametrize(
    ("platform", "mobile", "device"),
    [
        ("Android", "?1", "mobile"),
        ("Android", "?0", "tablet"),
        ("Windows", "?0", "desktop"),
        ("Fuchsia", "?0", "other"),
    ],
)
def test_without_a_system_in_the_user_agent_the_hints_tell_the_device(platform: str, mobile: str, device: str) -> None:
    found = _read("Mozilla/5.0 Something", platform=f'"{platform}"', mobile=mobile)
    assert (found.os, found.device) == (platform, device)


def test_a_driven_browser_is_told_by_its_brand() -> None:
    found = _read(WINDOWS, '"HeadlessChrome";v="129", "Chromium";v="129"')
    assert (found.class_, found.name, found.reason) == ("headless", "HeadlessChrome", "client_hints")
    assert (found.device, found.is_bot) == ("bot", True)


def test_the_hints_of_a_machine_say_nothing() -> None:
    text = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    assert _read(text, BRAVE, platform='"Windows"') == user_agent.read({"user-agent": text}, {})


@given(st.dictionaries(st.sampled_from(client_hints.HEADERS), st.text() | st.text('"?01;v=,. A')))
def test_no_headers_raise(headers: dict[str, str]) -> None:
    found = user_agent.read({"user-agent": WINDOWS, **headers}, {})
    assert found.device in ("desktop", "bot")
