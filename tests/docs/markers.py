"""Generated parts of a document stand between two comments that name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def begin(part: str, command: str = "make docs") -> str:
    return f"<!-- {part}: written by `{command}` -->\n"


def end(part: str) -> str:
    return f"<!-- end of {part} -->\n"


def put(text: str, part: str, body: str, command: str = "make docs") -> str:
    """The document with `body` between the markers of `part`. Raises ValueError where it does not have both once."""
    first = begin(part, command)
    if text.count(first) != 1 or text.count(end(part)) != 1:
        raise ValueError(f"the document needs {first.strip()} and {end(part).strip()}, each once")
    head, _, rest = text.partition(first)
    tail = rest.partition(end(part))[2]
    return f"{head}{first}\n{body}\n{end(part)}{tail}"


def taken(text: str, part: str) -> str:
    """What stands between the markers now."""
    return text.partition(begin(part))[2].partition(end(part))[0]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a cell may not hold a bare `|`."""
    header = list(header)
    lines = [header, ["---"] * len(header), *(list(row) for row in rows)]
    return "".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|\n" for line in lines)
