"""What every command says of wrong options, and of a pipeline that is not there: one line, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ops.__main__ import main
from tests.ops import schemas
from tests.ops.conftest import Pipeline

PROJECT = ("--project", "local")
WRONG = {
    ("smoke", "--project", ""): "argument --project: '': use a project's id, such as my-project",
    ("smoke", *PROJECT, "--dataset", "my-data"): "argument --dataset: 'my-data': use letters, digits and underscores",
    ("smoke", *PROJECT, "--url", "garbage"): "argument --url: 'garbage': use a URL, such as https://",
    ("smoke", *PROJECT, "--url", "http://127.0.0.1:99999999"): "argument --url: 'http://127.0.0.1:99999999': use a URL",
    ("smoke", *PROJECT, "--wait", "nan"): "argument --wait: 'nan': use a number from 0 up",
    ("smoke", *PROJECT, "--wait", "inf"): "argument --wait: 'inf': use a number from 0 up",
    ("smoke", *PROJECT, "--schema", ""): "argument --schema: it is empty; name a file",
    (
        "reconcile",
        *PROJECT,
        "--since",
        "0001-01-01T00:00+14:00",
    ): "argument --since: '0001-01-01T00",
    ("reconcile", *PROJECT, "--since", "9" * 5000): f"argument --since: '{'9' * 80}…': use a time, such as 2026-03-01",
    ("doctor", *PROJECT, "--admin", "9101"): "argument --admin: '9101': use a URL, such as https://",
    ("load", "--hits", "0"): "argument --hits: '0': use a whole number from 1 up",
    ("load", "--hits", "9" * 5000): f"argument --hits: '{'9' * 80}…': use a whole number from 1 up",
    ("load", "--connections", "0"): "argument --connections: '0': use a whole number from 1 up",
    ("load", "--bad", "500"): "argument --bad: '500': use a number from 0 to 100",
    ("load", "--post", "-1"): "argument --post: '-1': use a number from 0 to 100",
    ("load", "--rate", "0"): "argument --rate: '0': use a number from 0.1 to 1e+06",
    ("load", "--mix", "native=70,other=30"): "argument --mix: 'native=70,other=30': use shares such as native=70",
    ("load", "--mix", "native"): "argument --mix: 'native': use shares such as native=70",
    ("load", "--mix", "native=nan"): "argument --mix: 'native=nan': use shares such as native=70",
    ("load", "--mix", "native=0"): "argument --mix: 'native=0': one share must be more than 0",
    ("load", "--bigquery", "127.0.0.1"): "argument --bigquery: '127.0.0.1': use a URL",
    ("replay", *PROJECT, "--limit", "x"): "argument --limit: 'x': use a whole number from 1 up",
    ("replay", *PROJECT, "--hits-topic", "a b"): "argument --hits-topic: 'a b': use 3 to 255 letters",
    ("dead", "list", *PROJECT, "--subscription", "a"): "argument --subscription: 'a': use 3 to 255 letters",
    ("dead", "list", *PROJECT, "--wait", "-1"): "argument --wait: '-1': use a number from 0 up",
    ("trace", "x", *PROJECT, "--since", "soon"): "argument --since: 'soon': use a day, such as 2026-03-01",
    ("check", "--header", "Sec-GPC"): "argument --header: 'Sec-GPC': use 'NAME: VALUE', such as 'Sec-GPC: 1'",
    ("check", "--header", "A: b\nC: d"): "argument --header: 'A: b\\nC: d': use 'NAME: VALUE'",
    ("explain", "--header", "Sec-GPC"): "argument --header: 'Sec-GPC': use 'NAME: VALUE', such as 'Sec-GPC: 1'",
    ("explain", "--schema", ""): "argument --schema: it is empty; name a file",
    ("check", "--against", "dead"): "argument --against: invalid choice: 'dead'",
    ("check", "--rejects", "--since", "soon"): "argument --since: 'soon': use a time",
    ("init", *PROJECT, "--since", "soon"): "argument --since: 'soon': use a day, such as 2026-03-01",
    ("init", *PROJECT, "--rows", "0"): "argument --rows: '0': use a whole number from 1 up",
    ("init", *PROJECT, "--share", "101"): "argument --share: '101': use a number from 0 to 100",
    ("forget", *PROJECT, "--buffer-wait", "-1"): "argument --buffer-wait: '-1': use a number from 0 up",
    ("forget", *PROJECT, "--dead-topic", "a b"): "argument --dead-topic: 'a b': use 3 to 255 letters",
    ("access", *PROJECT, "--file", ""): "argument --file: it is empty; name a file",
    ("compact", *PROJECT, "--closed-after", "nan"): "argument --closed-after: 'nan': use a number from 0 up",
    ("compact", *PROJECT, "--settled-after", "nan"): "argument --settled-after: 'nan': use a number from 0 up",
}


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments)[:60])
def test_an_option_that_is_wrong_is_named_with_its_value(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = capsys.readouterr()
    assert said.out == ""
    assert WRONG[arguments] in said.err.splitlines()[-1]


def test_an_option_that_there_is_not_shows_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["load", "--rate", "5", "--teapot"])
    said = capsys.readouterr().err
    assert "load [-h] [--url URL]" in said.splitlines()[0]
    assert said.endswith(" load: error: unrecognized arguments: --teapot\n")


COMMANDS = {
    "doctor": "PUBSUB_EMULATOR_HOST",
    "smoke": "BIGQUERY_EMULATOR_HOST",
    "load": "BIGQUERY_EMULATOR_HOST",
    "replay": "BIGQUERY_EMULATOR_HOST",
    "compact": "BIGQUERY_EMULATOR_HOST",
    "trace x": "BIGQUERY_EMULATOR_HOST",
    "forget --user-id x": "BIGQUERY_EMULATOR_HOST",
    "access --user-id x": "BIGQUERY_EMULATOR_HOST",
    "init": "BIGQUERY_EMULATOR_HOST",
    "check --rejects": "BIGQUERY_EMULATOR_HOST",
    "dead list": "PUBSUB_EMULATOR_HOST",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_emulator_that_does_not_answer_is_named_at_once(
    command: str, free_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port}")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{free_port}")
    assert main([*command.split(), *PROJECT]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{command.split()[0]}: {COMMANDS[command]}='") and str(free_port) in line
    assert "no emulator answers there: Connection refused; is `make run` running?" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Is a directory"), (b"no json", "is not a valid json file"), (b"{}", "does not have a valid type")],
)
def test_credentials_that_cannot_be_used_are_one_line(
    content: bytes | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "key.json"
    file.mkdir() if content is None else file.write_bytes(content)
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert main(["replay", *PROJECT]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("replay: failed: ") and str(file) in line and said in line, line


def test_a_schema_file_that_cannot_be_read_is_a_wrong_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["replay", *PROJECT, "--schema", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"replay: {tmp_path}: is not a file; name a schema file, by an option or PIPE_SCHEMA\n"
    )


ABSENT = (
    "access --user-id x",
    "check --rejects",
    "compact",
    "dead list",
    "forget --user-id x",
    "ingest {log}",
    "init",
    "privacy",
    "reconcile --no-dead",
    "replay",
    "tail --seconds 5",
    "trace x",
)


@pytest.mark.parametrize("command", ABSENT)
def test_a_project_without_a_pipeline_is_named_with_what_to_do(command: str, bare: Pipeline, tmp_path: Path) -> None:
    bare.file.write_text(schemas.text())
    log = tmp_path / "access.log"
    log.write_text('192.0.2.1 - - [01/Mar/2026:11:00:00 +0000] "GET /i?user_id=a HTTP/1.1" 200 43 "-" "curl"\n')
    done = bare.ops(*command.format(log=log).split(), code=1)
    said = done.out + done.err
    assert (bare.project in said or "--project" in said) and "provision" in said
    assert "prettyPrint" not in said and "POST http" not in said and "GET http" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("trace", "\udcff"),
        ("dead", "show", "\udcff"),
        ("replay", "--reason", "\udcff"),
        ("access", "--user-id", "\udcff"),
    ],
)
def test_what_is_not_utf_8_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--project", "p1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(" is not UTF-8")
