"""The generated parts of docs/tenants.md: the keys of `tenants`, and where each protocol has its own key."""

from __future__ import annotations

from services.collector.tenant_keys import PLACES, Places
from services.shared import schema_tenants as code
from services.shared import tenants
from tests.docs.markers import table

DOCUMENT = "docs/tenants.md"

KEYS = {
    "parameter": ("name of a parameter", "none", "A parameter whose value may name a tenant that has no keys"),
    "unknown": (
        " or ".join(tenants.UNKNOWN_CHOICES),
        tenants.REJECT,
        "What becomes of events of no tenant: rows of `rejects`, or 401 for posts; pixels are rejects either way",
    ),
    "limited": (
        " or ".join(tenants.LIMITED_CHOICES),
        tenants.CAPTURE,
        "What becomes of pixels over a tenant's rate: rows of `rejects`, or counted and gone. Posts are answered 429",
    ),
    "admins": (
        "list of IAM members",
        "none",
        "Who sees all rows: the services that delete or compact, and your own people. Needed as soon as a tenant has "
        "`readers`, since BigQuery then hides every row from whoever is not named",
    ),
    "list": ("`name: tenant`", "required", "Names are letters, digits and underscores, at most 100"),
}
TENANT_KEYS = {
    "keys": ("list of `sha256:…`", "none", "The SHA-256 of its write keys; several, so that one can replace another"),
    "hosts": ("list of host names", "none", "Hosts that its events are sent to, without port"),
    "paths": (
        "list of paths",
        "none",
        "Beginnings of the paths that its events are sent to: `/a/` is `/a` and all below",
    ),
    "rate": ("number", "no limit", "Hits a second that each collector pod takes of it"),
    "burst": ("whole number", "ten seconds' worth", "Hits that it may send at once"),
    "expire_days": (
        f"1 to {code.MOST_DAYS}",
        "that of the table, else of the file",
        "Days after which BigQuery drops its own tables' partitions",
    ),
    "consent": (tenants.DENIED, "none", "All its events are opted out, by the signal `consent`"),
    "readers": (
        "list of IAM members",
        "none",
        "Who sees its rows and no others, such as `group:a@example.com`: [tenants' readers]"
        "(../services/provision/README.md#tenants-readers)",
    ),
}
_NAMES = {
    "pixel": "ours: pixels and links",
    "events": "ours: `/events`",
    "form": "ours: forms",
    "hook": "ours: webhooks",
}


def parts() -> dict[str, str]:
    """The generated parts by name."""
    header = ("key", "takes", "default", "meaning")
    return {
        "keys of tenants": table(header, ((f"`{key}`", *KEYS[key]) for key in code.KEYS)),
        "keys of a tenant": table(header, ((f"`{key}`", *TENANT_KEYS[key]) for key in code.TENANT_KEYS)),
        "places": table(("protocol", "key", "id"), _places()),
    }


def _places() -> list[tuple[str, str, str]]:
    return [
        (_NAMES.get(name, name), _keys(places), ", ".join(f"`{one}`" for one in _ids(places)) or "none")
        for name, places in PLACES.items()
        if name != "redirect"  # as the pixel
    ]


def _ids(places: Places) -> list[str]:
    outer, inner = places.nested
    return [*places.ids, *(f"{outer}.{name}" for name in inner if places.nested_ids)]


def _keys(places: Places) -> str:
    outer, inner = places.nested
    headers = ["header `X-Write-Key`"] if places.header else []
    headers += [f"`Authorization: {scheme.title()}`" for scheme in places.schemes]
    names = [*places.keys, *(f"{outer}.{name}" for name in inner if not places.nested_ids)]
    return ", ".join([*headers, *(f"`{name}`" for name in names)]) or "none"
