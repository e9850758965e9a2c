"""The generated parts of docs/schema.md about `privacy:`: keys, presets and signals as the code has them."""

from __future__ import annotations

from services.shared import schema_privacy as code
from services.shared import signals
from services.shared.privacy import ACTIONS, BY_PRESET, IP_CHOICES, MAX_COOKIE_DAYS, SECRETS, SIGNALS, Cookie
from tests.docs.markers import table

PRESET = "the preset's"
KEYS = {
    "ip": (" or ".join(IP_CHOICES), PRESET, "The client's address as it is, cut to its network (/24, /48), or none"),
    "signals": ("`signal: action`", PRESET, f"What a signal does: {', '.join(ACTIONS)}. See below"),
    "secrets": (
        "list of names",
        "none",
        f"Parameters whose values are never stored, beside {', '.join(f'`{name}`' for name in SECRETS)}. "
        "These are removed under every preset",
    ),
    "ids": (
        "list of names",
        "none",
        "Parameters that, beside the known ones (user, anonymous, session, device and click ids, e-mail, phone and the "
        "like), are removed from an event whose sender opted out",
    ),
    "hash": (
        "`name: [step, …]`",
        "none",
        "Parameters that are stored as their keyed hash (HMAC-SHA256) only, with the id of the key before it: "
        "`ID:HEX`. The keys are in the file of `PIPE_HASH_KEY_FILE`. What is done first: "
        f"{', '.join(f'`{step}`' for step in code.STEPS)}, or `[]`",
    ),
    "cookie": ("keys as below", "no cookie", "The visitor cookie, which fills `hit.visitor_id`"),
}
COOKIE_KEYS = {
    "origins": (
        "list of origins",
        "required",
        "Pages that may have it: `https://www.example.com`, `*.example.com` (https, any host below it), or "
        "`http://localhost:8000`. The header `Origin` says which page it is, or else `Referer`",
    ),
    "name": ("text", f"`{Cookie(()).name}`", "The cookie's name"),
    "domain": (
        "domain",
        "the collector's host alone",
        "The cookie's `Domain`. A collector whose host is not below it sets none. Every origin must be below it too, "
        "unless `same_site` is `None`",
    ),
    "days": (f"1 to {MAX_COOKIE_DAYS}", str(Cookie(()).days), "Its age, from the first issue; then the visitor is new"),
    "renew": (
        "`true` or `false`",
        "`false`",
        "A visitor who comes back keeps the id for another `days`; renewed at most once a day",
    ),
    "same_site": (", ".join(code.SAME_SITE), Cookie(()).same_site, "`None` is for pages of another site"),
}
WHERE = {
    "gpc": "The header `Sec-GPC: 1`: Global Privacy Control",
    "dnt": "The header `DNT: 1`",
    "sp_anonymous": "The header `SP-Anonymous`, whatever its value",
    "consent": "`consent` is one of "
    + ", ".join(f"`{word}`" for word in sorted(signals.DENIED, key=lambda word: (word != "denied", word)))
    + ": as a parameter of the query string or a form, or as a member of a JSON item, of its envelope, or of one of "
    + ", ".join(f"`{place}`" for place in signals.PLACES)
    + " in these. An object counts if it says so of `analytics`, as Segment's does in "
    "`consent.categoryPreferences.Analytics`. All events of a tenant that has `consent: denied`",
    "google_consent": "`analytics_storage` is denied: the last digit of `gcs` is 0, the second letter of `gcd` is p, "
    "q, m or u, or `consent` is an object that says so",
}


def parts() -> dict[str, str]:
    """The generated parts by name."""
    presets = [
        (f"`{name}`", f"`{one.ip}`", _same(one.signals), "no" if one.cookie is None else "yes")
        for name, one in BY_PRESET.items()
    ]
    return {
        "keys of privacy": _keys(code.KEYS, KEYS),
        "keys of the cookie": _keys(code.COOKIE_KEYS, COOKIE_KEYS),
        "presets": table(("preset", "`ip`", "every signal", "cookie"), presets),
        "signals": table(("signal", "is there if"), ((f"`{name}`", WHERE[name]) for name in SIGNALS)),
    }


def _keys(known: tuple[str, ...], meanings: dict[str, tuple[str, str, str]]) -> str:
    assert set(known) == set(meanings)
    return table(("key", "takes", "default", "meaning"), ((f"`{key}`", *meanings[key]) for key in known))


def _same(signals: dict[str, str]) -> str:
    (action,) = set(signals.values())
    return f"`{action}`"
