from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.shared import schema_file
from services.shared.name_rules import compact
from services.shared.privacy import (
    ACTIONS,
    BALANCED,
    BY_PRESET,
    IP_CHOICES,
    MAX_COOKIE_DAYS,
    OFF,
    PRESETS,
    SECRETS,
    SIGNALS,
    STRICT,
    Cookie,
    Privacy,
)
from services.shared.schema import DEFAULT_FILE, SchemaError
from services.shared.schema_privacy import KEYS, NEEDED, SAME_SITE, STEPS
from tests.schemas import SCHEMA, SCHEMA_FILE, refused

TEXT = SCHEMA_FILE.read_text()
EVENTS = TEXT[TEXT.index("tables:") :]


def _privacy(text: str) -> dict[str, Privacy]:
    return schema_file.parse(text + "\n" + EVENTS).privacy


def _errors(text: str, tables: str = EVENTS) -> list[str]:
    return refused(text + "\n" + tables)


def test_a_file_that_says_nothing_leaves_the_presets() -> None:
    assert SCHEMA.privacy == BY_PRESET
    assert set(BY_PRESET) == set(PRESETS)


def test_the_file_at_the_root_keeps_the_presets() -> None:
    assert schema_file.load(DEFAULT_FILE).privacy == BY_PRESET


EVERYTHING = """\
privacy:
  ip: full
  signals: {dnt: record, consent: drop}
  secrets: [x_auth, "Session Key"]
  ids: loyalty_id
  hash:
    email: [trim, lower]
    user_id: []
    phone: trim
  cookie:
    origins: [https://www.example.com, "*.shop.example.com"]
    name: visitor
    domain: example.com
    days: 90
    renew: true
    same_site: Strict
"""


def test_what_the_file_says_goes_before_the_preset() -> None:
    found = _privacy(EVERYTHING)
    assert list(found) == list(BY_PRESET)
    for name, one in found.items():
        assert one == Privacy(
            ip="full",
            signals={**BY_PRESET[name].signals, "dnt": "record", "consent": "drop"},
            secrets=("x_auth", "Session Key"),
            ids=("loyalty_id",),
            hash={"email": ("trim", "lower"), "user_id": (), "phone": ("trim",)},
            cookie=Cookie(
                origins=("https://www.example.com", "*.shop.example.com"),
                name="visitor",
                domain="example.com",
                days=90,
                renew=True,
                same_site="Strict",
            ),
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_file_does_not_say_is_the_presets(preset: str) -> None:
    one = _privacy("privacy:\n  signals: {dnt: drop}\n")[preset]
    assert one.ip == {STRICT: "none", BALANCED: "cut", OFF: "full"}[preset]
    rest = {STRICT: "drop", BALANCED: "anonymize", OFF: "record"}[preset]
    assert one.signals == {**dict.fromkeys(SIGNALS, rest), "dnt": "drop"}
    assert one.cookie is None


def test_a_cookie_of_few_words() -> None:
    found = _privacy("privacy:\n  cookie: {origins: https://www.example.com}\n")[BALANCED].cookie
    assert found == Cookie(origins=("https://www.example.com",))
    assert (found.days, found.renew, found.same_site, found.domain) == (MAX_COOKIE_DAYS, False, "Lax", "")


NAMES = st.text("abcxyz_-. ", min_size=3, max_size=20).filter(
    lambda name: len(compact(name)) > 2 and name == name.strip() and compact(name) not in map(compact, SECRETS)
)
UNIQUE: dict[str, Any] = {"unique_by": compact, "max_size": 5}
SAID = st.fixed_dictionaries(
    {},
    optional={
        "ip": st.sampled_from(IP_CHOICES),
        "signals": st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(ACTIONS)),
        "secrets": st.lists(NAMES.map("s".__add__), min_size=1, **UNIQUE),
        "ids": st.lists(NAMES, min_size=1, **UNIQUE),
        "hash": st.lists(NAMES.map("h".__add__), **UNIQUE).flatmap(
            lambda names: st.fixed_dictionaries({name: st.lists(st.sampled_from(STEPS), unique=True) for name in names})
        ),
        "cookie": st.fixed_dictionaries(
            {
                "origins": st.lists(
                    st.from_regex(r"https://[a-z]{1,9}(:[1-9][0-9]{1,3})?|\*\.[a-z]{3,9}\.example", fullmatch=True),
                    min_size=1,
                    max_size=4,
                    unique=True,
                )
            },
            optional={
                "name": st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True),
                "days": st.integers(1, MAX_COOKIE_DAYS),
                "renew": st.booleans(),
                "same_site": st.sampled_from(SAME_SITE),
            },
        ),
    },
)


@given(SAID, st.booleans())
def test_every_key_is_read_as_it_was_written(said: dict[str, Any], flow: bool) -> None:
    assert {*KEYS} >= {*said}
    text = json.dumps({"privacy": said})[1:-1] if flow else yaml.safe_dump({"privacy": said})
    for name, one in _privacy(text).items():
        assert one.ip == said.get("ip", BY_PRESET[name].ip)
        assert one.signals == {**BY_PRESET[name].signals, **said.get("signals", {})}
        assert list(one.secrets) == said.get("secrets", [])
        assert list(one.ids) == said.get("ids", [])
        assert {key: list(steps) for key, steps in one.hash.items()} == said.get("hash", {})
        if (cookie := said.get("cookie")) is None:
            assert one.cookie is None
        else:
            assert one.cookie == Cookie(**{**cookie, "origins": tuple(cookie["origins"])})


LONGER = "; remove it here, or write a longer name"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("colour: red", "3:3: privacy: 'colour' is not known here"),
        ("ip: half", "3:7: privacy: ip: 'half' is none of full, cut, none"),
        ("ip: Cut", "3:7: privacy: ip: 'Cut' is none of full, cut, none; did you mean 'cut'?"),
        ("ip: [cut]", "3:7: privacy: ip: a text is wanted here, not a list"),
        ("ip:", "3:6: privacy: ip: a text is wanted here, not nothing"),
        ("signals: drop", "3:12: privacy: signals: a mapping (`name: value` lines) is wanted here, not 'drop'"),
        (
            "signals: {Sec-GPC: drop}",
            "3:22: privacy: signals: 'Sec-GPC' is none of gpc, dnt, sp_anonymous, consent, google_consent; did you "
            "mean 'gpc'?",
        ),
        (
            "signals: {gpc: anonymise}",
            "3:18: privacy: signals: gpc: 'anonymise' is none of record, anonymize, drop; did you mean 'anonymize'?",
        ),
        ("signals: {gpc: drop, gpc: record}", "3:24: privacy: signals: 'gpc' is there twice"),
        ("secrets: []", "3:12: privacy: secrets: the list is empty; name at least one, or leave it out"),
        ("secrets: [a_key, '']", "3:20: privacy: secrets: a text is wanted here, not nothing"),
        ("secrets: [{a: b}]", "3:13: privacy: secrets: a text is wanted here, not a mapping"),
        ("secrets: ['- _']", "3:13: privacy: secrets: '- _' would match every name or none; write a parameter's name"),
        (
            'secrets: ["\\u200b\\u00ad"]',
            r"3:13: privacy: secrets: '\u200b\xad' would match every name or none; write a parameter's name",
        ),
        (
            "secrets: [größe, ＧＲÖＳＳＥ]",
            "3:20: privacy: secrets: 'ＧＲÖＳＳＥ' is there twice; case, `-`, `_`, `.` and spaces do not count",
        ),
        ("secrets: ['*']", "3:13: privacy: secrets: '*' is a pattern or not a name; write each name in full"),
        ("secrets: ['pass*']", "3:13: privacy: secrets: 'pass*' is a pattern or not a name; write each name in full"),
        (
            "secrets: [p]",
            "3:13: privacy: secrets: 'p' is too short: trackers name other things so; write two letters",
        ),
        (
            "secrets: [x_auth, X-Auth]",
            "3:21: privacy: secrets: 'X-Auth' is there twice; case, `-`, `_`, `.` and spaces do not count",
        ),
        ("secrets: [Event-ID]", f"3:13: privacy: secrets: 'Event-ID' is also `event_id`, which events need{LONGER}"),
        ("secrets: [url]", f"3:13: privacy: secrets: 'url' is also `url`, which events need{LONGER}"),
        ("ids: [type]", f"3:9: privacy: ids: 'type' is also `type`, which events need{LONGER}"),
        ("hash: [email]", "3:9: privacy: hash: a mapping (`name: value` lines) is wanted here, not a list"),
        ("hash: {email: low}", "3:17: privacy: hash: email: 'low' is none of trim, lower; did you mean 'lower'?"),
        ("hash: {email: }", "3:16: privacy: hash: email: say what is done first, of trim, lower; `[]` is nothing"),
        ("hash: {email: [trim, trim]}", "3:24: privacy: hash: email: 'trim' is there twice"),
        (
            "hash: {api-key: []}",
            "3:19: privacy: hash: api-key: it is one of the secrets, which are removed; remove it here or there",
        ),
        (
            "hash: {email: [], E-Mail: []}",
            "3:29: privacy: hash: E-Mail: the same name as email; case, `-`, `_`, `.` and spaces do not count",
        ),
        ("hash: {event_id: []}", f"3:20: privacy: hash: 'event_id' is also `event_id`, which events need{LONGER}"),
        ("cookie: on", "3:11: privacy: cookie: a mapping (`name: value` lines) is wanted here, not 'on'"),
        ("cookie: {days: 30}", "3:11: privacy: cookie: 'origins' is missing"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_place(line: str, error: str) -> None:
    assert f"schema.yaml:{error}" in _errors(f"# ours\nprivacy:\n  {line}\n")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("name: 'a b'", "name: letters, digits, `_`, `.` and `-` only, at most 64"),
        ("name: 'a;b'", "name: letters, digits, `_`, `.` and `-` only, at most 64"),
        (
            "name: __Host-v, domain: example.com",
            "name: browsers refuse a `__Host-` cookie with a `domain`; drop one",
        ),
        ("days: 396", "days: '396' is not a whole number of days from 1 to 395, which is 13 months"),
        ("days: 0", "days: '0' is not a whole number of days from 1 to 395, which is 13 months"),
        ("days: 1.5", "days: '1.5' is not a whole number of days from 1 to 395, which is 13 months"),
        ("renew: yes", "renew: 'yes' is none of true, false; use true"),
        ("same_site: none", "same_site: 'none' is none of Lax, Strict, None; did you mean 'None'?"),
        (
            "same_site: None, domain: example.com",
            "same_site: None is for pages of other sites, and all are below example.com; use Lax",
        ),
        (
            "domain: other.example",
            "origins: 'https://www.example.com' is not below other.example, so it is never sent the cookie; remove it, "
            "or write `same_site: None`",
        ),
        ("domain: com", "domain: 'com' is not a domain of yours; below it are other people's sites"),
        ("domain: co.uk", "domain: 'co.uk': below co.uk are other people's sites; write your own domain"),
        ("domain: github.io", "domain: 'github.io': below github.io are other people's sites; write your own domain"),
        ("domain: .example.com", "domain: '.example.com' is not a domain of yours; write it in lower case, without"),
        ("domain: https://example.com", "domain: 'https://example.com' is not a domain of yours; write it in lower"),
        ("domain: Example.com", "domain: 'Example.com' is not a domain of yours; write it in lower case, without"),
        ("domain: 10.0.0.1", "domain: '10.0.0.1' is not a domain of yours; write it in lower case, without"),
        ("domain: 'example.com; x'", "domain: 'example.com; x' is not a domain of yours; write it in lower case"),
        ("domain: \"example.com\\n\"", "domain: 'example.com\\n' is not a domain of yours; write it in lower case"),
    ],
)  # fmt: skip
def test_each_mistake_in_the_cookie_is_named(said: str, error: str) -> None:
    found = _errors(f"privacy:\n  cookie: {{origins: https://www.example.com, {said}}}\n")
    assert any(f": privacy: cookie: {error}" in line for line in found), found


@pytest.mark.parametrize(
    ("origin", "error"),
    [
        ("'*'", "'*' is every site; name your own, such as https://www.example.com"),
        ("'*.com'", "'*.com' is not a domain of yours; below it are other people's sites; write your own domain"),
        ("'*.co.uk'", "'*.co.uk': below co.uk are other people's sites; write your own domain"),
        ("'*.pages.dev'", "'*.pages.dev': below pages.dev are other people's sites; write your own domain"),
        ("'*.*.example.com'", "'*.*.example.com' is not a domain of yours; write it in lower case"),
        ("http://www.example.com", "'http://www.example.com': a Secure cookie needs https; only localhost is exempt"),
        ("https://www.example.com/", "'https://www.example.com/' is not an origin; write it as https://www.example.com"),
        ("https://www.example.com/shop", "'https://www.example.com/shop' is not an origin"),
        ("https://*.example.com", "'https://*.example.com' is not an origin; write it as https://www"),
        ("https://WWW.example.com", "'https://WWW.example.com' is not an origin"),
        ("www.example.com", "'www.example.com' is not an origin"),
        ("\"https://www.example.com\\n\"", "'https://www.example.com\\n' is not an origin"),
        ("https://a.example, https://a.example", "'https://a.example' is there twice"),
    ],
)  # fmt: skip
def test_each_mistake_in_the_origins_is_named(origin: str, error: str) -> None:
    found = _errors(f"privacy:\n  cookie:\n    origins: [{origin}]\n")
    assert found[0].startswith("schema.yaml:3:")
    assert any(f": privacy: cookie: origins: {error}" in line for line in found), found


def test_cookies_of_a_local_page_and_of_other_sites_are_possible() -> None:
    found = _privacy("privacy: {cookie: {origins: ['http://localhost:8000', https://a.example], same_site: None}}")
    assert found[BALANCED].cookie == Cookie(("http://localhost:8000", "https://a.example"), same_site="None")
    assert _privacy("privacy: {cookie: {origins: ['*.example.co.uk'], domain: example.co.uk}}")[OFF].cookie


@pytest.mark.parametrize(
    "source",
    [
        *("param.order_id", "param.shop_order_id", "param.token", "param.Access-Token", "param.user_token"),
        *("header.cookie", "header.authorization", "header.x-write-key", "header.x-order-id"),
    ],
)
def test_no_column_can_hold_a_secret(source: str) -> None:
    tables = EVENTS.replace("from: param.order_id", f"from: {source}")
    where = next(index for index, line in enumerate(tables.splitlines(), 1) if source in line) + 1
    column = tables.splitlines()[where - 2].index(source) + 1
    assert _errors("privacy: {secrets: [Order-ID]}", tables) == [
        f"schema.yaml:{where}:{column}: column events.order_id: from: '{source}' is one of the secrets, which "
        "are never stored; remove it here"
    ]


def test_lists_are_bounded() -> None:
    many = ", ".join(f"name{index}" for index in range(501))
    assert _errors(f"privacy: {{secrets: [{many}]}}")[0].endswith("secrets: 501 names; at most 500 are looked for")
    hashed = ", ".join(f"name{index}: []" for index in range(501))
    assert _errors(f"privacy: {{hash: {{{hashed}}}}}")[0].endswith("hash: 501 names; at most 500 are looked for")
    origins = ", ".join(f"https://a{index}.example" for index in range(501))
    assert _errors(f"privacy: {{cookie: {{origins: [{origins}]}}}}")[0].endswith("origins: 501 origins; at most 500")
    assert "has more than 100 characters" in _errors(f"privacy: {{ids: [{'ab' * 51}]}}")[0]


def test_every_mistake_is_reported_at_once() -> None:
    found = _errors("privacy:\n  ip: x\n  signals: {x: y}\n  secrets: [event_id, '*']\n  cookie: {days: 0}\n")
    assert [line.split(":")[1] for line in found] == ["2", "3", "3", "4", "4", "5", "5"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            "secrets: [id]",
            "secrets: 'id' is also `event_id`, which events need; remove it here, or write a longer name",
        ),
        ("ids: [id]", "ids: 'id' is also `event_id`, which events need; remove it here, or write a longer name"),
        ("secrets: [time]", "secrets: 'time' is also `event_time`, which events need; remove it here, or write a"),
        ("secrets: [user_id]", "secrets: 'user_id' is also `user_id`, which events need; remove it here, or write"),
    ],
)
def test_a_name_that_ends_one_that_events_need_is_refused(said: str, error: str) -> None:
    """The lists match the ends of names, too: `token` is also `user_token`."""
    assert _errors(f"privacy: {{{said}}}")[0].partition("privacy: ")[2].startswith(error)


def test_names_that_trackers_mark_are_names_of_their_own() -> None:
    found = _privacy("privacy: {ids: [_loyal, loyal, $loyal], hash: {id: [], $email: [], email: [lower]}}")[BALANCED]
    assert found.ids == ("_loyal", "loyal", "$loyal")
    assert list(found.hash) == ["id", "$email", "email"]


@pytest.mark.parametrize("name", NEEDED)
def test_what_events_need_stays(name: str) -> None:
    for key in ("secrets", "ids"):
        assert f"is also `{name}`, which events need" in _errors(f"privacy: {{{key}: [{name.upper()}]}}")[0]


ODD = st.sampled_from(
    ["privacy", *KEYS, "origins", "name", "days", "gpc", "drop", "email", "trim", "~", "'*'", '"\\n"']
)


@given(
    st.recursive(
        ODD | st.text("abc*.:/", max_size=6).map(json.dumps),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
            | st.lists(st.tuples(ODD, inner), max_size=4).map(
                lambda pairs: f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
            )
        ),
        max_leaves=12,
    )
)
def test_any_yaml_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        found = _privacy(f"privacy: {text}")
    except SchemaError as error:
        for line in str(error).splitlines():
            assert line.startswith(("schema.yaml:1:", "schema.yaml:2:")), line
    else:
        assert set(found) == set(PRESETS)
