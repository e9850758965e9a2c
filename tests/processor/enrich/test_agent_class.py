"""Who sends a request, held to the examples of crawler-user-agents, and to people's browsers."""

from __future__ import annotations

from typing import Any

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import agent_class, data_file, user_agent
from services.processor.enrich.user_agent import Agent

FILE = data_file.load(agent_class.FILE)
MACHINES = set(agent_class.CLASSES) - set(agent_class.FOR_PEOPLE)
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/129.0.0.0 Safari/537.36"
HEADLESS = CHROME.replace("Chrome", "HeadlessChrome")
APPLE_MAIL = "Mozilla/5.0"
GMAIL_AHEAD = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)


def _read(text: str = "", **headers: str) -> Agent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return user_agent.read({"user-agent": text, **named}, {})


def _who(found: Agent) -> tuple[Any, ...]:
    return found.class_, found.name, found.reason


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        (f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot)", "ai_crawler", "GPTBot"),
        (f"Mozilla/5.0 {WEBKIT}; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", "ai_crawler", "ClaudeBot"),
        ("meta-externalagent/1.1 (+https://developers.facebook.com/docs/)", "ai_crawler", "Meta-ExternalAgent"),
        ("CCBot/2.0 (https://commoncrawl.org/faq/)", "ai_crawler", "CCBot"),
        (f"{CHROME}; compatible; OAI-SearchBot/1.3; robots.txt; +https://openai.com/searchbot", "ai_search", None),
        (f"Mozilla/5.0 {WEBKIT}; compatible; PerplexityBot/1.0)", "ai_search", "PerplexityBot"),
        (f"Mozilla/5.0 {WEBKIT}; compatible; Claude-SearchBot/1.0)", "ai_search", "Claude-SearchBot"),
        (f"Mozilla/5.0 {WEBKIT}; compatible; ChatGPT-User/1.0)", "ai_assistant", "ChatGPT-User"),
        (f"Mozilla/5.0 {WEBKIT}; compatible; Claude-User/1.0; +Claude-User@anthropic.com)", "ai_assistant", None),
        (f"Mozilla/5.0 {WEBKIT}; compatible; Perplexity-User/1.0)", "ai_assistant", "Perplexity-User"),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "mail_proxy",
            "Gmail",
        ),
        (GMAIL_AHEAD, "mail_proxy", "Gmail"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "mail_proxy", "Yahoo Mail"),
        (APPLE_MAIL, "mail_proxy", "Apple Mail"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "preview", "Slack"),
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "preview", "Facebook"),
        ("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", "preview", "Discord"),
        ("WhatsApp/2.23.20.0", "preview", "WhatsApp"),
        ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "monitor", "UptimeRobot"),
        ("Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", "monitor", "Pingdom"),
        (f"{HEADLESS} Chrome-Lighthouse", "monitor", "Lighthouse"),
        (HEADLESS, "headless", "HeadlessChrome"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot", "Googlebot"),
        ("curl/8.1", "bot", "curl"),
        ("Mozilla/5.0 (compatible; Unheard/1.0; +https://example.com/about-our-crawler)", "bot", None),
        ("bot", "bot", None),
    ],
)
def test_machines_are_told_by_their_user_agent(text: str, kind: str, name: str | None) -> None:
    found = _read(text)
    assert (found.class_, found.reason) == (kind, "user_agent")
    assert name is None or found.name == name
    assert found.is_bot == (found.device == "bot") == (kind in MACHINES)


@pytest.mark.parametrize("text", [CHROME, "desktop", "mobile", "tablet", "other", "MyShop/3.1 (iPhone)"])
def test_who_is_not_told_to_be_a_machine_is_human(text: str) -> None:
    assert _who(_read(text)) == ("human", None, None)


def test_without_a_user_agent_nobody_is_told() -> None:
    assert _read() == user_agent.NOTHING


def _browser_of_people(entry: dict[str, Any]) -> bool:
    return entry["pattern"] in FILE["people"]


def test_each_example_of_the_package_is_no_person() -> None:
    assert sum(len(entry["instances"]) for entry in CRAWLER_USER_AGENTS_DATA) > 2_000
    wrong = [
        text
        for entry in CRAWLER_USER_AGENTS_DATA
        for text in entry["instances"]
        if _read(text).class_ == "human" and not _browser_of_people(entry)
    ]
    assert wrong == []


def test_what_is_left_out_of_the_package_is_in_it() -> None:
    known = {entry["pattern"] for entry in CRAWLER_USER_AGENTS_DATA}
    assert set(FILE["people"]) <= known, "an entry that the package has dropped; remove it"
    assert set(FILE["tags"]) <= {tag for entry in CRAWLER_USER_AGENTS_DATA for tag in entry["tags"]}


def test_the_file_has_known_classes_only_and_a_name_for_each() -> None:
    assert set(FILE["words"]) <= set(agent_class.CLASSES)
    named = [*FILE["whole"].values(), *FILE["signature_agents"].values()]
    assert {entry["class"] for entry in named} | set(FILE["tags"].values()) <= set(agent_class.CLASSES)
    for kind, words in FILE["words"].items():
        for word, name in words.items():
            assert _who(_read(f"Mozilla/5.0 (compatible; {word}/1.0)")) == (kind, name, "user_agent"), word


@pytest.mark.parametrize(
    ("claim", "kind", "name"),
    [
        ('"https://chatgpt.com"', "ai_assistant", "ChatGPT Agent"),
        ('sig1="https://www.claude.ai"', "ai_assistant", "Claude"),
        ('"https://Crawler.Example.com/.well-known/keys"', "bot", "crawler.example.com"),
    ],
)
def test_a_signature_agent_is_taken_at_its_word(claim: str, kind: str, name: str) -> None:
    for text in (CHROME, HEADLESS, "curl/8.1", ""):
        found = _read(text, signature_agent=claim)
        assert (_who(found), found.is_bot, found.device) == ((kind, name, "signature_agent"), True, "bot")
    # A user agent that names its sender says more than the host of its keys.
    named = _read("Mozilla/5.0 (compatible; GPTBot/1.2)", signature_agent=claim)
    assert _who(named) == ("ai_crawler", "GPTBot", "user_agent")


@pytest.mark.parametrize("claim", ["", "chatgpt.com", '"http://chatgpt.com"', "https://", "https://..", "\ud800", "?1"])
def test_a_signature_agent_that_names_no_host_says_nothing(claim: str) -> None:
    assert _who(_read(CHROME, signature_agent=claim)) == ("human", None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"x_moz": "prefetch"},
    ],
)
def test_a_page_that_is_fetched_ahead_is_a_prefetch_of_a_persons_browser(headers: dict[str, str]) -> None:
    found = _read(CHROME, **headers)
    assert _who(found) == ("prefetch", None, "purpose")
    assert (found.is_bot, found.device, found.browser) == (False, "desktop", "Chrome")
    assert _read("curl/8.1", **headers).class_ == "bot"


def test_another_purpose_says_nothing() -> None:
    assert _read(CHROME, sec_purpose="navigate", purpose="prefetching").class_ == "human"


@given(st.text(), st.text(), st.text())
def test_no_header_raises_and_class_and_bot_agree(text: str, claim: str, purpose: str) -> None:
    found = _read(text, signature_agent=claim, sec_purpose=purpose)
    assert found.class_ in (*agent_class.CLASSES, None)
    assert bool(found.is_bot) == (found.class_ in MACHINES)
    assert (found.reason is None) == (found.class_ in ("human", None))
