"""Traces in one process, sent to a receiver that is there or not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from services.shared import tracing
from services.shared.config import ConfigError
from tests import otlp
from tests.otlp import Receiver
from tests.process import ROOT, free_port

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{TRACE[::-1]}-{SPAN}-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp.receiving() as found:
        yield found


@pytest.fixture
def start(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Turns tracing on with the variables given; it is off after the test."""

    def go(**environ: str) -> None:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **environ}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        tracing.start("collector", "a-project")

    yield go
    tracing.stop()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}-00",  # not sampled
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-٠١",
    ],
)
def test_what_is_no_sampled_traceparent_is_passed_over(header: str) -> None:
    assert tracing.parse(header) is None


@pytest.mark.parametrize("header", [SAMPLED, f"00-{TRACE}-{SPAN}-03", f"01-{TRACE}-{SPAN}-01-what-is-to-come"])
def test_a_sampled_traceparent_is_read(header: str) -> None:
    found = tracing.parse(header)
    assert found is not None
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318': use the URL",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "use the URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:99999"}, "use the URL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://c"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT='ftp://c'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL='grpc': only http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL='http/json'"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER='jaeger_remote': use one of always_on, "),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG='1.5'"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, "from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_way_out(
    environ: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", **environ}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        tracing.start("collector", "p")
    assert says in str(refused.value)
    assert not tracing.on


@pytest.mark.parametrize("service", ["collector", "processor", "loader"])
def test_a_service_does_not_start_with_a_wrong_setting(service: str) -> None:
    environ = {"PATH": "/usr/bin", "PIPE_PROJECT": "p", "OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere"}
    ended = _run(environ, "-m", f"services.{service}")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{service}: cannot start:\nOTEL_EXPORTER_OTLP_ENDPOINT='nowhere': use the URL")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environs",  # those that turn tracing off come first: what is imported stays
    [
        [
            ({}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ],
        [({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True)],
    ],
)
def test_the_sdk_and_the_exporter_are_imported_only_where_tracing_is_on(
    environs: list[tuple[dict[str, str], bool]],
) -> None:
    program = (
        "import sys, json, os\n"
        "import services.collector.service, services.processor.service, services.loader.service\n"
        "from services.shared import tracing\n"
        "for environ in json.loads(sys.argv[1]):\n"
        "    os.environ.update(environ)\n"
        "    tracing.start('collector', 'p')\n"
        "    there = [name in sys.modules for name in ('opentelemetry.sdk.trace.export', 'opentelemetry.exporter')]\n"
        "    print(json.dumps([tracing.on, *there]))\n"
        "    for name in environ:\n"
        "        del os.environ[name]\n"
    )
    ended = _run({"PATH": "/usr/bin"}, "-c", program, json.dumps([environ for environ, _ in environs]))
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert found == [[loaded] * 3 for _, loaded in environs], ended.stderr


def _run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**path, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_off_nothing_is_kept_and_nothing_carried() -> None:
    with tracing.span("collect", [], root=True) as span, tracing.step("part") as part:
        assert span is part is tracing.NONE
        assert tracing.carry() == {}
    assert list(tracing.carried({"traceparent": SAMPLED})) == []


def test_a_step_is_the_child_of_the_first_before_it_and_linked_to_the_others(start, receiver: Receiver) -> None:
    start()
    before = [tracing.parse(f"00-{TRACE}-{number:016x}-01") for number in range(1, 50)]
    with tracing.span("append", before, age=5) as span:  # type: ignore[arg-type]
        span.note(rows=7, table="events")
    found = receiver.wait(TRACE, "append")["append"]
    assert found.parent == f"{1:016x}"
    assert found.links == tuple(f"{number:016x}" for number in range(2, 2 + tracing.MAX_LINKS))
    assert found.attributes == {"pixelpipe.rows": "7", "pixelpipe.table": "events"}
    assert found.service == "pixelpipe-collector"
    assert 5 <= found.seconds < 60


def test_a_part_of_a_step_and_the_next_service_go_on_with_its_trace(start, receiver: Receiver) -> None:
    start(OTEL_SERVICE_NAME="mine")
    with tracing.span("process", tracing.carried({"traceparent": SAMPLED})), tracing.step("publish"):
        attributes = tracing.carry()
    tracing.begin("load", tracing.carried(attributes)).end()
    found = receiver.wait(TRACE, "process", "publish", "load")
    assert [found[name].parent for name in ("process", "publish", "load")] == [
        SPAN,
        found["process"].id,
        found["publish"].id,
    ]
    assert found["load"].service == "mine"


def test_what_ends_a_step_is_said_of_it(start, receiver: Receiver) -> None:
    start()
    with pytest.raises(RuntimeError), tracing.span("process", tracing.carried({"traceparent": SAMPLED})):
        raise RuntimeError("a bug")
    assert receiver.wait(TRACE, "process")["process"].failed == "RuntimeError('a bug')"


@pytest.mark.parametrize(
    ("sampler", "argument", "root", "child"),
    [
        ("", "", True, True),
        ("always_off", "", False, False),
        ("parentbased_always_off", "", False, True),
        ("parentbased_traceidratio", "0", False, True),
        ("traceidratio", "0", False, False),
        ("traceidratio", "", True, True),
    ],
)
def test_the_sampler_decides(start, sampler: str, argument: str, root: bool, child: bool) -> None:
    start(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    for before, sampled in (([], root), (tracing.carried({"traceparent": SAMPLED}), child)):
        with tracing.span("collect", before, root=True) as span:
            assert (span is not tracing.NONE) is sampled
            assert bool(tracing.carry()) is sampled


def test_packs_that_came_in_one_trace_name_it_once_and_not_more_than_a_span_can(start) -> None:
    start()
    spans = [tracing.begin("load", tracing.carried({"traceparent": SAMPLED})) for _ in range(40)]
    assert len(tracing.together([tracing.NONE, spans[0], spans[0], spans[1]])) == 2
    assert len(tracing.together(spans)) == 1 + tracing.MAX_LINKS


def test_log_lines_name_the_trace_of_the_step_they_are_said_in(receiver: Receiver) -> None:
    program = f"""
import asyncio
from services.shared import log, tracing

async def step(parent):
    with tracing.span("process", tracing.carried({{"traceparent": parent}})):
        await asyncio.sleep(0)
        log.get("test").warning("in a step", parent=parent)

async def main():
    await asyncio.gather(step("{SAMPLED}"), step("{OTHER}"), step("none"))
    log.get("test").warning("after")

log.start("processor")
tracing._STOP_SECONDS = 60  # on a busy machine two may not be enough to send what waits
tracing.start("processor", "a-project")
asyncio.run(main())
tracing.stop()
"""
    ended = _run({"PATH": "/usr/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}, "-c", program)
    lines = {line.get("parent", ""): line for line in map(json.loads, ended.stdout.splitlines())}
    assert len(lines) == 4, ended.stderr
    for parent in (SAMPLED, OTHER):
        trace = parent.split("-")[1]
        assert lines[parent]["logging.googleapis.com/trace"] == f"projects/a-project/traces/{trace}"
        assert lines[parent]["logging.googleapis.com/trace_sampled"] is True
        assert lines[parent]["logging.googleapis.com/spanId"] == receiver.wait(trace, "process")["process"].id
    for parent in ("none", ""):
        assert not [name for name in lines[parent] if name.startswith("logging.")]


@pytest.mark.slow
def test_a_receiver_that_is_away_is_said_once_and_so_is_its_return() -> None:
    program = """
import time
from services.shared import log, tracing

log.start("collector")
tracing.start("collector", "p")
while True:
    tracing.begin("collect", [], root=True).end()
    time.sleep(0.02)
"""
    port = free_port()
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}/",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            away = json.loads(process.stdout.readline())
            with otlp.receiving(port) as receiver:
                back = json.loads(process.stdout.readline())
                assert receiver.spans
        finally:
            process.kill()
        rest = process.stdout.read()
    assert (away["severity"], away["message"]) == ("WARNING", "traces cannot be sent and are dropped")
    assert (back["severity"], back["message"]) == ("INFO", "traces are sent again")
    assert away["receiver"] == back["receiver"] == f"127.0.0.1:{port}"
    assert away["component"] == "tracing" and "refused" in away["error"]
    assert not [line for line in rest.splitlines() if b"cannot be sent" not in line]


def test_a_receiver_that_never_answers_does_not_keep_a_process_from_ending() -> None:
    program = """
from services.shared import tracing

tracing.start("collector", "p")
tracing.begin("collect", [], root=True).end()
tracing.stop()
print("ended")
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        patient = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
        ended = _run({"PATH": "/usr/bin", **patient}, "-c", program)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr


def test_the_end_sends_what_waits(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_STOP_SECONDS", 60)  # on a busy machine two may not be enough
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    tracing.start("loader", "p")
    tracing.begin("load", tracing.carried({"traceparent": SAMPLED})).end()
    tracing.stop()
    assert [span.name for span in receiver.of(TRACE)] == ["load"]
    assert not tracing.on
