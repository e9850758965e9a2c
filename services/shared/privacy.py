"""What the schema file's `privacy:` says, and the presets it starts from. Frozen; `schema_privacy.py` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

FULL, CUT, NONE = "full", "cut", "none"
IP_CHOICES = (FULL, CUT, NONE)  # the address as it is; its network, /24 or /48; none at all

RECORD, ANONYMIZE, DROP = "record", "anonymize", "drop"
ACTIONS = (RECORD, ANONYMIZE, DROP)
# Opt-out signals, the first one present names the hit: the header Sec-GPC, the header DNT, Snowplow's SP-Anonymous,
# `consent=denied` of a page or tenant, and Google's consent mode (`gcs`, `gcd`).
SIGNALS = ("gpc", "dnt", "sp_anonymous", "consent", "google_consent")

STRICT, BALANCED, OFF = "strict", "balanced", "off"
PRESETS = (STRICT, BALANCED, OFF)
MAX_COOKIE_DAYS = 395  # 13 months

# Parameters whose values are never stored, under any preset: matched without regard to case, `-`, `_`, `.` and spaces.
SECRETS = (
    "password", "passwd", "passphrase", "pwd", "secret", "client_secret", "api_secret", "api_key", "write_key",
    "token", "access_token", "refresh_token", "id_token", "auth_token", "token_auth", "authorization", "private_key",
    "credit_card", "card_number", "card", "cvv", "cvc", "iban", "ssn", "otp", "pin",
)  # fmt: skip


@dataclass(frozen=True)
class Cookie:
    """The first-party visitor cookie, for pages of `origins` (`https://www.example.com`, `*.example.com`) only."""

    origins: tuple[str, ...]
    name: str = "pp_visitor"
    domain: str = ""  # "": of the collector's own host only
    days: int = MAX_COOKIE_DAYS  # from the first issue
    renew: bool = False
    same_site: str = "Lax"


@dataclass(frozen=True)
class Privacy:
    """What protects the people behind events, before anything is published."""

    ip: str = CUT
    signals: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SIGNALS, ANONYMIZE))
    secrets: tuple[str, ...] = ()  # names beside SECRETS
    ids: tuple[str, ...] = ()  # names, beside the known ones, that go under an opt-out
    hash: dict[str, tuple[str, ...]] = field(default_factory=dict)  # parameter: what is done first, of `trim`, `lower`
    cookie: Cookie | None = None


BY_PRESET = {
    STRICT: Privacy(ip=NONE, signals=dict.fromkeys(SIGNALS, DROP)),
    BALANCED: Privacy(),
    OFF: Privacy(ip=FULL, signals=dict.fromkeys(SIGNALS, RECORD)),
}
