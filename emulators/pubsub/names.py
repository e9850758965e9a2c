"""Resource names: `projects/PROJECT/topics/ID` and `projects/PROJECT/subscriptions/ID`.

The rules are those of https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names: an id has 3 to 255 characters,
starts with a letter, holds letters, digits and `-_.~+%`, and does not start with `goog`.
"""

from __future__ import annotations

import re

from emulators.pubsub.errors import PubsubError, invalid

DELETED_TOPIC = "_deleted-topic_"

# A project is an id, a number, or a domain-scoped id such as `example.com:shop`.
_PROJECT = r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}"
_ID = r"(?!goog)[A-Za-z][A-Za-z0-9_.~+%-]{2,254}"
_PROJECT_NAME = re.compile(rf"projects/{_PROJECT}")
_RESOURCE_NAMES = {kind: re.compile(rf"projects/{_PROJECT}/{kind}/{_ID}") for kind in ("topics", "subscriptions")}


def _refusal(name: str) -> PubsubError:
    return invalid(
        f"Invalid resource name given (name={name}). Refer to "
        "https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."
    )


def check_topic(name: str) -> str:
    """Return the name of a topic, or raise `PubsubError` INVALID_ARGUMENT."""
    if not _RESOURCE_NAMES["topics"].fullmatch(name):
        raise _refusal(name)
    return name


def check_subscription(name: str) -> str:
    """Return the name of a subscription, or raise `PubsubError` INVALID_ARGUMENT."""
    if not _RESOURCE_NAMES["subscriptions"].fullmatch(name):
        raise _refusal(name)
    return name


def check_project(name: str) -> str:
    """Return `projects/PROJECT`, or raise `PubsubError` INVALID_ARGUMENT."""
    if not _PROJECT_NAME.fullmatch(name):
        raise _refusal(name)
    return name


def project_of(name: str) -> str:
    """`projects/shop/topics/hits` -> `shop`."""
    return name.split("/", 2)[1]


def id_of(name: str) -> str:
    """`projects/shop/topics/hits` -> `hits`."""
    return name.rpartition("/")[2]
