from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from local.__main__ import main

KINDS = (
    "SELECT 9007199254740993 AS whole, 0.1 AS real_, NUMERIC '12345678901234567890.123456789' AS exact, TRUE AS yes, "
    "DATE '2026-03-01' AS day, TIMESTAMP '2026-03-01 12:00:00.000001+02:00' AS `at`, "
    "'Zoë \\u001b[31m\\u009b\\u202e' AS text_, CAST(NULL AS STRING) AS nothing"
)


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def query(bigquery_host, tmp_path, capsys, monkeypatch):
    """The command, in this process."""
    for name in ("NO_PROXY", "no_proxy"):  # which the command sets
        monkeypatch.setenv(name, "")

    def run(sql: str, *options: str, host: str = bigquery_host.rest) -> Answer:
        code = main(["query", sql, "--data", str(tmp_path), *options], {"BIGQUERY_EMULATOR_HOST": host})
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


def test_json_loses_no_digit_and_holds_nothing_a_terminal_obeys(query) -> None:
    answer = query(KINDS, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {
        "whole": 9007199254740993,
        "real_": 0.1,
        "exact": "12345678901234567890.123456789",
        "yes": True,
        "day": "2026-03-01",
        "at": "2026-03-01T10:00:00.000001Z",
        "text_": "Zoë \x1b[31m\x9b\u202e",
        "nothing": None,
    }
    assert "Zoë" in answer.stdout
    assert not {"\x1b", "\x9b", "\u202e"} & set(answer.stdout)


def test_the_table_is_aligned_and_holds_nothing_a_terminal_obeys(query) -> None:
    answer = query(KINDS + " UNION ALL SELECT 7, 0.25, NUMERIC '1', FALSE, NULL, NULL, '[bold]b[/]', 'x' ORDER BY 1")
    assert answer.returncode == 0, answer.stderr
    head, first, second, count = answer.stdout.splitlines()
    assert first.split() == ["7", "0.25", "1", "false", "NULL", "NULL", "[bold]b[/]", "x"]
    assert second.split()[:4] == ["9007199254740993", "0.1", "12345678901234567890.123456789", "true"]
    assert "Zoë \\x1b[31m\\x9b\\u202e" in second
    assert head.index("text_") == first.index("[bold]") == second.index("Zoë")
    assert head.index("whole") + len("whole") == first.index("7") + 1  # numbers are aligned to the right
    assert count == "(2 rows)"


def test_an_error_is_one_line_and_exit_code_1(query) -> None:
    for sql, host, said in (
        ("SELECT FROM", None, "query: invalidQuery: "),
        ("SELECT 1 FROM nowhere.nothing", None, "query: notFound: "),
        ("  ", None, "query: the SQL is empty; try "),
        ("SELECT 1", "http://127.0.0.1:1", "query: BigQuery does not answer"),
    ):
        answer = query(sql, host=host) if host else query(sql)
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert answer.stderr.startswith(said) and len(answer.stderr.splitlines()) == 1


def test_a_table_stops_at_a_thousand_rows_and_says_so(query) -> None:
    sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS n ORDER BY n"
    lines = query(sql).stdout.splitlines()
    assert [line.strip() for line in lines[1000:]] == [
        "1000",
        "(1000 rows)",
        "only the first 1000 rows are shown; use LIMIT, or --format json for all",
    ]
    assert len(query(sql, "--format", "json").stdout.splitlines()) == 1500
