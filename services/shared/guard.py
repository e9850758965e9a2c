"""Applies the privacy policy to what a request holds, before anything of it is stored. Pure, but for what it counts.

Secrets go under every preset; addresses are cut, or go; parameters that are to be hashed are; and under an opt-out all
that says who it was goes, too. Everything else stays byte for byte as it was sent. What would take too long to look
through, as redact.STEPS says, goes as a whole: an item becomes TOO_MUCH.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from services.shared import address, edits, privacy_names, redact_json, user_agent_class
from services.shared.edits import Edit
from services.shared.hash_keys import HashKeys
from services.shared.hit import Hit
from services.shared.name_rules import REMOVE, NameRules
from services.shared.prefilter import Prefilter
from services.shared.privacy import CUT, FULL, NONE, SECRETS, Privacy
from services.shared.redact import DEEPEST, STEPS, Redactor, TooMuch

USER_AGENT, GEO = "user-agent", "x-client-geo-location"
FORWARDED = "forwarded"  # addresses among other things, in a syntax of its own
_PROTOCOLS = ("", *{**privacy_names.IDS_OF, **privacy_names.GROUPS_OF, **privacy_names.SPELLINGS_OF})
_REMOVED = "(removed)"
TOO_MUCH_SAID = f"over {STEPS:,} names and values to look into"
TOO_MUCH = b'{"uncut":"%b"}' % TOO_MUCH_SAID.encode()  # no protocol takes it for an event
# A field of multipart/form-data that could not be read as such.
_FIELD = re.compile(r'\bname="([^"\r\n]{0,1024})"[^\r\n]*+\r?\n(?:[^\r\n]++\r?\n)*+\r?\n', re.IGNORECASE)


def _uncounted(_entry: str) -> None:
    pass


class Guard:
    """The policy as it is in force; build it once.

    `keys` make the hashes of `privacy.hash`. `removed` is called with the entry of the list of secrets, one of
    `entries`, for each one that is removed. A query with a parameter named as one of `also` does not pass `passes`.
    """

    def __init__(
        self,
        privacy: Privacy,
        keys: HashKeys | None = None,
        removed: Callable[[str], None] = _uncounted,
        also: Sequence[str] = (),
    ) -> None:
        if privacy.hash and keys is None:
            raise ValueError(f"no keys to hash {', '.join(privacy.hash)} with")
        self.entries = tuple(dict.fromkeys((*SECRETS, *privacy.secrets)))
        self._ip, self._keys, self._removed = privacy.ip, keys, removed
        self._hashes = bool(privacy.hash)
        self._rules = {
            (anonymize, protocol): NameRules(privacy, anonymize=anonymize, protocol=protocol)
            for anonymize in (False, True)
            for protocol in _PROTOCOLS
        }
        self._prefilter = Prefilter(self._rules[False, ""], also)
        self.is_plain = (
            self._prefilter.is_plain
        )  # the same in less time, of a query of URL characters; or it is not known
        self.passes = self._prefilter.passes  # True: certainly nothing is to be done with a query that is no opt-out's

    def query(self, text: str, anonymize: bool, via: str = "") -> str:
        """A query string or form after the policy; it stays percent-encoded as it was."""
        return self._edited(text, anonymize, via, Redactor.query) or ""

    def json(self, item: bytes, anonymize: bool, via: str = "") -> bytes:
        """One JSON item after the policy; `via` is the protocol of its hit, as in Hit.via."""
        if not item or (self._may_skip(anonymize, via) and self._prefilter.passes_json(item)):
            return item
        text = item.decode("latin-1")
        try:
            found = redact_json.find(self._redactor(len(text), anonymize, via), text, DEEPEST)
        except TooMuch:
            return TOO_MUCH
        return edits.apply(text, found).encode("latin-1") if found else item

    def text(self, item: str, anonymize: bool, via: str = "", *, cut_off: bool = False) -> str:
        """An item that is not JSON: a form, or a body that could not be cut and may be anything.

        `cut_off`: it may end anywhere, so a host at its end may be a user's name or password, and goes.
        """
        kept = self._edited(item, anonymize, via, _anything_cut_off if cut_off else _anything)
        return TOO_MUCH.decode() if kept is None else kept

    def headers(self, headers: Mapping[str, str], anonymize: bool, via: str = "") -> dict[str, str]:
        """Headers, with names in lower case, after the policy: some go, Referer is a URL, others may hold one."""
        kept = {}
        for name, value in headers.items():
            if name in privacy_names.COOKIES:
                continue
            if anonymize and name.startswith(privacy_names.TRACKING_HEADERS):
                continue
            if name == FORWARDED and (anonymize or self._ip != FULL):
                continue
            if name == USER_AGENT:
                if anonymize:
                    kept[name] = user_agent_class.of(value)
                elif "=" not in value and "@" not in value:  # nearly all
                    kept[name] = value
                elif (edited := self._edited(value, False, via, Redactor.text)) is not None:
                    kept[name] = edited
            elif name == GEO:
                kept[name] = _without_city(value) if anonymize else value
            elif (found := self._header(name, value, anonymize, via)) is not None:
                kept[name] = found
        return kept

    def ip(self, ip: str, anonymize: bool) -> str:
        """The client's address, as `address.normalize` gives it, after the policy."""
        if anonymize or self._ip == NONE:
            return ""
        return address.truncate(ip) if self._ip == CUT else ip

    def hit(self, hit: Hit, signal: str, anonymize: bool) -> Hit:
        """A hit that comes whole; `signal` is by which its sender opted out, or ""."""
        via = hit.via
        return msgspec.structs.replace(
            hit,
            path=self._edited(hit.path, anonymize, via, Redactor.text) or "",
            query=self.query(hit.query, anonymize, via),
            headers=self.headers(hit.headers, anonymize, via),
            ip=self.ip(hit.ip, anonymize),
            body=self._raw(hit.body, anonymize, via),
            text=self.text(hit.text, anonymize, via),
            envelope=self._raw(hit.envelope, anonymize, via),
            opt_out=signal,
            anonymized=anonymize,
            visitor_id="" if anonymize else hit.visitor_id,
        )

    def _raw(self, raw: msgspec.Raw, anonymize: bool, via: str) -> msgspec.Raw:
        item = bytes(raw)
        edited = self.json(item, anonymize, via)
        return raw if edited is item else msgspec.Raw(edited)

    def _header(self, name: str, value: str, anonymize: bool, via: str) -> str | None:
        redactor = self._redactor(len(value), anonymize, via)
        try:
            rule = redactor.rule(name.removeprefix("ce-"))
        except TooMuch:
            return None
        if rule is None:
            return value if name == "host" else self._edited(value, anonymize, via, Redactor.text)
        if rule.kind == REMOVE:
            redactor.note(rule)
            return None
        new = redactor.values(rule, value.encode("utf-8", "surrogateescape").decode("latin-1"))
        if new is None:
            return value
        return new[0] if new else None

    def _edited(self, text: str, anonymize: bool, via: str, find: Callable[[Redactor, str], list[Edit]]) -> str | None:
        """The text after the edits that `find` finds; None where that takes too much."""
        if not text:
            return text
        data = text.encode("utf-8", "surrogatepass")
        if find is not _anything_cut_off and self._may_skip(anonymize, via) and self._prefilter.passes(data):
            return text
        plain = data.decode("latin-1")
        try:
            found = find(self._redactor(len(plain), anonymize, via), plain)
        except TooMuch:
            return None
        return edits.apply(plain, found).encode("latin-1").decode("utf-8", "surrogatepass") if found else text

    def _may_skip(self, anonymize: bool, via: str) -> bool:
        return not (anonymize or (self._hashes and via))

    def _redactor(self, size: int, anonymize: bool, via: str) -> Redactor:
        protocol = via.partition(".")[0]
        rules = self._rules[anonymize, protocol if protocol in _PROTOCOLS else ""]
        return Redactor(rules, NONE if anonymize else self._ip, self._keys, self._removed, size)


def _without_city(value: str) -> str:
    """Country and region of what Google's load balancer says: `US,USCA,Mountain View`, or `US,Mountain View`."""
    parts = value.split(",", 2)
    return ",".join((*parts[: max(len(parts) - 1, 1)], "")) if len(parts) > 1 else value


def _anything_cut_off(redactor: Redactor, text: str) -> list[Edit]:
    return _anything(redactor, text, cut_off=True)


def _anything(redactor: Redactor, text: str, *, cut_off: bool = False) -> list[Edit]:
    """The edits of a body of which nothing is known."""
    found = redactor.text(text, cut_off=cut_off)
    if "name=" not in text or "\n" not in text:
        return found
    fields = []
    for match in _FIELD.finditer(text):
        redactor.spend()
        rule = redactor.rule(match[1])
        if rule is not None:
            redactor.note(rule)
            end = text.find("\n--", match.end())
            end = len(text) if end < 0 else end - (text[end - 1] == "\r")
            fields.append(Edit(match.end(), end, _REMOVED))
    return edits.merged([*found, *fields])
