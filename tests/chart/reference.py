"""The table of values in the chart's README, made of values.yaml and its comments. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

BEGIN, END = "<!-- values: python -m tests.chart.write -->\n", "<!-- end of values -->\n"
_KEY = re.compile(r"^( *)([A-Za-z]\w*):(.*)$")


def rows(text: str) -> list[tuple[str, Any, str]]:
    """Path, default and comment of each value of values.yaml that holds no named values itself."""
    values = yaml.safe_load(text)
    found: list[tuple[str, Any, str]] = []
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip()[1:].strip())
            continue
        if (match := _KEY.match(line)) is not None:
            path = [*path[: len(match[1]) // 2], match[2]]
            if match[3].strip():
                value = values
                for part in path:
                    value = value[part]
                found.append((".".join(path), value, " ".join(comment)))
        comment = []
    return found


def table(text: str) -> str:
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, value, meaning in rows(text):
        shown = json.dumps(value) if value not in ("", None) else ""
        lines.append(f"| `{path}` | {f'`{shown}`' if shown else 'none'} | {meaning} |")
    return "\n".join(lines) + "\n"


def put(readme: str, values: str) -> str:
    """The README with the table of today."""
    head, _, rest = readme.partition(BEGIN)
    _, found, tail = rest.partition(END)
    assert found, "the README has no place for the table of values"
    return head + BEGIN + "\n" + table(values) + "\n" + END + tail
