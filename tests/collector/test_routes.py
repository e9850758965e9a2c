from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import hook, redirect, routes
from services.collector.replies import REPLIES
from services.collector.routes import ANSWERED, DROPPED, KEPT, PROTOCOLS, Table
from services.collector.scripts import Script
from tests.growth import assert_linear

TABLE = Table()
FORM = "application/x-www-form-urlencoded"

# Every path that trackers use, with the protocol and kind of its hits, and whether it has a key in it.
PATHS = {
    "/com.snowplowanalytics.snowplow/tp2": "snowplow",
    "/com.acme/tp2": "snowplow",
    "/v1/t": "segment.track",
    "/v1/p": "segment.page",
    "/v1/i": "segment.identify",
    "/v1/s": "segment.screen",
    "/v1/g": "segment.group",
    "/v1/a": "segment.alias",
    "/v1/b": "segment.batch",
    "/v1/track": "segment.track",
    "/v1/page": "segment.page",
    "/v1/identify": "segment.identify",
    "/v1/screen": "segment.screen",
    "/v1/group": "segment.group",
    "/v1/alias": "segment.alias",
    "/v1/batch": "segment.batch",
    "/v1/import": "segment.batch",
    "/beacon/v1/batch": "rudderstack.batch",
    "/api/s/track": "jitsu.track",
    "/api/s/page": "jitsu.page",
    "/api/s/identify": "jitsu.identify",
    "/api/s/group": "jitsu.group",
    "/api/s/s2s/track": "jitsu.track",
    "/e": "posthog",
    "/i/v0/e": "posthog",
    "/batch": "posthog",
    "/capture": "posthog",
    "/track": "posthog",
    "/engage": "mixpanel.engage",
    "/groups": "mixpanel.groups",
    "/import": "mixpanel.import",
    "/2/httpapi": "amplitude",
    "/matomo.php": "matomo",
    "/piwik.php": "matomo",
    "/ppms.php": "matomo",
    "/api/event": "plausible",
    "/api/send": "umami",
    "/mp/collect": "ga4",
    "/g/collect": "gtag",
    "/events": "",
    "/pixel.gif": "",
    "/pixel.png": "",
    "/i": "",
}
DOCUMENTS = {
    "/robots.txt": "robots",
    "/p.js": "script",
    "/v1/projects/wk_1/settings": "segment.settings",
    "/sourceConfig": "rudderstack.settings",
    "/flags": "posthog.flags",
    "/decide": "posthog.flags",
    "/array/phc_1/config": "posthog.config",
    "/array/phc_1/config.js": "posthog.script",
    "/static/1.2.3/recorder.js": "posthog.static",
    "/static/surveys.js": "posthog.static",
}
DROPPED_PATHS = {"/s": "posthog.replay", "/debug/mp/collect": "ga4.debug"}


@pytest.mark.parametrize("spelling", ["{}", "{}/", "/{}", "{}//"])
@pytest.mark.parametrize("path", [*PATHS, *DOCUMENTS, *DROPPED_PATHS])
def test_every_path_of_a_tracker_is_known_with_and_without_a_trailing_slash(path: str, spelling: str) -> None:
    found = TABLE.at(spelling.format(path))
    assert found is not None
    route = found[0]
    if path in PATHS:
        assert (route.outcome, route.via) == (KEPT, PATHS[path])
    else:
        assert (route.outcome, route.name) == (
            (ANSWERED, DOCUMENTS[path]) if path in DOCUMENTS else (DROPPED, DROPPED_PATHS[path])
        )


def test_a_path_may_be_percent_encoded() -> None:
    found = TABLE.at("/v1/%74rack")
    assert found is not None
    assert found[0].path == "/v1/track"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/projects/wk_1.a-B~/settings", "wk_1.a-B~"),
        ("/array/phc_1/config", "phc_1"),
        ("/array/phc_1/config.js", "phc_1"),
        ("/com.acme.x/tp2/", "com.acme.x"),
        ("/v1/track", ""),
    ],
)
def test_the_key_in_a_path_is_found(path: str, key: str) -> None:
    found = TABLE.at(path)
    assert found is not None
    assert found[1] == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/nothing",
        "/v1",
        "/v1/projects/settings",
        "/v1/projects//settings",
        "/v1/projects/a/b/settings",
        "/v1/projects/" + "a" * 129 + "/settings",
        "/v1/projects/%22%3C/settings",
        "/array/a/config.css",
        "/tp2",
        "/a/b/tp2",
        "/com.acme/tp20",
        "/static",
        "/STATIC/a",
        "/static/" + "a" * 1_024,
        "/track.js",
        "/../track",
    ],
)
def test_any_other_path_is_not(path: str) -> None:
    assert TABLE.at(path) is None


def test_what_a_route_says_can_be_done() -> None:
    for table in (TABLE, Table(["/x/a=snowplow", "/{k}/x=segment.settings"])):
        for route in table:
            for one in (route, *(other for _, other in (*route.unless, *route.rivals))):
                assert one.reply in REPLIES or one.protocol in ("script", "redirect")
                assert one.own or one.protocol in PROTOCOLS
                assert set(one.methods) <= {"GET", "HEAD", "POST"}
                assert ("HEAD" in one.methods) == ("GET" in one.methods)
                assert one.outcome in (KEPT, ANSWERED, DROPPED)
                assert re.fullmatch(r"(|[a-z0-9]+(\.[a-z0-9]+)?)", one.via)


def test_every_protocol_has_a_path_and_a_name() -> None:
    spoken = {other.protocol for route in TABLE for other in (route, *(o for _, o in (*route.unless, *route.rivals)))}
    assert spoken - {"pixel", "events", "form", "robots", "script"} == set(PROTOCOLS)
    assert set(PROTOCOLS) <= set(routes.NAMES)


@pytest.mark.parametrize(
    ("path", "query", "headers", "via"),
    [
        ("/i", "e=pv&eid=1", {}, "snowplow"),
        ("/i", "eid=1&e=se", {}, "snowplow"),
        ("/i/", "e=pp", {}, "snowplow"),
        ("/i", "", {}, ""),
        ("/i", "type=e", {}, ""),
        ("/i", "e=", {}, ""),
        ("/i", "note=e=pv", {}, ""),
        ("/i", "type=a&fee=1", {}, ""),
        ("/pixel.gif", "e=pv", {}, ""),
        ("/events", "", {}, ""),
        ("/events", "", {"content-type": "application/json"}, ""),
        ("/events", "", {"content-type": "text/plain"}, ""),
        ("/events", "", {"ce-id": "1"}, "cloudevents.binary"),
        ("/events", "", {"ce-id": "1", "content-type": "application/json"}, "cloudevents.binary"),
        ("/events", "", {"ce-id": "1", "content-type": FORM}, "cloudevents.binary"),
        ("/events", "", {"ce-id": "1", "content-type": "application/cloudevents+json"}, "cloudevents"),
        ("/events", "", {"content-type": "Application/CloudEvents+JSON; charset=utf-8"}, "cloudevents"),
        ("/events/", "", {"content-type": "application/cloudevents-batch+json"}, "cloudevents"),
        ("/events", "", {"content-type": f"{FORM};charset=UTF-8"}, ""),
        ("/events", "", {"content-type": "multipart/form-data; boundary=x"}, ""),
    ],
)
def test_a_request_shows_which_protocol_it_is(path: str, query: str, headers: dict[str, str], via: str) -> None:
    found = TABLE.at(path)
    assert found is not None
    assert found[0].choose(query, headers).via == via


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.lists(st.sampled_from(["e=", "&", "pv", "type=e", "e", "=", "&e=", "%26e=1"])).map("".join))
def test_a_plain_query_shows_no_other_protocol(query: str) -> None:
    found = TABLE.at("/i")
    assert found is not None
    if routes.is_plain(query.encode()):
        assert found[0].choose(query, {}) is found[0]


def test_headers_that_a_protocol_needs_are_kept() -> None:
    sent = {
        "ce-id": "1",
        "CE-Type": "t",
        "content-type": "text/xml",
        "cookie": "c",
        "sp-anonymous": "*",
        "x-write-key": "k",
    }

    def kept(path: str, query: str = "") -> dict[str, str]:
        found = TABLE.at(path)
        assert found is not None
        return found[0].choose(query, sent).kept(sent)

    assert kept("/events") == {"ce-id": "1", "ce-type": "t", "content-type": "text/xml"}
    assert kept("/com.snowplowanalytics.snowplow/tp2") == kept("/i", "e=pv") == {"sp-anonymous": "*"}
    assert kept("/v1/t") == kept("/i") == kept("/api/s/track") == {}


@pytest.mark.parametrize(
    ("entry", "path", "via"),
    [
        ("/x/a=snowplow", "/x/a", "snowplow"),
        ("/x/a/=segment.track", "/x/a", "segment.track"),
        ("/x/a=segment", "/x/a/", "segment"),
        ("/x/a=jitsu", "/x/a", "jitsu"),
        ("/x/a=rudderstack", "/x/a", "rudderstack"),
        ("/x/a=mixpanel", "/x/a", "mixpanel"),
        ("/x/a=mixpanel.engage", "/x/a", "mixpanel.engage"),
        ("/x/a=posthog", "/x/a", "posthog"),
        ("/x/a=cloudevents", "/x/a", "cloudevents"),
        ("/x/a=gtag", "/x/a", "gtag"),
        ("/x/a=events", "/x/a", ""),
        ("/open.gif=pixel", "/open.gif", ""),
        ("/open.gif", "/open.gif", ""),
        ("/open", "//open/", ""),
        ("/", "/", ""),
        ("/track=segment.track", "/track", "segment.track"),
    ],
)
def test_a_path_can_be_renamed(entry: str, path: str, via: str) -> None:
    found = Table([entry]).at(path)
    assert found is not None
    assert (found[0].via, found[0].path) == (via, entry.partition("=")[0])


def test_a_renamed_path_does_all_that_the_usual_one_does() -> None:
    table = Table(["/x/a=cloudevents", "/x/{key}/b=segment.settings", "/x/e=events", "/x/m=matomo"])
    for path, query, headers, name, key in [
        ("/x/a", "", {"ce-id": "1"}, "cloudevents.binary", ""),
        ("/x/wk/b", "", {}, "segment.settings", "wk"),
        ("/x/e", "", {"content-type": FORM}, "form", ""),
        ("/x/m", "", {}, "matomo", ""),
    ]:
        found = table.at(path)
        assert found is not None
        assert (found[0].choose(query, headers).name, found[1]) == (name, key)
    usual, renamed = TABLE.at("/matomo.php"), table.at("/x/m")
    assert usual and renamed
    assert replace(renamed[0], path=usual[0].path) == usual[0]
    assert TABLE.at("/x/m") is None


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        (["/x/a=snowplo"], "'/x/a=snowplo' names no protocol; did you mean snowplow?"),
        (["/x/a=segment.trak"], "'/x/a=segment.trak' names no protocol; did you mean segment.track?"),
        (["/x/a=zzz"], "'/x/a=zzz' names no protocol; use one of amplitude, "),
        (["/x/a=robots"], "'/x/a=robots' names no protocol; "),
        (["/x/a="], "'/x/a=' is not PATH=PROTOCOL"),
        (["x/a=snowplow"], "'x/a=snowplow' is not PATH=PROTOCOL"),
        (["/x a=snowplow"], "'/x a=snowplow' is not PATH=PROTOCOL"),
        (["/x=a=b=snow plow"], "'/x=a=b=snow plow' is not PATH=PROTOCOL"),
        (["open.gif"], "'open.gif' is not a path that starts with /"),
        (["/{a}/{b}=snowplow"], "'/{a}/{b}=snowplow' is too long a path, or has more than one {…}"),
        (["/" + "x" * 2_000], "…' is too long a path"),
        (["/a=snowplow", "/b", "/a=segment"], "'/a=segment' is a path that another entry has already named"),
    ],
)
def test_a_wrong_entry_is_named(entries: list[str], error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)):
        routes.parse_paths(entries)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_can_be_switched_off(protocol: str) -> None:
    table = Table(["/x/a=" + protocol], [other for other in PROTOCOLS if other != protocol])
    assert table.at("/x/a") is None
    for route in table:
        for one in (route, *(other for _, other in (*route.unless, *route.rivals))):
            assert one.protocol != protocol
    for path, via in PATHS.items():
        found = table.at(path)
        shared = {"/batch": ("posthog", "amplitude"), "/track": ("posthog", "mixpanel")}.get(path)
        if not via or via.partition(".")[0] != protocol:
            assert found is not None
            assert found[0].via == via
        elif shared:
            assert found is not None
            assert (found[0].via, found[0].path, found[0].rivals) == (shared[1], path, ())
        else:
            assert found is None


def test_with_every_protocol_off_only_our_own_is_spoken() -> None:
    table = Table(protocols=())
    assert {route.name for route in table} == {"pixel", "events", "robots", "script"}
    for path, query, headers, via in [
        ("/i", "e=pv", {}, ""),
        ("/events", "", {"ce-id": "1"}, ""),
        ("/events", "", {"content-type": FORM}, ""),
    ]:
        found = table.at(path)
        assert found is not None
        assert found[0].choose(query, headers).via == via


def test_a_protocol_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="'snowplough' is not a protocol; use some of amplitude, "):
        Table(protocols=["snowplough"])


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.text(max_size=30) | st.lists(st.sampled_from([*PATHS, "/", "%2f", "?", "tp2", "settings"])).map("".join))
def test_any_path_has_a_route_or_none(path: str) -> None:
    found = TABLE.at(path)
    assert found is None or found[0] in list(TABLE)


def test_finding_a_path_is_linear() -> None:
    assert_linear(TABLE.at, "/v1/projects/", "/settings")
    assert_linear(lambda query: TABLE.at("/i") and TABLE.at("/i")[0].choose(query, {}), "e", "=")  # type: ignore[index]
    assert_linear(lambda media: routes.media({"content-type": media}), "text/plain;", "charset=utf-8")


def test_what_is_there_by_configuration_can_be_renamed_too() -> None:
    more = [redirect.ROUTE, hook.parse("gh").route, Script("a-B.js", b"").route]
    table = Table(["/go=redirect", "/x/h=hook.gh", "/x/a=script.a-B.js", "/x/p=script"], (), more)
    for paths, name, via in [
        (("/r", "/go", "/r/"), "redirect", ""),
        (("/hook/gh", "/x/h"), "hook.gh", "hook.gh"),
        (("/a-B.js", "/x/a"), "script.a-B.js", ""),
        (("/p.js", "/x/p"), "script", ""),
    ]:
        for path in paths:
            found = table.at(path)
            assert found is not None
            assert (found[0].name, found[0].via, found[0].own) == (name, via, True)
    for path in ("/r", "/hook/gh", "/a-B.js"):
        assert TABLE.at(path) is None


@pytest.mark.parametrize(
    ("entry", "needed"),
    [
        ("/go=redirect", "PIPE_REDIRECT_HOSTS or PIPE_REDIRECT_KEY_FILE"),
        ("/x=hook.gh", "its source in PIPE_HOOKS"),
        ("/x=script.a.js", "its file in the folder PIPE_SCRIPTS"),
    ],
)
def test_a_path_of_something_not_configured_says_what_it_needs(entry: str, needed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"'{entry}' needs {needed}")):
        Table([entry])
