from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import schema_file
from services.shared.schema import SchemaError
from services.shared.tenants import CAPTURE, DROP, REFUSE, REJECT, Tenant, Tenants
from tests.process import ROOT
from tests.schemas import REJECTS, a_file, refused, refused_at
from tests.tenants import hashed

TENANT = "      tenant: {type: STRING, from: [hit.tenant, param.tenant]}\n"
HASH = hashed("abc")


def _read(tenants: str, columns: str = TENANT, **more: str) -> str:
    return f"tenants:\n{tenants}{a_file(columns, **more)}"


def _one(members: str) -> str:
    return _read(f"  list:\n    a: {{{members}}}\n")


def test_tenants_are_read_as_the_file_says() -> None:
    found = schema_file.parse(
        _read(
            "  parameter: tenant\n  unknown: refuse\n  limited: drop\n  admins: user:ops@example.com\n  list:\n"
            f"    a: {{keys: [{HASH}, '{HASH.upper().replace('SHA', 'sha')}'], hosts: A.Example.com, paths: [/a/, /b],"
            " rate: 0.5, burst: 3, expire_days: 90, consent: denied, readers: ['group:a@example.com']}\n    b: {}\n"
        )
    ).tenants
    assert found == Tenants(
        {
            "a": Tenant(
                "a",
                key_hashes=(HASH[7:], HASH[7:]),
                hosts=("a.example.com",),
                paths=("/a/", "/b"),
                rate=0.5,
                burst=3,
                expire_days=90,
                consent="denied",
                readers=("group:a@example.com",),
            ),
            "b": Tenant("b"),
        },
        "tenant",
        REFUSE,
        DROP,
        ("user:ops@example.com",),
    )


def test_what_is_not_said_rejects_and_captures() -> None:
    found = schema_file.parse(_one("hosts: a.example.com, rate: 25")).tenants
    assert (found.parameter, found.unknown, found.limited) == ("", REJECT, CAPTURE)
    assert found.by_name["a"].most_at_once == 250
    assert not schema_file.parse(a_file()).tenants


def test_only_the_tenant_that_was_found_fills_the_column() -> None:
    tenant = {"list": "  list:\n    a: {hosts: a.example.com}\n"}
    schema = schema_file.parse(_read(tenant["list"]))
    assert [str(source) for source in schema.tables["events"].column("tenant").sources] == ["hit.tenant"]
    without = schema_file.parse(a_file(TENANT))
    assert [str(source) for source in without.tables["events"].column("tenant").sources] == [
        "hit.tenant",
        "param.tenant",
    ]


# Each case: the text, and for every error expected its line, column and a part of its words.
CASES: dict[str, tuple[str, list[tuple[int, int, str]]]] = {
    "a list for the file's": (_read("  - a\n"), [(2, 3, "a mapping")]),
    "unknown key": (_read("  lst: {}\n"), [(2, 3, "did you mean 'list'?"), (2, 3, "'list' is missing")]),
    "empty list": (_read("  list: {}\n"), [(2, 9, "name at least one tenant")]),
    "unknown": (_read("  unknown: refused\n  list:\n    a: {hosts: a.b}\n"), [(2, 12, "did you mean 'refuse'?")]),
    "limited": (_read("  limited: keep\n  list:\n    a: {hosts: a.b}\n"), [(2, 12, "none of capture, drop")]),
    "parameter": (_read("  parameter: a b\n  list:\n    a: {hosts: a.b}\n"), [(2, 14, "is no name of one")]),
    "name": (_read("  list:\n    a-b: {hosts: a.b}\n"), [(3, 10, "letters, digits and underscores only")]),
    "name of other letters": (_read("  list:\n    \u0430: {hosts: a.b}\n"), [(3, 8, "letters, digits")]),
    "long name": (_read(f"  list:\n    {'a' * 101}: {{hosts: a.b}}\n"), [(3, 108, "at most 100")]),
    "name twice": (_read("  list:\n    a: {hosts: a.b}\n    a: {hosts: b.b}\n"), [(4, 5, "'a' is there twice")]),
    "names that differ in case": (
        _read("  list:\n    a: {hosts: a.b}\n    A: {hosts: b.b}\n"),
        [(4, 8, "'a' differs from it only in case")],
    ),
    "no mapping": (_read("  list:\n    a:\n"), [(3, 7, "a mapping")]),
    "unknown key of a tenant": (_one("host: a.b"), [(3, 9, "did you mean 'hosts'?"), (3, 8, "nothing says which")]),
    "nothing to know it by": (_one("rate: 5"), [(3, 8, "nothing says which events are its")]),
    "hash that is too short": (_one("keys: sha256:12"), [(3, 15, "64 hexadecimal digits, of printf %s KEY")]),
    "no list of keys": (_one("keys: {a: b}"), [(3, 15, "a text is wanted here, not a mapping")]),
    "hash of nothing": (_one(f"keys: {hashed('')}"), [(3, 15, "the SHA-256 of nothing")]),
    "hash of a line end": (_one("keys: " + hashed("\n")), [(3, 15, "the SHA-256 of a line end")]),
    "key twice in two tenants": (
        _read(f"  list:\n    a: {{keys: {HASH}}}\n    b: {{keys: [{hashed('b')}, {HASH}]}}\n"),
        [(4, 89, "tenant 'a' has the same key")],
    ),
    "key twice in one": (_one(f"keys: [{HASH}, {HASH}]"), [(3, 89, "it is there twice")]),
    "host twice": (
        _read("  list:\n    a: {hosts: [a.example.com]}\n    b: {hosts: [A.EXAMPLE.COM]}\n"),
        [(4, 17, "tenant 'a' has the same host")],
    ),
    "host with a scheme": (_one('hosts: "https://a.b"'), [(3, 16, "without scheme, port and *")]),
    "host with a port": (_one('hosts: "a.b:80"'), [(3, 16, "without scheme, port and *")]),
    "hosts by pattern": (_one('hosts: "*.b"'), [(3, 16, "the name of one host")]),
    "international host": (_one("hosts: müller.de"), [(3, 16, "xn--")]),
    "no hosts": (_one("hosts: []"), [(3, 16, "the list is empty")]),
    "path of everything": (_one("paths: /"), [(3, 16, "more than /")]),
    "path without a slash": (_one("paths: a/"), [(3, 16, "the beginning of a path")]),
    "path with a query": (_one('paths: "/a?b"'), [(3, 16, "the beginning of a path")]),
    "the same path": (
        _read("  list:\n    a: {paths: [/a/]}\n    b: {paths: [/%61]}\n"),
        [(4, 17, "tenant 'a' has '/a/', which overlaps")],
    ),
    "path below another": (
        _read("  list:\n    a: {paths: [/a/]}\n    b: {paths: [/ab, /a/b/c]}\n"),
        [(4, 22, "tenant 'a' has '/a/', which overlaps")],
    ),
    "path above another": (
        _read("  list:\n    a: {paths: [/a/b/c]}\n    b: {paths: [/a]}\n"),
        [(4, 17, "tenant 'a' has '/a/b/c', which overlaps")],
    ),
    "rate of nothing": (_one("hosts: a.b, rate: 0"), [(3, 27, "'0' is not a number of hits a second")]),
    "rate below nothing": (_one("hosts: a.b, rate: -1"), [(3, 27, "'-1' is not")]),
    "rate without end": (_one("hosts: a.b, rate: .inf"), [(3, 27, "'.inf' is not")]),
    "burst of nothing": (_one("hosts: a.b, rate: 1, burst: 0"), [(3, 37, "burst: '0' is not a whole number")]),
    "half a burst": (_one("hosts: a.b, rate: 1, burst: 1.5"), [(3, 37, "burst: '1.5' is not a whole number")]),
    "burst without a rate": (_one("hosts: a.b, burst: 5"), [(3, 28, "add `rate`")]),
    "days": (_one("hosts: a.b, expire_days: 0"), [(3, 34, "expire_days: '0' is not a whole number")]),
    "consent": (_one("hosts: a.b, consent: granted"), [(3, 30, "none of denied")]),
    "reader": (_one("hosts: a.b, readers: bob"), [(3, 30, "none of user:NAME@HOST, group:NAME@HOST")]),
    "reader with a quote": (
        _one('hosts: a.b, readers: ["user:a\'b@example.com"]'),
        [(3, 31, "none of user:NAME@HOST, group:NAME@HOST")],
    ),
    "a column that anyone can claim": (
        _read("  list:\n    a: {hosts: a.b}\n", "      tenant: {type: STRING, from: [param.tenant, header.x]}\n"),
        [(11, 36, "could claim another's events by param.tenant or header.x; write `from: [hit.tenant, …]`")],
    ),
    "a condition that anyone can choose by": (
        _read("  list:\n    a: {hosts: a.b}\n", table="    when: {param.tenant: a, param.x: y}\n"),
        [(7, 11, "when: param.tenant: `tenants:` is there, and anyone could choose the table by it; use hit.tenant")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_named_with_its_line_and_column(case: str) -> None:
    text, wanted = CASES[case]
    refused_at(text, *wanted)


@pytest.mark.parametrize("keys", ["pk_live_s3cret", "[pk_live_s3cret, pk_live_s3cret]"])
def test_a_key_that_stands_there_itself_is_answered_with_its_hash_and_not_shown(keys: str) -> None:
    errors = "\n".join(refused(_one(f"keys: {keys}")))
    assert f"if this is the key, write {hashed('pk_live_s3cret')}" in errors and "pk_live" not in errors


def test_every_table_has_its_claims_checked() -> None:
    claimed = "      tenant: {type: STRING, from: param.shop}\n"
    text = _read("  list:\n    a: {hosts: a.b}\n") + claimed
    assert text.endswith(REJECTS + claimed)
    (error,) = refused(text)
    assert "column rejects.tenant: " in error and "param.shop" in error


def test_paths_of_many_tenants_are_compared_in_time() -> None:
    listed = "".join(f"    t{n}: {{paths: [/t{n}/a/b, /t{n}/a/c]}}\n" for n in range(500))
    assert len(schema_file.parse(_read(f"  list:\n{listed}")).tenants.by_name) == 500


@given(st.recursive(st.text(max_size=8) | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_no_value_does_more_than_be_refused(value: object) -> None:
    keys = ("keys", "hosts", "paths", "rate", "burst", "expire_days", "consent", "readers")
    text = _one(", ".join(f"{key}: {_yaml(value)}" for key in keys))
    with suppress(SchemaError):
        schema_file.parse(text)


def _yaml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return "~" if value is None else '"' + "".join(f"\\U{ord(char):08X}" for char in str(value)) + '"'


def test_the_example_of_the_documents_is_read() -> None:
    document = (ROOT / "docs" / "tenants.md").read_text()
    example = document.partition("```yaml\n")[2].partition("```")[0]
    found = schema_file.parse(example + a_file(TENANT)).tenants
    assert list(found.by_name) == ["shop_a", "shop_b", "shop_c"]
    assert found.by_name["shop_a"].key_hashes == (hashed("shop_a_key")[7:],)
