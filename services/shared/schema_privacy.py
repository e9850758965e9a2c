"""Reads the schema file's `privacy:`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import yaml

from services.shared.name_rules import NameRules, compact, readable
from services.shared.privacy import (
    ACTIONS,
    BY_PRESET,
    FULL,
    IP_CHOICES,
    MAX_COOKIE_DAYS,
    SIGNALS,
    Cookie,
    Privacy,
)
from services.shared.privacy_names import COOKIES
from services.shared.schema_nodes import NodeReader, near, quoted

KEYS = ("ip", "signals", "secrets", "ids", "hash", "cookie")
COOKIE_KEYS = ("origins", "name", "domain", "days", "renew", "same_site")
STEPS = ("trim", "lower")  # what may be done to a value before it is hashed
SAME_SITE = ("Lax", "Strict", "None")
MOST_NAMES = 500
LONGEST_NAME = 100

# Without these an event cannot be counted once, routed, or known for an opt-out.
NEEDED = ("event_id", "event_time", "sent_at", "type", "event", "tenant", "tenant_id", "consent")
# What makes an event worth storing: no secret, though `ids` and `hash` may name most of them.
CANONICAL = (*NEEDED, "user_id", "anonymous_id", "session_id", "url", "referrer", "title", "properties", "context")

_COOKIE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{1,9}}")
_ORIGIN = re.compile(rf"https://(?:{_LABEL}(?:\.{_LABEL}){{0,9}})(?::[0-9]{{1,5}})?")
_LOCAL = re.compile(r"http://localhost(?::[0-9]{1,5})?")
_ADDRESS = re.compile(r"[0-9.]+")
# Below these anyone may have a host: what stands before the country in co.uk, and hosters' domains.
_SECOND_LEVEL = frozenset({"co", "com", "org", "net", "gov", "edu", "ac", "or", "ne", "go", "gob", "mil", "nom", "id"})
_HOSTERS = frozenset({
    "appspot.com", "azurewebsites.net", "blogspot.com", "cloudfront.net", "firebaseapp.com", "github.io", "gitlab.io",
    "herokuapp.com", "netlify.app", "pages.dev", "run.app", "vercel.app", "web.app", "workers.dev",
})  # fmt: skip


def _key(name: str) -> str:
    """What two names have in common that are the same to the lists."""
    name = readable(name)
    return name.lower() if name.startswith(("_", "$")) else compact(name)


class PrivacyReader(NodeReader):
    def __init__(self, file: str, errors: list[tuple[int, int, str]] | None = None) -> None:
        super().__init__(file, errors)
        self._secrets = _secret_rules(())

    def read(self, node: yaml.Node | None) -> dict[str, Privacy]:
        """What is in force by preset: each preset with the file's own keys applied."""
        if node is None:
            return dict(BY_PRESET)
        keys = self._mapping(node, "privacy", KEYS)
        said: dict[str, Any] = {}
        if ip := self._choice(keys.get("ip"), "privacy: ip", IP_CHOICES):
            said["ip"] = ip
        if names := self._names(keys.get("secrets"), "secrets", CANONICAL):
            said["secrets"] = names
        if names := self._names(keys.get("ids"), "ids", NEEDED):
            said["ids"] = names
        self._secrets = _secret_rules(said.get("secrets", ()))
        if (hashed := keys.get("hash")) is not None:
            said["hash"] = self._hash(hashed)
        if (cookie := keys.get("cookie")) is not None:
            said["cookie"] = self._cookie(cookie)
        signals = self._signals(keys.get("signals"))
        return {
            name: dataclasses.replace(preset, signals={**preset.signals, **signals}, **said)
            for name, preset in BY_PRESET.items()
        }

    def is_secret(self, name: str, *, is_header: bool = False) -> bool:
        """Whether the parameter or header is removed before anything is stored, so that no column can hold it."""
        rule = self._secrets.find(name)
        return (is_header and name in COOKIES) or (rule is not None and rule.secret)

    def _signals(self, node: yaml.Node | None) -> dict[str, str]:
        if node is None:
            return {}
        found = {}
        for name, action in self._mapping(node, "privacy: signals").items():
            if name not in SIGNALS:
                close = near(name.lower().replace("-", "_").removeprefix("sec_"), SIGNALS)
                self._error(action, f"privacy: signals: {quoted(name)} is none of {', '.join(SIGNALS)}{close}")
            found[name] = self._choice(action, f"privacy: signals: {name}", ACTIONS)
        return found

    def _names(self, node: yaml.Node | None, key: str, needed: tuple[str, ...]) -> tuple[str, ...]:
        """Names of parameters, each with its own place in the file."""
        if node is None:
            return ()
        where = f"privacy: {key}"
        taken: set[str] = set()
        names = []
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if isinstance(node, yaml.SequenceNode) and not items:
            self._error(node, f"{where}: the list is empty; name at least one, or leave it out")
        if len(items) > MOST_NAMES:
            self._error(node, f"{where}: {len(items):,} names; at most {MOST_NAMES} are looked for")
            return ()
        for item in items:
            name = self._text(item, where)
            if not name:
                continue
            if _key(name) in taken:
                self._error(
                    item, f"{where}: {quoted(name)} is there twice; case, `-`, `_`, `.` and spaces do not count"
                )
            taken.add(_key(name))
            if self._check_name(item, key, name, needed):
                names.append(name)
        return tuple(names)

    def _check_name(self, node: yaml.Node, key: str, name: str, needed: tuple[str, ...]) -> bool:
        bare = compact(readable(name))
        wrong = ""
        if not bare:
            wrong = "would match every name or none; write a parameter's name"
        elif any(char in name for char in "*?[]%&=\\/"):
            wrong = "is a pattern or not a name; write each name in full"
        elif len(bare) < 2:
            wrong = "is too short: trackers name other things so; write two letters"
        elif len(name) > LONGEST_NAME:
            wrong = f"has more than {LONGEST_NAME} characters"
        elif hit := _matched(key, name, needed):
            wrong = f"is also `{hit}`, which events need; remove it here, or write a longer name"
        if wrong:
            self._error(node, f"privacy: {key}: {quoted(name)} {wrong}")
        return not wrong

    def _hash(self, node: yaml.Node) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        taken: dict[str, str] = {}
        specs = self._mapping(node, "privacy: hash")
        if len(specs) > MOST_NAMES:
            self._error(node, f"privacy: hash: {len(specs):,} names; at most {MOST_NAMES} are looked for")
            return {}
        for name, spec in specs.items():
            where = f"privacy: hash: {name}"
            self._check_name(spec, "hash", name, NEEDED)
            if self.is_secret(name):
                self._error(spec, f"{where}: it is one of the secrets, which are removed; remove it here or there")
            if other := taken.get(_key(name)):
                self._error(spec, f"{where}: the same name as {other}; case, `-`, `_`, `.` and spaces do not count")
            taken[_key(name)] = name
            found[name] = self._steps(spec, where)
        return found

    def _steps(self, node: yaml.Node, where: str) -> tuple[str, ...]:
        """An empty list: the value is hashed as it came."""
        if isinstance(node, yaml.SequenceNode) and not node.value:
            return ()
        if isinstance(node, yaml.ScalarNode) and not node.value:
            self._error(node, f"{where}: say what is done first, of {', '.join(STEPS)}; `[]` is nothing")
            return ()
        return tuple(self._choice_of(step, node, where, STEPS) for step in self._texts(node, where))

    def _cookie(self, node: yaml.Node) -> Cookie | None:
        where = "privacy: cookie"
        keys = self._mapping(node, where, COOKIE_KEYS, required=("origins",))
        said: dict[str, Any] = {}
        if name := self._text(keys.get("name"), f"{where}: name"):
            said["name"] = name
            if not _COOKIE_NAME.fullmatch(name):
                self._error(keys["name"], f"{where}: name: letters, digits, `_`, `.` and `-` only, at most 64")
            elif name.lower().startswith("__host-") and "domain" in keys:
                self._error(
                    keys["name"], f"{where}: name: browsers refuse a `__Host-` cookie with a `domain`; drop one"
                )
        if domain := self._text(keys.get("domain"), f"{where}: domain"):
            said["domain"] = domain
            self._check_domain(keys["domain"], f"{where}: domain", domain)
        if days := self._text(keys.get("days"), f"{where}: days"):
            if re.fullmatch(r"[1-9][0-9]{0,2}", days) and int(days) <= MAX_COOKIE_DAYS:
                said["days"] = int(days)
            else:
                most = f"from 1 to {MAX_COOKIE_DAYS}, which is 13 months"
                self._error(keys["days"], f"{where}: days: {quoted(days)} is not a whole number of days {most}")
        if renew := self._choice(keys.get("renew"), f"{where}: renew", ("true", "false")):
            said["renew"] = renew == "true"
        if same_site := self._choice(keys.get("same_site"), f"{where}: same_site", SAME_SITE):
            said["same_site"] = same_site
        origins = self._origins(keys.get("origins"), f"{where}: origins")
        found = Cookie(origins=origins, **said)
        self._check_site(keys, where, found)
        return found

    def _origins(self, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        found = []
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if len(items) > MOST_NAMES:
            self._error(node, f"{where}: {len(items):,} origins; at most {MOST_NAMES}")
            return ()
        self._texts(node, where)  # which finds what is empty, no text, or there twice
        for item in items:
            if not isinstance(item, yaml.ScalarNode) or not item.value:
                continue
            origin = str(item.value)
            found.append(origin)
            if origin.startswith("*."):
                self._check_domain(item, where, origin[2:], quoted(origin))
            elif _LOCAL.fullmatch(origin):
                continue
            elif origin == "*":
                self._error(item, f"{where}: '*' is every site; name your own, such as https://www.example.com")
            elif origin.startswith("http://"):
                self._error(item, f"{where}: {quoted(origin)}: a Secure cookie needs https; only localhost is exempt")
            elif not _ORIGIN.fullmatch(origin):
                example = "https://www.example.com or *.example.com, in lower case, without a path"
                self._error(item, f"{where}: {quoted(origin)} is not an origin; write it as {example}")
        return tuple(found)

    def _check_domain(self, node: yaml.Node, where: str, domain: str, shown: str = "") -> None:
        shown = shown or quoted(domain)
        labels = domain.split(".")
        if not _HOST.fullmatch(domain) or _ADDRESS.fullmatch(domain):
            why = "write it in lower case, without scheme, port, path or leading dot, such as example.com"
            if len(labels) == 1 and re.fullmatch(_LABEL, domain):
                why = "below it are other people's sites; write your own domain, such as example.com"
            self._error(node, f"{where}: {shown} is not a domain of yours; {why}")
        elif domain in _HOSTERS or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL):
            self._error(node, f"{where}: {shown}: below {domain} are other people's sites; write your own domain")

    def _check_site(self, keys: dict[str, yaml.Node], where: str, cookie: Cookie) -> None:
        """Browsers send a cookie to pages of another site only with SameSite=None."""
        if not cookie.domain:
            return
        foreign = [origin for origin in cookie.origins if not _below(_host(origin), cookie.domain)]
        if cookie.same_site != "None" and foreign:
            self._error(
                keys["origins"],
                f"{where}: origins: {quoted(foreign[0])} is not below {cookie.domain}, so it is never sent the cookie; "
                "remove it, or write `same_site: None`",
            )
        elif cookie.same_site == "None" and not foreign:
            self._error(keys["same_site"], f"{where}: same_site: None is for pages of other sites, and all are below "
                        f"{cookie.domain}; use Lax")  # fmt: skip


def _secret_rules(names: tuple[str, ...]) -> NameRules:
    return NameRules(Privacy(ip=FULL, secrets=names), anonymize=False)


def _matched(key: str, name: str, needed: tuple[str, ...]) -> str | None:
    """The first of the needed parameters that this entry of the list would match."""
    entry: dict[str, Any] = {key: {name: ()} if key == "hash" else (name,)}
    rules = NameRules(Privacy(ip=FULL, **entry), anonymize=key == "ids")
    return next((one for one in needed if (rule := rules.find(one)) is not None and rule.entry == name), None)


def _host(origin: str) -> str:
    return origin.rpartition("//")[2].partition(":")[0].removeprefix("*.")


def _below(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain) or host == "localhost"
