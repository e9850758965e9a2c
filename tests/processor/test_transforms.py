"""The parts of a URL are those that Python's urlsplit finds, whichever way it was read."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.processor import transforms
from services.shared.schema import Column, Source, Transform

BEGINNINGS = st.sampled_from(["http://", "https://", "https://Shop.example.com", "https://a.b/p?", "HTTP://", "//", ""])


def _part(name: str) -> transforms.Step:
    (step,) = transforms.text_steps(Column("x", "STRING", (Source("param", "x"),), transforms=(Transform(name, None),)))
    return step


HOST, PATH, QUERY = _part("url.host"), _part("url.path"), _part("url.query.a")


@given(BEGINNINGS, st.text('a=&/?#@:.-[]%+~!"\\ \t\né', max_size=12))
@settings(max_examples=100)
@example("https://Shop.example.com", "/a?a=%41#a=2")
@example("https://a.b/p?", "a=1?&a#?a=2")
@example("https://a.b", ":80/a")
@example("http://", "[a")
def test_parts_of_a_url_are_those_of_urlsplit(beginning: str, text: str) -> None:
    text = beginning + text
    try:
        parts = urlsplit(text.strip())
        wanted = parts.hostname or None, parts.path or None, dict(reversed(parse_qsl(parts.query))).get("a")
    except ValueError:
        wanted = None, None, None
    assert (HOST(text), PATH(text), QUERY(text)) == wanted
