"""From the bytes of a schema file to YAML nodes, each with its line and column. Bounded in size and depth."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from services.shared.schema import SchemaError

MAX_BYTES = 4 * 1024 * 1024  # 10,000 columns with a sentence each are 1.5 MB; a ConfigMap holds 1 MiB
MAX_DEPTH = 40  # a source of a field in the 15th STRUCT is 37 deep
_MAX_MESSAGE = 200
_TEXT_TAG = "tag:yaml.org,2002:str"
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = "name a schema file, by an option or PIPE_SCHEMA"


def read(path: Path) -> str:
    """The text of a file. Raises SchemaError for one that cannot be read, is too large, or is not UTF-8."""
    try:
        # A pipe would be waited for, and a device never ends.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SchemaError(f"{path}: is not a file; {_NAMED}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror or error}; {_NAMED}") from error
    if len(data) > MAX_BYTES:
        raise SchemaError(f"{path}: has more than {MAX_BYTES:,} bytes; {_NAMED}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = error.object[: error.start].decode()  # of the codec's own: without a byte order mark
        where = _place(good, len(good))
        byte = error.object[error.start]
        raise SchemaError(f"{path}:{where}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from error


def compose(text: str, file: str) -> yaml.Node | None:
    """The root of the document; None where there is none. Raises SchemaError with the place of what is wrong."""
    if bad := Reader.NON_PRINTABLE.search(text):
        raise SchemaError(
            f"{file}:{_place(text, bad.start())}: not YAML: the character U+{ord(bad[0]):04X} is not allowed; remove it"
        )
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or loader.get_mark()
        problem = ": ".join(filter(None, (error.context, error.problem)))[:_MAX_MESSAGE]
        raise SchemaError(f"{file}:{mark.line + 1}:{mark.column + 1}: not YAML: {problem}") from error
    except (ValueError, OverflowError) as error:  # PyYAML's own for "\\UFFFFFFFF" and `%YAML 1.` with endless digits
        mark = loader.get_mark()
        raise SchemaError(f"{file}:{mark.line + 1}:{mark.column + 1}: not YAML: {error}") from error
    return node


class _Loader(yaml.SafeLoader):
    """PyYAML composes nodes by recursion, which a deep file would exhaust, and lets one hold itself by an alias."""

    _depth = 0

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._open: list[Any] = []  # the anchors of the nodes that are being composed

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None and tag != _TEXT_TAG:
            raise yaml.MarkedYAMLError(
                problem=f"the tag {tag} has no meaning here; remove it", problem_mark=event.start_mark
            )
        anchor: Any = getattr(event, "anchor", None)
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias:
            if anchor in self._open:
                raise yaml.MarkedYAMLError(
                    problem=f"*{anchor} stands inside of what it means; write out what belongs there",
                    problem_mark=event.start_mark,
                )
            return super().compose_node(parent, index)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {MAX_DEPTH} deep; a table's columns are 5 deep",
                problem_mark=event.start_mark,
            )
        self._open.append(anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            raise yaml.MarkedYAMLError(
                problem="half of a surrogate pair; write \\U and 8 digits", problem_mark=node.start_mark
            )
        return node


def _place(text: str, index: int) -> str:
    """LINE:COLUMN of a character."""
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return f"{line}:{column}"
