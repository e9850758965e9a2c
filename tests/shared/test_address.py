from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import address

_V4, _V6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        (" 192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("[192.0.2.1]:80", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:443", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("fe80::1%eth0.100", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("::ffff:192.0.2.1:80", "192.0.2.1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_an_address_is_taken_out_of_what_surrounds_it(text: str, normal: str) -> None:
    assert address.normalize(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "unknown",
        "_hidden",
        "localhost",
        "example.com",
        "example.com:80",
        "not an address",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4/24",
        "1.2.3.4, 5.6.7.8",
        "1.2.3.4:http",
        "1.2.3.4:",
        "1.2.3.4:123456",
        "1.2.3.4:²",
        "1.2.3.4%eth0",
        "١.2.3.4",
        "1.2.3.4\0",
        "16909060",
        "0x7f000001",
        ":",
        "[",
        "]",
        "[]",
        "[]:80",
        "[::1",
        "::1]",
        "[::1]443",
        "[::1]:",
        "[::1]:a",
        "[[::1]]",
        "%",
        "%eth0",
        "fe80::1%",
        "1::2::3",
        "12345::",
        "/run/collector.sock",
        "\ud83d",
        "1" * 1_000_000,
        " " * 1_000_000 + "192.0.2.1",
        "fe80::1%" + "z" * 1_000_000,
    ],
)
def test_what_is_not_an_address_is_empty(text: str) -> None:
    assert address.normalize(text) == ""


@given(_V4, st.integers(0, 65535))
def test_every_ipv4_address_is_kept(text: str, port: int) -> None:
    for written in (text, f"{text}:{port}", f"[{text}]:{port}", f"::ffff:{text}", f"[::ffff:{text}]:{port}"):
        assert address.normalize(written) == text


@given(_V6, st.integers(0, 65535), st.from_regex(r"[A-Za-z0-9_.-]{1,15}", fullmatch=True))
def test_every_ipv6_address_is_kept(ip: ipaddress.IPv6Address, port: int, zone: str) -> None:
    normal = str(ip.ipv4_mapped or ip)
    for written in (str(ip), ip.exploded.upper(), f"[{ip}]:{port}", f"{ip}%{zone}", f"[{ip}%{zone}]:{port}"):
        assert address.normalize(written) == normal


@given(st.text(max_size=100) | st.text("0123456789abcdef:.%[] ", max_size=60))
def test_the_result_is_a_bare_address_or_empty(text: str) -> None:
    normal = address.normalize(text)
    assert address.normalize(normal) == normal
    if normal:
        ip = ipaddress.ip_address(normal)
        assert str(ip) == normal and getattr(ip, "ipv4_mapped", None) is None and "%" not in normal


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("", ""),
        ("192.0.2.201", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("64:ff9b::c000:2c9", "64:ff9b::"),
        ("2002:c000:2c9:1::1", "2002:c000:200::"),  # 6to4 of 192.0.2.201
    ],
)
def test_a_network_does_not_say_which_address_it_was(ip: str, network: str) -> None:
    assert address.truncate(ip) == network
    assert address.truncate(network) == network


@given(_V6, st.integers(0, 255))
def test_all_addresses_of_a_network_are_cut_to_the_same(ip: ipaddress.IPv6Address, last: int) -> None:
    assert address.truncate(str(ip)) == address.truncate(str(ipaddress.IPv6Address(int(ip) >> 8 << 8 | last)))
