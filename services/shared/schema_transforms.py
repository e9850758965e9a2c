"""Reads what a column's `transform` does to values on their way, step by step."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import re2
import yaml

from services.shared import schema
from services.shared.schema import Transform
from services.shared.schema_nodes import NodeReader, near, quoted

MOST_TRANSFORMS = 20
NUMBER = re.compile(r"-?[0-9]{1,29}(\.[0-9]{1,38})?")
NUMBERS = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")
# Steps on text, before it becomes a value of the column's type: what they take after a colon.
TEXT_STEPS = {
    "trim": None,
    "collapse": None,
    "lower": None,
    "upper": None,
    "sha256": None,
    "url.host": None,
    "url.path": None,
    "url.query.NAME": None,
    "default": "text",
    "map": "map",
    "regex": "pattern",
    "max_length": "count",
    "split": "text",
    "time_zone": "zone",
}
VALUE_STEPS = {"round": "decimals", "min": "number", "max": "number"}  # on the value
_QUERY = "url.query."


class TransformsReader(NodeReader):
    def read(self, node: yaml.Node | None, where: str, kind: str, *, repeated: bool) -> tuple[Transform, ...]:
        if node is None:
            return ()
        where = f"{where}: transform"
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        steps = [step for item in items[:MOST_TRANSFORMS] if (step := self._transform(item, where)) is not None]
        if len(items) > MOST_TRANSFORMS:
            self._error(node, f"{where}: {len(items)} steps; at most {MOST_TRANSFORMS}")
        names = [step.name for step in steps]
        if kind in (schema.STRUCT, "JSON"):
            self._error(node, f"{where}: a {kind} has none; give the fields of a STRUCT their own")
        if any(name in VALUE_STEPS for name in names) and kind not in NUMBERS:
            self._error(node, f"{where}: {', '.join(VALUE_STEPS)} go with {', '.join(NUMBERS)}, not {kind}")
        first_value = next((index for index, name in enumerate(names) if name in VALUE_STEPS), len(names))
        if late := [name for name in names[first_value:] if name not in VALUE_STEPS]:
            self._error(node, f"{where}: {late[0]} works on text, so it comes before {', '.join(VALUE_STEPS)}")
        if "split" in names and not repeated:
            self._error(node, f"{where}: split makes a list; the column must be `mode: REPEATED`")
        if "time_zone" in names and kind != "TIMESTAMP":
            self._error(node, f"{where}: time_zone goes with TIMESTAMP, not {kind}")
        return tuple(steps)

    def _transform(self, node: yaml.Node, where: str) -> Transform | None:
        known = {**TEXT_STEPS, **VALUE_STEPS}
        if isinstance(node, yaml.MappingNode):
            pairs = list(self._mapping(node, where).items())
            if len(pairs) != 1:
                self._error(node, f"{where}: one step an item, such as `- max_length: 100`")
                return None
            name, value = pairs[0]
        else:
            name, value = self._text(node, where), None
        if not name:
            return None
        plain = "url.query.NAME" if name.startswith(_QUERY) and len(name) > len(_QUERY) else name
        if plain not in known or name == "url.query.NAME":
            self._error(node, f"{where}: {quoted(name)} is none of {', '.join(known)}{near(name, known)}")
            return None
        takes = known[plain]
        if (takes is None) != (value is None):
            needs = f"needs a value: `{name}: …`" if takes else "takes no value"
            self._error(node, f"{where}: {name} {needs}")
            return None
        if value is None:
            return Transform(name)
        argument = self._argument(value, f"{where}: {name}", str(takes))
        return None if argument is None else Transform(name, argument)

    def _argument(self, node: yaml.Node, where: str, takes: str) -> Any:
        """What a step is given; None if that is an error, which is kept."""
        if takes == "map":
            pairs = self._mapping(node, where)
            if not pairs:
                self._error(node, f"{where}: name at least one value")
            return {name: self._text(value, f"{where}: {name}") for name, value in pairs.items()}
        text = self._text(node, where)
        if not text:
            return None
        match takes:
            case "count" | "decimals":
                low, high = (1, 1_048_576) if takes == "count" else (0, 38)
                if not re.fullmatch(r"[0-9]{1,7}", text) or not low <= int(text) <= high:
                    self._error(node, f"{where}: {quoted(text)} is not a whole number from {low} to {high:,}")
                    return None
                return int(text)
            case "number":
                if not NUMBER.fullmatch(text):
                    self._error(node, f"{where}: {quoted(text)} is not a number")
                    return None
            case "pattern":
                try:
                    found = re2.compile(text, _quiet())
                except re2.error as error:
                    why = error.args[0].decode(errors="replace") if error.args else "unreadable"
                    self._error(node, f"{where}: {quoted(text)} is no pattern of RE2: {why}")
                    return None
                if found.groups > 1:
                    self._error(
                        node, f"{where}: {quoted(text)} has {found.groups} groups; one at most says what to take"
                    )
            case "zone":
                return text if self.is_zone(node, where, text) else None
        return text

    def is_zone(self, node: yaml.Node, where: str, text: str) -> bool:
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zones = available_timezones()
            hint = near(text, zones) if zones else "; this machine knows no zones: install the package tzdata"
            self._error(node, f"{where}: {quoted(text)} is no time zone such as Europe/Berlin{hint}")
            return False
        return True


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options
