from __future__ import annotations

import subprocess
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import tenants
from services.shared.hit import Hit
from services.shared.tenants import MAX_KEY, Resolver, Tenant, Tenants, in_query
from tests.growth import assert_linear

KELVIN = "\u212a"  # its lower case is the ASCII k
CYRILLIC_A = "\u0430"
TENANTS = Tenants(
    {
        "keyed": Tenant("keyed", key_hashes=(tenants.hashed("k1"), tenants.hashed("k2")), hosts=("k.example.com",)),
        "other": Tenant("other", key_hashes=(tenants.hashed("o1"),), paths=("/other/",)),
        "placed": Tenant("placed", hosts=("a.example.com", "b.example.com"), paths=("/placed/deep",)),
        "said": Tenant("said"),
    },
    parameter="tenant",
)
RESOLVER = Resolver(TENANTS)
HOST = "x.example.com"


@pytest.mark.parametrize(
    ("keys", "host", "path", "parameter", "name"),
    [
        (["k1"], HOST, "/i", "", "keyed"),
        (["k2"], HOST, "/i", "said", "keyed"),
        (["k1"], "a.example.com", "/other/i", "", "keyed"),
        (["K1"], HOST, "/i", "", ""),
        (["k1 "], HOST, "/i", "", ""),
        ([f"{KELVIN}1"], HOST, "/i", "", ""),
        (["k1" + "x" * 8_192], HOST, "/i", "", ""),
        ([""], HOST, "/i", "", ""),
        ([""], "k.example.com", "/i", "", "keyed"),
        (["k1", "k2"], HOST, "/i", "", "keyed"),
        (["k1", "o1"], HOST, "/i", "", ""),
        (["k1", "o1"], "a.example.com", "/i", "said", ""),
        (["wrong", "k1"], HOST, "/i", "", "keyed"),
        # A wrong key is not made good by a host or a path, but hosts without keys never asked for one.
        (["wrong"], "k.example.com", "/i", "", ""),
        (["wrong"], HOST, "/other/i", "", ""),
        (["wrong"], "a.example.com", "/i", "", "placed"),
        (["wrong"], HOST, "/i", "said", "said"),
        ([], "k.example.com", "/i", "", "keyed"),
        ([], "a.example.com", "/i", "", "placed"),
        ([], "B.Example.COM.:8080", "/i", "", "placed"),
        ([], "b.example.com.evil.net", "/i", "", ""),
        ([], "a.example.com/", "/i", "", ""),
        ([], f"{CYRILLIC_A}.example.com", "/i", "", ""),
        ([], f"{KELVIN}.example.com", "/i", "", ""),
        ([], HOST, "/other", "", "other"),
        ([], HOST, "/other/i", "", "other"),
        ([], HOST, "//o%74her//i?", "", "other"),
        ([], HOST, "/others/i", "", ""),
        ([], HOST, "/x/other/i", "", ""),
        ([], HOST, "/placed", "", ""),
        ([], HOST, "/placed/deep/i.gif", "", "placed"),
        ([], HOST, "/other/" + "x" * 2_000, "", ""),
        ([], HOST, "/i", "said", "said"),
        ([], HOST, "/i", "Said", ""),
        ([], HOST, "/i", f"s{CYRILLIC_A}id", ""),
        ([], HOST, "/i", "placed", "placed"),
        # Whoever has keys is never named by a parameter.
        ([], HOST, "/i", "keyed", ""),
        ([], "a.example.com", "/i", "keyed", "placed"),
        ([], HOST, "/i", "nobody", ""),
        ([], "", "", "", ""),
    ],
)
def test_key_host_path_and_parameter_in_this_order(
    keys: list[str], host: str, path: str, parameter: str, name: str
) -> None:
    assert RESOLVER.resolve(keys, host, path, parameter) == name


def test_an_id_names_its_tenant_and_an_unknown_one_is_no_wrong_key() -> None:
    assert RESOLVER.resolve([], HOST, "/i", ids=["k1"]) == "keyed"
    assert RESOLVER.resolve([], "k.example.com", "/i", ids=["17"]) == "keyed"
    assert RESOLVER.resolve(["wrong"], "k.example.com", "/i", ids=["17"]) == ""
    assert RESOLVER.resolve(["o1"], HOST, "/i", ids=["k1"]) == ""


def test_without_a_parameter_nothing_said_counts() -> None:
    resolver = Resolver(Tenants(TENANTS.by_name))
    assert resolver.resolve([], HOST, "/i", "said") == ""
    assert resolver.said("tenant=said") == ""


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [("a.example.com", "/i", "placed"), (HOST, "/placed/deep/i", "placed"), ("k.example.com", "/i", ""), ("", "/", "")],
)
def test_a_hit_whose_key_is_gone_is_of_a_tenant_without_keys_only(host: str, path: str, name: str) -> None:
    assert RESOLVER.again(host, path) == name


@pytest.mark.parametrize(
    ("query", "host", "name"),
    [
        ("type=a&write_key=k1", "", "keyed"),
        ("write_key=k%31&tenant=said", "", "keyed"),
        ("write_key=no", "k.example.com:443", ""),
        ("tenant=said&tenant=placed", "", "said"),
        ("tenant=keyed", "", ""),
        ("xtenant=said", "", ""),
        ("", "a.example.com", "placed"),
    ],
)
def test_a_hit_that_no_collector_has_seen(query: str, host: str, name: str) -> None:
    hit = Hit("a", 1, "GET", "/i", query, {"host": host} if host else {})
    assert RESOLVER.named(hit).tenant == name


def test_the_one_liner_of_the_documents_prints_the_hash() -> None:
    printed = subprocess.run(["sh", "-c", "printf %s 'schlüssel' | sha256sum"], capture_output=True, check=True)
    assert printed.stdout.split()[0].decode() == tenants.hashed("schlüssel")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a=1&b=2", ["1", "2"]),
        ("?a=1#b=2", ["1"]),
        ("xa=1&a.b=2&ab=3", []),
        ("a=&b=", []),
        ("#a=1", []),
        ("x#?a=1&b=2", []),
        ("a=1&b=%20&a=3", ["1", "3", " "]),
        ("aa=1&a=2", ["2"]),
        ("a=a=b=1", ["a=b=1"]),
        ("a=%41+%C3%A9", ["A é"]),
        ("&".join(["a=1"] * 99), ["1"] * tenants.MAX_KEYS),
    ],
)
def test_values_of_a_query(query: str, found: list[str]) -> None:
    assert in_query(query, "a", "b") == found


@given(st.lists(st.text(max_size=40), max_size=3), st.text(max_size=60), st.text(max_size=60), st.text(max_size=20))
def test_nothing_that_is_sent_raises_or_names_a_tenant_that_is_not_listed(
    keys: list[str], host: str, path: str, parameter: str
) -> None:
    assert RESOLVER.resolve(keys, host, path, parameter) in {*TENANTS.by_name, ""}
    assert RESOLVER.named(Hit("a", 1, "GET", path, parameter, {"host": host})).tenant in {*TENANTS.by_name, ""}


@given(st.text(alphabet=st.characters(exclude_categories=[]), min_size=1, max_size=MAX_KEY))
def test_only_the_very_key_is_a_key(key: str) -> None:
    assert RESOLVER.resolve([key], HOST, "/i") == {"k1": "keyed", "k2": "keyed", "o1": "other"}.get(key, "")


@pytest.mark.parametrize(
    ("frame", "work"),
    [
        (("k1",), lambda text: RESOLVER.resolve([text], HOST, "/i")),
        (("a.example.com",), lambda text: RESOLVER.resolve([], text, "/i")),
        (("/placed/deep/", "i"), lambda text: RESOLVER.resolve([], "", text)),
        (("write_key=", "&tenant=", "said"), lambda text: RESOLVER.named(Hit("a", 1, "GET", "/i", text))),
    ],
    ids=["key", "host", "path", "query"],
)
def test_work_grows_with_the_input_and_no_faster(frame: tuple[str, ...], work: object) -> None:
    assert_linear(work, *frame)  # type: ignore[type-var]


def test_keys_that_are_too_long_are_not_remembered() -> None:
    resolver = Resolver(TENANTS)
    tracemalloc.start()
    try:
        for number in range(200):
            assert resolver.resolve([f"{number}" + "x" * 100_000], HOST, "/i") == ""
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000
