"""What all resources have in common: every one is planned before any is changed, and then applied.

Two concurrent provisioners, or one that was killed half-way, do no harm: whoever loses a race plans again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import requests
from google.api_core import exceptions
from google.api_core.retry import Retry, if_transient_error

from services.shared.backoff import Backoff
from services.shared.schema import LABELS as LABELS

TIMEOUT = 20.0  # seconds one request may take
RETRY = Retry(predicate=if_transient_error, initial=0.2, maximum=5.0, multiplier=2.0, timeout=60.0)
CALL: dict[str, Any] = {"retry": RETRY, "timeout": TIMEOUT}

_ROUNDS = 6  # lost races in a row before giving up
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 3.2  # seconds after such a race
_LOST_RACE = (exceptions.Conflict, exceptions.PreconditionFailed, exceptions.Aborted)
_DONE = {"create": "created", "update": "updated", "keep": "unchanged"}
_WOULD = {"create": "would create", "update": "would update", "keep": "unchanged"}

Verb = Literal["create", "update", "keep"]


class ProvisionRefused(Exception):
    """This would lose data or change what is not ours; one line per problem."""


@dataclass(frozen=True)
class Step:
    """What a resource needs: `apply()` does it, `detail` says what differs or what was left alone."""

    verb: Verb
    detail: str = ""
    apply: Callable[[], object] = lambda: None


class ProvisionError(Exception):
    """A request failed: names the resource and what in the configuration it comes from."""


class Resource(Protocol):
    """One thing in the project; `name` is how the output calls it, such as `topic pixelpipe-hits`.

    `source` is what an operator would change: a setting, or a table of the schema file.
    """

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str: ...

    def plan(self) -> Step:
        """Look, and say what is needed; changes nothing. Raises ProvisionRefused where that is impossible."""
        ...


def settle(resources: Sequence[Resource], *, dry_run: bool) -> Iterator[str]:
    """Plan all, then apply in order; a line for each resource, as it is done.

    Raises ProvisionRefused with every problem of every resource before anything has changed, and ProvisionError if a
    request fails.
    """
    steps: list[Step] = []
    problems: list[str] = []
    for resource in resources:
        try:
            with _naming(resource):
                steps.append(resource.plan())
        except ProvisionRefused as error:
            problems.append(str(error))
    if problems:
        raise ProvisionRefused("\n".join(problems))
    for resource, step in zip(resources, steps, strict=True):
        if dry_run:
            yield _line(_WOULD[step.verb], resource.name, step.detail)
        else:
            with _naming(resource):
                done = _apply(resource, step)
            yield _line(_DONE[done.verb], resource.name, done.detail)


@contextmanager
def _naming(resource: Resource) -> Iterator[None]:
    """Raises ProvisionError for a request that fails. Credentials that do not work are no resource's fault."""
    try:
        yield
    except (exceptions.GoogleAPIError, requests.RequestException) as error:
        raise ProvisionError(f"{resource.name} ({resource.source}): {error}") from error


def _apply(resource: Resource, step: Step) -> Step:
    """Apply a step, and return what was done."""
    backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
    for _ in range(_ROUNDS):
        if step.verb == "keep":
            return step
        try:
            step.apply()
        except _LOST_RACE:
            time.sleep(backoff.wait())
            step = resource.plan()
            continue
        if step.verb == "create":
            # What was made may have inherited settings that are not ours, such as a dataset's partition expiration.
            rest = resource.plan()
            if rest.verb == "update":
                rest.apply()
        return step
    raise ProvisionRefused(f"{resource.name}: others change it faster than this run can; run again once they are done")


def _line(verb: str, name: str, detail: str) -> str:
    return f"{verb:<12} {name}" + (f": {detail}" if detail else "")
