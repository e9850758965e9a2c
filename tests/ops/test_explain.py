"""`explain`: what becomes of a request, column by column; `check` shows the same, where more of it is tested."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from services.ops.__main__ import main
from tests.ops import schemas


@pytest.fixture
def schema(tmp_path: Path) -> str:
    file = tmp_path / "schema.yaml"
    file.write_text(schemas.text())
    return f"--schema={file}"


def test_a_url_is_explained_for_people(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "https://t.example.com/i?user_id=ada&n=7&x=1", schema]) == 0
    out = capsys.readouterr().out
    assert out.startswith("GET /i?user_id=ada&n=7&x=1\n  answered 200 image/gif\n")
    assert "event 0 (native): a row of events" in out and "no column for: x (kept in params)" in out


def test_a_body_is_explained_by_its_protocol_and_a_reject_is_exit_code_1(
    schema: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "body"
    file.write_text(json.dumps({"batch": [{"type": "track", "event": "a", "userId": "ada", "messageId": "m"}]}))
    assert main(["explain", "--body", str(file), "--protocol", "segment", schema, "--json"]) == 0
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert (event["outcome"], event["row"]["event_id"], event["row"]["user_id"]) == ("row", "m", "ada")
    assert main(["explain", "?n=seven", schema]) == 1
    assert "a reject, wrong_type of events.n" in capsys.readouterr().out


PASTED = {
    "a curl command": ('curl https://t.example.com/events --json \'{"user_id": "ada"}\'', None),
    "a payload": ('{"batch": [{"type": "track", "event": "a", "userId": "ada", "messageId": "m"}]}', "segment"),
    "a query string": ("user_id=ada&n=1", "native"),
}


@pytest.mark.parametrize("kind", PASTED)
def test_what_is_pasted_is_read(
    kind: str, schema: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, guessed = PASTED[kind]
    for argument in (text, "-"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(["explain", argument, schema, "--json"]) == 0
        out, err = capsys.readouterr()
        said = json.loads(out)
        assert said["events"][0]["row"]["user_id"] == "ada" and said.get("guessed") == guessed
        assert err == ("" if guessed is None else f"explain: taken for {guessed}; --protocol says another\n")


def test_headers_and_protocol_are_those_of_the_options(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "?user_id=ada", "--header", "Sec-GPC: 1", schema, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opt_outs"] == {"gpc": "anonymize"}
    item = '{"type": "track", "event": "a", "userId": "ada", "messageId": "m"}'
    assert main(["explain", item, "--protocol", "segment.track", schema, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"] == "POST /v1/track"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name a URL such as '?user_id=ada&type=view', a curl command, or a --body"),
        (["ftp://t.example.com"], 1, "this is not a URL, curl command, JSON or query string; paste one of these"),
        (["t.example.com/i?a=1"], 1, "'t.example.com/i?a=1': begin a URL with https://, http://, / or ?"),
        (["curl -d a=1"], 1, "the curl command has no URL"),
        (["?a=1", "--protocol", "segment"], 2, "--protocol goes with what a tracker posts, not with a URL"),
        (["--body", "/nowhere"], 2, "--body /nowhere: cannot be read: No such file or directory"),
        (
            ["?a=1", "--body", "/dev/null", "--protocol", "segment"],
            2,
            "--protocol and URL both say where to; leave one out",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"explain: {said}\n")


def test_a_reject_shows_what_was_known_and_what_was_empty(capsys: pytest.CaptureFixture[str]) -> None:
    query = "?type=view&url=https://a/&event_id=o1&user_id=&x=1"
    assert main(["explain", query]) == 1  # by the schema file that comes with pixelpipe
    said = capsys.readouterr().out
    assert "a reject, missing of events: no value in any of user_id, anonymous_id, visitor_id\n" in said
    assert re.search(r"^    event_id +o1$", said, re.MULTILINE) and re.search(
        r"^    url +https://a/ ", said, re.MULTILINE
    )
    assert "  sent without a value: user_id\n  no column for: x (kept in the reject)\n" in said
    assert main(["explain", query, "--json"]) == 1
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert set(event["known"]) == {"day", "event_id", "received_at", "type", "url", "protocol", "ip"}
    assert event["known"]["day"] == event["row"]["day"]
    assert (event["empty"], event["unknown"], event["kept_in"]) == (["user_id"], ["x"], "hit")


def test_a_value_that_does_not_fit_has_a_column(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "?user_id=ada&event_time=soon&title=&x=1", "--json"]) == 0
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert set(event["row"]["params"]) == {"event_time", "title", "x"}  # where they are kept
    assert ([one["column"] for one in event["problems"]], event["empty"], event["unknown"]) == (
        ["event_time"], ["title"], ["x"],
    )  # fmt: skip
    assert main(["explain", "?user_id=ada&n=seven", schema, "--json"]) == 1
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert (event["known"]["user_id"], event["unknown"]) == ("ada", []) and "n" not in event["known"]
