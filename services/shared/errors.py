"""One of the two kinds of failure the pipeline knows; anything else may pass later and is retried."""

from __future__ import annotations


class Poison(Exception):
    """A message that fails every time, in any pod: it goes to the dead-letter topic with this text as its reason."""
