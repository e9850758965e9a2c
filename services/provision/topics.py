"""Pub/Sub topics."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions

from services.provision.resource import CALL, LABELS, Step
from services.shared.resource_names import topic_path


class Topic:
    """A topic with our label; everything else about it is its owner's."""

    def __init__(self, client: Any, project: str, topic: str, source: str) -> None:
        self._client = client
        self._path = topic_path(project, topic)
        self.source = source
        self.name = f"topic {topic}"

    def plan(self) -> Step:
        try:
            found = self._client.get_topic(topic=self._path, **CALL)
        except exceptions.NotFound:
            topic = {"name": self._path, "labels": LABELS}
            return Step("create", apply=lambda: self._client.create_topic(request=topic, **CALL))
        labels = {**found.labels, **LABELS}
        if labels == dict(found.labels):
            return Step("keep")
        request = {"topic": {"name": self._path, "labels": labels}, "update_mask": {"paths": ["labels"]}}
        return Step("update", "labels", lambda: self._client.update_topic(request=request, **CALL))
