"""Every relative link in every document leads somewhere, down to the heading, and to the test that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.process import ROOT

OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def _documents(folder: Path) -> Iterator[Path]:
    """Hidden folders hold packages and what runs left behind, a hundred thousand files of it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield from _documents(path)
        elif path.suffix == ".md":
            yield path


DOCUMENTS = sorted(_documents(ROOT))


def prose(text: str) -> str:
    """The text without its code blocks and code spans, in which brackets are no links."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "code", text)


def links(text: str) -> list[tuple[str, str]]:
    """Text and target of each link and image, as `[text](target)` or `src="target"`."""
    found = re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?[^)]*\)", prose(text))
    return found + [("", target) for target in re.findall(r'(?:src|href)="([^"]+)"', prose(text))]


def anchors(text: str) -> set[str]:
    """What headings are called by, as GitHub makes it of their text: repeated ones get a number."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while (candidate := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(candidate)
    return found


@cache
def _anchors(path: Path) -> set[str]:
    return anchors(path.read_text())


def problems(path: Path, text: str) -> list[str]:
    """What is wrong with the links of a document that stands at `path`."""
    found = []
    for shown, target in links(text):
        if OUTSIDE.match(target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        if not place.exists():
            found.append(f"{target}: no such file")
        elif ROOT not in (place, *place.parents):
            found.append(f"{target}: outside of the repository")
        elif anchor and anchor not in (_anchors(place) if file else anchors(text)):
            found.append(f"{target}: no such heading")
        elif re.fullmatch(r"test_\w+", shown) and f"def {shown}(" not in place.read_text():
            found.append(f"{target}: no test {shown}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_works(path: Path) -> None:
    assert not problems(path, path.read_text())


def test_documents_lead_to_documents() -> None:
    """The check sees links at all, and the README leads to every document of docs/."""
    readme = ROOT / "README.md"
    reached = {(ROOT / target.partition("#")[0]).resolve() for _, target in links(readme.read_text())}
    assert {path for path in DOCUMENTS if path.parent == ROOT / "docs"} <= reached
    assert {ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "DECISIONS.md", "CHANGELOG.md")} <= reached


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](nowhere.md)", "nowhere.md: no such file"),
        ("[a](README.md#no-such-heading)", "README.md#no-such-heading: no such heading"),
        ("# A b\n[a](#a-b) [c](#c)", "#c: no such heading"),
        ("[a](../other)", "../other: no such file"),
        ("![a](docs/none.png)", "docs/none.png: no such file"),
        ('<img src="none.png">', "none.png: no such file"),
        ("[test_of_nothing](tests/docs/test_links.py)", "tests/docs/test_links.py: no test test_of_nothing"),
    ],
)
def test_a_link_that_does_not_work_is_found(text: str, wrong: str) -> None:
    assert problems(ROOT / "README.md", text) == [wrong]


@pytest.mark.parametrize(
    "text",
    [
        "[a](README.md)",
        "[a](https://example.com/x.md#y)",
        "`[a](none.md)`",
        "```\n[a](none.md)\n```",
        "# Two\n# Two\n[a](#two-1)",
        "## What is `it`, really?\n[a](#what-is-it-really)",
        "[test_every_link_works](tests/docs/test_links.py)",
        "[the `code` of it](LICENSE)",
    ],
)
def test_a_link_that_works_is_no_problem(text: str) -> None:
    assert problems(ROOT / "README.md", text) == []
