from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import unwrap
from services.collector.unwrap import Uncut, Unwrapped
from tests.growth import assert_linear

MB = 1_048_576
TEXT = '{"event":"Größe","n":[1,2.50],"emoji":"🙂","sum":"1+1=2&3"}'.encode()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _unwrapped(data: bytes, query: str = "", encoding: str = "", limit: int = MB) -> Unwrapped:
    return unwrap.unwrap(data, query=query, encoding=encoding, limit=limit)


def _b64(data: bytes) -> bytes:
    return base64.b64encode(data)


# Enough of both letters in which the alphabets of base64 differ, and each length of padding.
KINDS = [TEXT + b" " * spaces for spaces in range(3)] + [b'{"a":"\xc3\xbf\xc3\xbe?>~","b":"\xef\xbf\xbd??>"}']

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "with a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "among white space": lambda data: b" \r\n\t" + data + b"\n",
    "gzip without a header": _gzip,
    "base64": _b64,
    "base64 without padding": lambda data: _b64(data).rstrip(b"="),
    "base64 with spaces for +": lambda data: _b64(data).replace(b"+", b" "),
    "URL-safe base64": base64.urlsafe_b64encode,
    "URL-safe base64 without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 in lines": base64.encodebytes,
    "base64 of gzip": lambda data: _b64(_gzip(data)),
    "a form of base64": lambda data: b"data=" + quote_plus(_b64(data)).encode(),
    "a form of base64, not percent-encoded": lambda data: b"data=" + _b64(data),
    "a form of base64 of gzip": lambda data: b"data=" + quote_plus(_b64(_gzip(data))).encode(),
    "a form of JSON": lambda data: b"data=" + quote_plus(data).encode(),
    "a form of JSON with %20": lambda data: b"data=" + quote(data).encode(),
    "a form with other fields first": lambda data: b"ip=1&verbose=1&data=" + quote_plus(data).encode(),
    "a form with other fields behind": lambda data: b"data=" + quote_plus(_b64(data)).encode() + b"&ip=1&verbose=1",
    "gzip of a form": lambda data: _gzip(b"data=" + quote_plus(data).encode()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", KINDS)
def test_every_way_that_trackers_write_is_unwrapped(way: str, text: bytes) -> None:
    assert _unwrapped(WAYS[way](text)).text == text.strip()


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", _gzip), ("deflate", zlib.compress), ("x-gzip", _gzip)])
def test_a_content_encoding_is_taken_off(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert _unwrapped(compress(TEXT), encoding=encoding).text == TEXT
    assert _unwrapped(compress(_gzip(TEXT)), encoding=encoding).text == TEXT
    assert _unwrapped(TEXT, encoding="gzip").text == TEXT  # something on the way decompressed it


@pytest.mark.parametrize("way", ["a form of base64", "a form of JSON", "a form with other fields behind"])
def test_a_query_is_read_where_there_is_no_body(way: str) -> None:
    form = WAYS[way](TEXT).decode()
    assert _unwrapped(b"", query=form).text == TEXT
    assert _unwrapped(b"{}", query=form).text == b"{}"
    if way != "a form of JSON":
        assert _unwrapped(b"", query=form.replace("%2B", " ")).text == TEXT


def test_other_fields_of_the_form_are_kept() -> None:
    found = _unwrapped(b"a+b=1%2B1&data=%7B%7D&verbose=1&caf%E9=\xff&empty&=x&long=" + b"y" * 2_000)
    assert found == (b"{}", {"a b": "1+1", "verbose": "1", "caf\ufffd": "\ufffd", "empty": "", "": "x"}, True, None)
    many = b"&".join(b"f%d=1" % number for number in range(10_000))
    for form in (many + b"&data=[]", b"data=[]&" + many):
        found = _unwrapped(form)
        assert found.text == b"[]"
        assert 90 <= len(found.fields) <= 100


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b'{"a":"\xed\xa0\xbd\xed\xb9\x82"}', '{"a":"🙂"}'),
        (b'{"a":"\xed\xa0\xbd"}', '{"a":"\ufffd"}'),
        (b'{"a":"caf\xe9"}', '{"a":"café"}'),
        (b'{"a":"caf\xe9 \xc3\xa9"}', '{"a":"caf\ufffd é"}'),
        ('{"a":"é🙂"}'.encode(), '{"a":"é🙂"}'),
    ],
)
def test_text_in_any_charset_becomes_utf8(sent: bytes, text: str) -> None:
    for way in WAYS.values():
        assert _unwrapped(way(sent)).text.decode() == text


@pytest.mark.parametrize(
    ("sent", "repaired"),
    [
        (rb'{"a":NaN,"b":[-Infinity,Infinity, NaN ]}', rb'{"a":null,"b":[null,null, null ]}'),
        (rb'{"a":"NaN, \"NaN\" \\","b":NaN}', rb'{"a":"NaN, \"NaN\" \\","b":null}'),
        (rb'{"a":"\\\\\"",":NaN":NaN}', rb'{"a":"\\\\\"",":NaN":null}'),
        (rb'{"a":"cut \ud83d"}', rb'{"a":"cut \ufffd"}'),
        (rb'{"a":NaNs,"b":xNaN}', rb'{"a":NaNs,"b":xNaN}'),
        (b'"NaN', b'"NaN'),
    ],
)
def test_what_json_has_not_is_repaired_outside_of_strings(sent: bytes, repaired: bytes) -> None:
    assert unwrap.repair(sent) == repaired


@pytest.mark.parametrize(
    ("data", "encoding", "reason"),
    [
        (_gzip(TEXT)[:-9], "", "it is compressed, and damaged or cut off"),
        (_gzip(TEXT)[:-9], "gzip", "it is compressed, and damaged or cut off"),
        (b"data=" + _b64(_gzip(TEXT)[:-12]), "", "it is compressed, and damaged or cut off"),
        (TEXT, "br", "its content encoding is not supported"),
        (TEXT, "gzip, gzip", "its content encoding is not supported"),
        (_gzip(b"[" + b" " * MB + b"]"), "", "too large"),
        (_gzip(b"[" + b" " * MB + b"]"), "gzip", "too large"),
        (b"data=" + _b64(_gzip(b"[" + b" " * MB + b"]")), "", "too large"),
        (b"[" + b" " * MB + b"]", "", "too large"),
        (b'"' + b"\xff" * MB, "", "too large"),
        (b'{"a":"' + b"\xed\xa0\xbd" * 100_000 + b'"}', "", "over 50000 characters are written as surrogates (CESU-8)"),
        (b"data=" + b"%" * 100_000, "", "its percent-encoding is broken"),
    ],
)
def test_what_cannot_be_unwrapped_says_why(data: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(Uncut) as refused:
        _unwrapped(data, encoding=encoding)
    assert refused.value.reason == reason


@pytest.mark.parametrize("text", [b"hello world", b"null", b"42", b'"text"', b"a", b"====", b"abc=def", b"data"])
def test_what_is_neither_json_nor_base64_of_it_stays_as_it_is(text: bytes) -> None:
    assert _unwrapped(text).text == text
    assert _unwrapped(_b64(text)).text == _b64(text)
    assert _unwrapped(_b64(_b64(TEXT))).text == _b64(_b64(TEXT))


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.binary(max_size=200))
def test_percent_encoding_is_undone_as_urllib_does_it(value: bytes) -> None:
    pieces = [value, b"%", b"%4", b"%41", b"%zz", b"+", b"\\", b"\\x41", b"%5c", b"\n"]
    for piece in pieces:
        sent = piece.join([b"a", value, b"41", b""])
        assert unwrap.percent_decode(sent) == unquote_to_bytes(sent.replace(b"+", b" "))


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.binary(max_size=60), st.sampled_from(sorted(WAYS)), st.integers(0, 200), st.binary(max_size=5), st.text())
def test_any_bytes_become_utf8_or_a_reason(data: bytes, way: str, at: int, put: bytes, query: str) -> None:
    whole = WAYS[way](TEXT)
    for sent in (data, WAYS[way](data), whole[:at] + put + whole[at:], whole[:at]):
        for encoding in ("", "gzip", "deflate"):
            with suppress(Uncut):
                found = _unwrapped(sent, query=query, encoding=encoding, limit=1_000)
                found.text.decode()
                unwrap.repair(found.text).decode()
                "".join([*found.fields, *found.fields.values()]).encode()


def test_the_work_is_linear() -> None:
    frames = [(b'{"a":"', b'"}'), (b"data=", b"&ip=1"), (b"a=b&", b"&data=%7B%7D"), (_b64(TEXT), _b64(TEXT)), (b"",)]
    for frame in frames:
        assert_linear(_unwrapped, *frame, refused=Uncut)
    assert_linear(unwrap.repair, b'{"a":NaN,"b":"', b'","c":NaN}', runs=[b"NaN ", b'"', b"\\", b'\\"', b"-Infinity,"])


def _multipart(*parts: bytes, boundary: bytes = b"----WebKitFormBoundaryA1") -> tuple[bytes, str]:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary.decode()}"


def _part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.lists(st.tuples(st.text("abcé .%22", max_size=5), st.text(max_size=10))))
def test_form_data_becomes_a_query_string(pairs: list[tuple[str, str]]) -> None:
    data, content_type = _multipart(*(_part(name, value.encode()) for name, value in pairs))
    text = unwrap.form_data(data, content_type)
    assert parse_qsl(text, keep_blank_values=True) == pairs


def test_a_file_in_form_data_is_left_out() -> None:
    data, content_type = _multipart(
        _part("type", b"a"), _part("f", bytes(99), '; filename="x.png"\r\nContent-Type: image/png'), _part("n", b"1")
    )
    assert unwrap.form_data(data, content_type) == "type=a&n=1"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"type=a", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data"),
        (_multipart(_part("a", b"1"))[0][:-20], _multipart()[1]),
        (_multipart(b"no name\r\n\r\nvalue")[0], _multipart()[1]),
        (_multipart(_part("a", b"1").replace(b"\r\n\r\n", b""))[0], _multipart()[1]),
        (_multipart(_part("a", bytes(65_536)))[0], _multipart()[1]),
    ],
)
def test_form_data_that_is_broken_or_too_large_says_so(data: bytes, content_type: str) -> None:
    with pytest.raises(Uncut):
        unwrap.form_data(data, content_type)


def test_form_data_takes_linear_work() -> None:
    data, content_type = _multipart(_part("a", b"1"), _part("b", b"2"))
    runs = [b"\r\n", b"--", b"\r\n--", b"\r\n------WebKitFormBoundaryA1", b'name="', b";", b" ", b"\xff"]
    assert_linear(lambda sent: unwrap.form_data(sent, content_type), data, data, refused=Uncut, runs=runs)
    assert_linear(lambda sent: unwrap.form_data(data, sent), content_type, refused=Uncut)
