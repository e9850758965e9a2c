"""Settings: one frozen dataclass per service, read once from the environment, checked and explained at start.

    @dataclass(frozen=True)
    class Config:
        linger_seconds: float = setting(0.05, "seconds hits are batched for", minimum=0, maximum=1)

The field `linger_seconds` is read from `PIPE_LINGER_SECONDS`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "PIPE_"
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_LONGEST = 80  # characters of a value that an error shows
_PUBSUB = r"(?!goog)[A-Za-z][\w.~+%-]{2,254}", "3 to 255 letters, digits and -._~+%, the first a letter, not goog…"
# What a value, or each item of a list, must look like, by the last word of the setting's name.
_SHAPES = {
    "project": (r"[A-Za-z0-9][\w.:-]{0,127}", "a project's id, such as my-project"),
    "dataset": (r"\w{1,1024}", "letters, digits and underscores"),
    "topic": _PUBSUB,
    "subscription": _PUBSUB,
    "archive": (
        r"(gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/\.*[\w=-][\w.=-]*)*/?)?",
        "gs://BUCKET or gs://BUCKET/FOLDER, of letters, digits and _-.=",
    ),
    "host": (r"[\w.:%-]+", "an address or a host name"),
    "paths": (r"/[!-~]*", "paths that start with /, without spaces"),
    "headers": (r"[\w!#$%&'*+.^`|~-]+", "names of headers"),
}

C = TypeVar("C")


class ConfigError(Exception):
    """One line per wrong setting: its name, its value, and what to do."""


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a Config: `help` is the text of the service's README table; without a default it is required."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def name(field: dataclasses.Field[Any]) -> str:
    """The environment variable of a field."""
    return PREFIX + field.name.upper()


def read(config: type[C], environ: Mapping[str, str]) -> C:
    """A Config from the environment. Raises ConfigError naming every setting that is wrong, missing or unknown."""
    fields = {name(field): field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    errors = []
    for key in sorted(environ):
        if key.startswith(PREFIX) and key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            errors.append(
                f"{key} is not a setting of this service; " + (f"did you mean {near[0]}?" if near else "unset it")
            )
    for key, field in fields.items():
        if key not in environ:
            if field.default is dataclasses.MISSING:
                errors.append(f"{key} is not set; set it to {field.metadata['help']}")
            continue
        try:
            values[field.name] = _convert(environ[key], field)
        except ValueError as error:
            errors.append(f"{key}={shown(environ[key])}: {error} ({field.metadata['help']})")
    if errors:
        raise ConfigError("\n".join(errors))
    return config(**values)


def shown(text: str) -> str:
    """A value as an error shows it: quoted, on one line, truncated."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def _convert(text: str, field: dataclasses.Field[Any]) -> Any:
    value: Any
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("it is not UTF-8")
    if not text.strip() and field.default not in ("", ()):
        raise ValueError("it is empty" + ("" if field.default is dataclasses.MISSING else "; unset it for the default"))
    match field.type:
        case "bool":
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError("use true or false")
            return text.lower() in _TRUE
        case "int" | "float":
            try:
                value = int(text) if field.type == "int" else float(text)
            except ValueError:
                raise ValueError(f"use {'a whole number' if field.type == 'int' else 'a number'}") from None
            low, high = field.metadata["minimum"], field.metadata["maximum"]
            if not (low is None or value >= low) or not (high is None or value <= high):
                raise ValueError(f"use a number from {low}" + (f" to {high}" if high is not None else " up"))
        case "tuple[str, ...]":
            value = tuple(part.strip() for part in text.split(",") if part.strip())
        case "Path":
            value = Path(text)
        case _:
            value = text.strip()
    if field.metadata["choices"] and value not in field.metadata["choices"]:
        raise ValueError("use one of " + ", ".join(field.metadata["choices"]))
    for part in value if isinstance(value, tuple) else (value,):
        check_shape(field.name.rpartition("_")[2], part)
    return value


def check_shape(kind: str, value: Any) -> None:
    """Raises ValueError for a text that cannot be what the last word of the setting's name calls for."""
    pattern, words = _SHAPES.get(kind, (".*", ""))
    if isinstance(value, str) and not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
        raise ValueError(f"use {words}")
