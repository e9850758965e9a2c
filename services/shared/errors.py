"""One of the two failures the pipeline knows; everything else may pass later and is tried again."""

from __future__ import annotations


class Poison(Exception):
    """A message that fails every time, whoever tries: it goes to the dead-letter topic with this text as its reason."""
