from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from local import run_file
from local.__main__ import main
from local.run_file import DataUnusable, NotRunning, alive
from tests import process
from tests.local import run_stack
from tests.local.run_stack import Stack


def ended(pids: dict[str, int]) -> bool:
    return not any(alive(pid) for pid in pids.values())


def events(user: str) -> str:
    return f"SELECT user_id, type, params FROM pixelpipe.events WHERE user_id = '{user}'"


def test_what_run_prints_leads_everywhere(stack: Stack) -> None:
    said = stack.said()
    assert "pixelpipe is ready after" in said
    assert f"curl -o /dev/null '{stack.url('collector')}/pixel.gif?user_id=ada&type=view'" in said
    assert f"python -m local query --data {stack.data} 'SELECT user_id, type FROM pixelpipe.events'" in said
    assert f"{stack.url('page')}\n" in said
    assert f"python -m local ops --data {stack.data} --help\n" in said
    for name in stack.pids():
        assert (stack.data / "logs" / f"{name}.log").exists()


def test_a_pixel_becomes_a_row_that_query_prints(stack: Stack) -> None:
    assert stack.fire("user_id=mary&type=view&colour=%1b[31mred") == 200
    (row,) = process.wait_for(lambda: stack.rows(events("mary")), 60, "the row")
    assert row == {"user_id": "mary", "type": "view", "params": {"colour": "\x1b[31mred"}}
    (line,) = stack.query(events("mary"), "--format", "json").stdout.splitlines()
    assert json.loads(line) == row
    head, cells, count = stack.query(events("mary")).stdout.splitlines()
    assert head.split() == ["user_id", "type", "params"]
    assert cells.split()[:2] == ["mary", "view"]
    assert "\x1b" not in cells and "\\u001b[31mred" in cells
    assert count == "(1 row)"


@pytest.mark.slow
def test_faults_are_set_in_the_running_stack(stack: Stack) -> None:
    def fault(*arguments: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "local", "fault", *arguments, "--data", str(stack.data)]
        said = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, timeout=60)
        assert (said.returncode, said.stderr) == (0, "")
        return [json.loads(line) for line in said.stdout.splitlines()]

    (late,) = fault("pubsub", '{"effect": "latency_after", "method": "Publish", "delay": 0.05}')
    (lost,) = fault("bigquery", '{"effect": "lost_reply", "method": "AppendRows", "times": 1}')
    assert stack.fire("user_id=grace&type=view") == 200
    process.wait_for(lambda: fault("bigquery")[0]["applied"] == 1, 60, "the append whose reply is lost")
    process.wait_for(lambda: len(stack.rows(events("grace"))) == 1, 60, "the row, once in the view")
    assert [(found["id"], found["applied"] > 0) for found in fault("pubsub")] == [(late["id"], True)]
    fault("bigquery", "--remove", lost["id"])
    assert fault("pubsub", "--clear") == [{"removed": 1}]
    assert fault("pubsub") == fault("bigquery") == []


def test_a_second_stack_on_the_same_data_is_refused(stack: Stack) -> None:
    with run_stack.begun(stack.data) as busy:
        assert busy.process.wait(60) == 1
        assert "is running already; stop it, or choose another folder with --data" in busy.output()
    assert stack.running().ready


def test_ctrl_c_ends_all_cleanly(tmp_path: Path) -> None:
    with run_stack.running(tmp_path) as stack:
        pids = stack.pids()
        assert not ended(pids)
        assert stack.child.stop(signal.SIGINT) == 0, stack.said()
        assert stack.said().splitlines()[-1] == "stopped cleanly"
        assert "killing" not in stack.said()
        assert ended(pids)
    assert not (stack.data / "run.json").exists()
    nothing = stack.query("SELECT 1")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "start it with `make run`" in nothing.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)  # two stacks, one after the other
def test_a_dead_emulator_of_pubsub_ends_all_and_the_data_are_there_for_the_next_run(tmp_path: Path) -> None:
    count = "SELECT COUNT(*) AS n FROM web.events"
    with run_stack.running(tmp_path, PIPE_DATASET="web", PIPE_PROJECT="production") as stack:
        assert "PIPE_PROJECT=production is not used here: the local stack is the project `local`" in stack.said()
        stack.fire("user_id=ada&type=view")
        process.wait_for(lambda: stack.rows(count) == [{"n": 1}], 60, "the row")
        pids = stack.pids()
        os.kill(pids["pubsub"], signal.SIGKILL)
        assert stack.child.process.wait(120) == 1
        assert "local: pubsub ended: killed by SIGKILL; the end of" in stack.said()
        assert '{"grpc": ' in stack.said()  # from the emulator's log
        assert ended(pids)
    with run_stack.running(tmp_path, PIPE_DATASET="web") as again:
        assert again.rows(count) == [{"n": 1}]
        pids = again.pids()
        again.child.stop(signal.SIGKILL)
        process.wait_for(lambda: ended(pids), 60, "the end of the children of a killed supervisor")
        with pytest.raises(NotRunning, match="was killed"):
            run_file.read(tmp_path)


def test_settings_that_no_service_knows_are_refused(tmp_path: Path) -> None:
    with run_stack.begun(tmp_path, PIPE_LINGER_SECOND="1") as started:
        assert started.process.wait(60) == 2
        assert "PIPE_LINGER_SECOND is a setting of no service; did you mean PIPE_LINGER_SECONDS?" in started.output()


def test_settings_and_a_schema_file_that_are_wrong_are_refused_before_anything_starts(tmp_path: Path) -> None:
    code, said = refused(tmp_path, PIPE_LINGER_SECONDS="soon", PIPE_DATASET="my-data", PIPE_MAX_BYTES="")
    lines = said.splitlines()
    assert (code, lines[0]) == (2, "local: cannot start:")
    assert sorted(line.partition(":")[0] for line in lines[1:]) == [
        "PIPE_DATASET='my-data'",
        "PIPE_LINGER_SECONDS='soon'",
        "PIPE_MAX_BYTES=''",
    ]
    schema = tmp_path / "schema.yaml"
    schema.write_text("tables: {}\n")
    code, said = refused(tmp_path, PIPE_SCHEMA=str(schema))
    assert code == 2 and said.startswith(f"local: cannot start:\n{schema}:1:9: there is no table")


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"pid": "1"}', b'{"pid": 1, "ports"'])
def test_a_run_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(NotRunning) as caught:
        run_file.read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/run.json cannot be read: ") and said.endswith("; remove it")


def test_a_provisioning_that_fails_ends_the_run_and_says_why(tmp_path: Path) -> None:
    with run_stack.begun(tmp_path, PIPE_HITS_SUBSCRIPTION="one", PIPE_ROWS_SUBSCRIPTION="one") as started:
        assert started.process.wait(60) == 1
        assert "provision ended: exit code 1" in started.output()
        assert "provision: refused:\n  subscription one" in started.output()


def refused(data: str | Path, *options: str, **env: str) -> tuple[int, str]:
    """Exit code and stderr of a run that must not start."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(["run", "--port-base", "0", "--data", str(data), *options], {**os.environ, **env})
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
    assert out.getvalue() == ""
    return code, err.getvalue()


def test_a_data_folder_that_cannot_be_one_is_refused_in_one_line(tmp_path: Path) -> None:
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    logs, lock, running = (tmp_path / name for name in ("logs", "lock", "running"))
    for folder, inside in ((lock, "run.lock"), (running, "run.json")):
        (folder / inside).mkdir(parents=True)
    logs.mkdir()
    (logs / "logs").touch()
    folders = (file, file / "below", loop, tmp_path / ("x" * 300), logs, lock, running, Path("/proc/nope"))
    for data in folders:
        code, said = refused(data)
        assert code == 2
        assert said.startswith(f"local: the data folder {data} cannot be used: ") and said.count("\n") == 1, said
        assert said.endswith("; choose another with --data or LOCAL_DATA\n")


def test_a_disk_that_is_nearly_full_is_refused(tmp_path: Path) -> None:
    run_file.prepare(tmp_path, needed=1)
    with pytest.raises(DataUnusable, match=r"[0-9,]+ bytes free on its disk, and 1,125,899,906,842,624 are needed"):
        run_file.prepare(tmp_path, needed=2**50)


def test_an_empty_name_or_one_that_is_not_utf_8_is_no_data_folder(tmp_path: Path) -> None:
    code, said = refused("")
    assert (code, said.splitlines()[-1].partition("error: ")[2]) == (
        2,
        "argument --data: it is empty; name a folder or file",
    )
    code, said = refused(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert code == 2 and said.endswith("is not UTF-8; choose another name\n")


@pytest.mark.parametrize("content", [b"not a database" * 1000, None], ids=["text", "folder"])
def test_data_that_are_no_database_end_the_run_and_say_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bigquery.duckdb"
    file.mkdir() if content is None else file.write_bytes(content)
    with run_stack.begun(tmp_path) as started:
        assert started.process.wait(60) == 1
        said = started.output().splitlines()
    assert f"local: bigquery ended: exit code 1; the end of {tmp_path}/logs/bigquery.log:" in said
    assert said[-1].startswith(f"  bigquery emulator: {file} cannot be opened: "), said
    assert said[-1].endswith("; move it away to start with an empty one"), said
