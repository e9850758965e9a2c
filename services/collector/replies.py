"""What each protocol's clients need as a reply: some parse it, and stop or send again when it is not theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import msgspec

from services.collector import pixel
from services.collector.cut import Cut
from services.collector.reply import FRESH, Reply

_JSON, _TEXT, _SCRIPT = "application/json", "text/plain", "application/javascript; charset=utf-8"
_NO_IMAGE = re.compile(r"(?:^|[?&])send_image=0(?:&|$)")
_VERBOSE = re.compile(r"(?:^|&)verbose=(?:1|true)(?:&|$)")
_WRITE_KEY = re.compile(r"(?:^|&)writeKey=([^&]{0,128})(?:&|$)")


class Asked(NamedTuple):
    """What a reply may depend on: `key` is what the path held, `size` the bytes of the body, `now` is in microseconds.

    `path` is the route's.
    """

    method: str = "POST"
    path: str = ""
    query: str = ""
    key: str = ""
    cut: Cut | None = None
    size: int = 0
    now: int = 0


class Answer(NamedTuple):
    """A status, a content type, "" for none, and a body."""

    status: int
    media: str = ""
    body: bytes = b""


@lru_cache(256)
def ready(answer: Answer) -> Reply:
    """The reply that says so."""
    if not answer.media:
        return Reply(answer.status, {})
    # Pages that isolate themselves (COEP) can still load images and scripts.
    loaded = answer.media.startswith(("image/", "application/javascript"))
    policy = {"Cross-Origin-Resource-Policy": "cross-origin"} if loaded else {}
    return Reply(answer.status, {"Content-Type": answer.media, **policy, **FRESH}, answer.body)


def answer(name: str, asked: Asked) -> Answer:
    """The reply of a route that has this name for it."""
    return REPLIES[name](asked)


def _always(status: int, media: str = "", body: bytes = b"") -> Callable[[Asked], Answer]:
    fixed = Answer(status, media, body)
    return lambda _asked: fixed


def _json(value: Any) -> Answer:
    return Answer(200, _JSON, msgspec.json.encode(value))


def _image(asked: Asked) -> Answer:
    image, media = pixel.image(asked.path)
    return Answer(200, media, image)


_OK = Answer(200, _TEXT, b"ok")
_ONE = Answer(200, _TEXT, b"1")
_VERBOSE_ONE = _json({"status": 1, "error": None})
_NO_CONTENT = Answer(204)


def _snowplow(asked: Asked) -> Answer:
    return _OK if asked.method == "POST" else _image(asked)


def is_verbose(asked: Asked) -> bool:
    """Whether a client of Mixpanel reads JSON; else it reads a digit."""
    fields = asked.cut.fields if asked.cut else {}
    return fields.get("verbose") in ("1", "true") or _VERBOSE.search(asked.query) is not None


def _mixpanel(asked: Asked) -> Answer:
    return _VERBOSE_ONE if is_verbose(asked) else _ONE


def _mixpanel_import(asked: Asked) -> Answer:
    if asked.cut is None or asked.cut.form:  # old clients, which read it as that of /track
        return _mixpanel(asked)
    return _json({"code": 200, "num_records_imported": len(asked.cut.items), "status": "OK"})


def _amplitude(asked: Asked) -> Answer:
    return _json(
        {
            "code": 200,
            "events_ingested": len(asked.cut.items) if asked.cut else 0,
            "payload_size_bytes": asked.size,
            "server_upload_time": asked.now // 1_000,
        }
    )


def _matomo(asked: Asked) -> Answer:
    items = asked.cut.items if asked.cut else []
    if asked.cut is not None and asked.cut.listed:
        return _json({"status": "success", "tracked": len(items), "invalid": 0})
    texts = [asked.query, *(item for item in items[:1] if isinstance(item, str))]
    return _NO_CONTENT if any(_NO_IMAGE.search(text) for text in texts) else _image(asked)


def _segment_settings(asked: Asked) -> Answer:
    integration = {"apiKey": asked.key, "unbundledIntegrations": [], "addBundledMetadata": True}
    return _json({"integrations": {"Segment.io": integration}, "plan": {}, "metrics": {"sampleRate": 0}})


def _source_config(asked: Asked) -> Answer:
    found = _WRITE_KEY.search(asked.query)
    key = unquote_plus(found[1].encode("utf-8", "replace").decode()) if found else ""
    quiet = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    source = {"id": "pixelpipe", "name": "pixelpipe", "writeKey": key, "enabled": True, "workspaceId": "pixelpipe"}
    rest = {"config": {"statsCollection": quiet}, "connections": [], "destinations": [], "dataplanes": {}}
    return _json({"source": source | rest})


_CONFIG = {
    "supportedCompression": ["gzip-js"],
    "hasFeatureFlags": False,
    "sessionRecording": False,
    "surveys": False,
    "siteApps": [],
}
_FLAGS = {**_CONFIG, "flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": False}


def _config_script(asked: Asked) -> Answer:
    """A key is letters, digits and `._~-`, so it can end no string and no script."""
    key, content = msgspec.json.encode(asked.key), msgspec.json.encode({"config": _CONFIG, "siteApps": []})
    script = b"(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})[%b]=%b;" % (key, content)
    return Answer(200, _SCRIPT, script)


REPLIES: Mapping[str, Callable[[Asked], Answer]] = {
    "empty": _always(204),
    "pixel": _image,
    "robots": _always(200, _TEXT, b"User-agent: *\nDisallow: /\n"),
    "snowplow": _snowplow,
    "segment": _always(200, _JSON, b'{"success":true}'),
    "segment.settings": _segment_settings,
    "rudderstack": _always(200, _JSON, b'"OK"'),
    "rudderstack.settings": _source_config,
    "jitsu": _always(200, _JSON, b'{"ok":true}'),
    "posthog": _always(200, _JSON, b'{"status":"Ok"}'),
    "posthog.flags": _always(200, _JSON, msgspec.json.encode(_FLAGS)),
    "posthog.config": _always(200, _JSON, msgspec.json.encode(_CONFIG)),
    "posthog.script": _config_script,
    "posthog.static": _always(200, _SCRIPT),
    "mixpanel": _mixpanel,
    "mixpanel.import": _mixpanel_import,
    "amplitude": _amplitude,
    "matomo": _matomo,
    "plausible": _always(202, _TEXT, b"ok"),
    "umami": _always(200, _JSON, b'{"cache":"0","sessionId":"0","visitId":"0"}'),
    "ga4.debug": _always(200, _JSON, b'{"validationMessages":[]}'),
}
