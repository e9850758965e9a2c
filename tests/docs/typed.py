"""Every command that a document has people type: in blocks of a shell, in code spans, after a comment's `or:`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.docs.test_links import DOCUMENTS
from tests.process import ROOT

# What a command begins with outside of a block that says it is for a shell.
PROGRAMS = (
    "bash|bq|buildah|cd|curl|docker|gcloud|git|gsutil|helm|kubectl|make|node|npm|npx|openssl|ops|pip|pixelpipe|podman|promtool"
    "|pytest|python|python3|skaffold|source|uv|zstd"
)
_HISTORY = ("CHANGELOG.md", "DECISIONS.md")  # say what was typed once
_BEGINS = re.compile(rf"(?:\$ )?(?:[A-Z_]+=\S* )*(?:{PROGRAMS}) [^|]")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?:    .*\n)(?:(?:    .*)?\n)*")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:[^`\n\0]|\n(?!\n)|(?!\1)`)+?)(?<!`)\1(?!`)")


@dataclass(frozen=True)
class Typed:
    """One command as a shell would be given it, without prompt, comment and line breaks."""

    file: str  # from the root of the repository
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@cache
def typed() -> tuple[Typed, ...]:
    return tuple(one for path in DOCUMENTS if path.name not in _HISTORY for one in of(path))


def of(path: Path) -> list[Typed]:
    """Those of one document, in its order."""
    text, name = path.read_text(), str(path.relative_to(ROOT))
    found = []
    for match in _FENCE.finditer(text):
        found += [(match.start(3) + at, one) for at, one in _block(match[3], shell=match[2] in ("sh", "bash"))]
    text = _FENCE.sub(_blank, text)
    for match in _INDENTED.finditer(text):
        found += [(match.start() + at, one) for at, one in _block(match[0], shell=False)]
    text = _INDENTED.sub(_blank, text)
    for match in _SPAN.finditer(text):
        if _BEGINS.match(span := " ".join(match[2].split())):
            found.append((match.start(), span))
    return [Typed(name, text.count("\n", 0, at) + 1, one.removeprefix("$ ")) for at, one in sorted(found)]


def parts(text: str) -> list[str]:
    """The commands of a line, which `&&`, `;` and `&` divide, without the keywords of a loop."""
    found, start, quote, depth = [], 0, "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char in ";&" and not depth and text[at - 1] != ">":  # not the one of 2>&1
            found.append(text[start:at])
            start = at + 1
    words = (re.sub(r"^(?:do|until|while) ", "", one.strip()) for one in (*found, text[start:]))
    return [one for one in words if one]


def _block(text: str, *, shell: bool) -> Iterator[tuple[int, str]]:
    """Where in the text each command begins, and the command; of a shell's block every line is one."""
    at = 0
    lines = iter(text.splitlines(keepends=True))
    prompted = re.search(r"^ *\$ ", text, re.MULTILINE)  # then all else is what was printed
    for line in lines:
        begin, at = at, at + len(line)
        if not line.strip() or not (shell or _BEGINS.match(line.strip())):
            continue
        if prompted and not line.lstrip().startswith("$ "):
            continue
        whole, _, comment = line.strip().partition("  # ")
        while not _ends(whole):
            following = next(lines, None)
            assert following is not None, f"a block ends within a command: {whole}"
            at += len(following)
            whole = f"{whole.removesuffix(chr(92))} {following.strip()}"
        yield begin, " ".join(whole.split())
        if (other := re.fullmatch(r"or:? (.*)", comment)) and _BEGINS.match(other[1]):
            yield begin, other[1]


def _ends(line: str) -> bool:
    """Whether a shell would not ask for more."""
    try:
        shlex.split(line)
    except ValueError:  # an open quote
        return False
    return not line.endswith("\\")


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", "\0", match[0])  # what follows keeps its place
