"""What the chart tells an operator's image to run is a command of that image, with options it knows."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable

import pytest

from emulators.bigquery import __main__ as bigquery
from services.ops import option
from tests.chart import release
from tests.chart.release import CASES


@pytest.mark.parametrize("case", CASES)
def test_every_task_is_a_command_with_options_it_knows(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = release.case(case)
    seen = set()
    for _, pod in found.pods():
        for container in pod["spec"]["containers"]:
            match container["command"]:
                case ["python", "-m", "services.ops", name, *options]:
                    command = importlib.import_module(f"services.ops.{name}")
                    for key, value in release.env(container).items():
                        monkeypatch.setenv(key, value)
                    parser = argparse.ArgumentParser()
                    command.add_options(parser)
                    parsed = parser.parse_args(options)
                    seen.add(name)
                    if name == "smoke":
                        service = found.one("Service", "-collector")
                        assert parsed.url == f"http://{service['metadata']['name']}"
                        assert [port["port"] for port in service["spec"]["ports"]] == [80]
                case ["python", "-m", "emulators", "bigquery"]:
                    monkeypatch.setattr(sys, "argv", ["bigquery", *container["args"]])
                    parsed = bigquery.arguments()
                    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                    assert ports == {"rest": parsed.rest_port, "grpc": parsed.grpc_port}
                    assert str(parsed.data.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
                    seen.add("bigquery")
    values = release.values_of(case)
    wanted = {"smoke", "compact", "reconcile", "bigquery"}
    if not values.get("emulators", {}).get("enabled", False):
        wanted.discard("bigquery")
    for job in ("compact", "reconcile"):
        if not values.get(job, {}).get("enabled", True):
            wanted.discard(job)
    assert seen == wanted


@pytest.mark.parametrize(("key", "read"), [("server", option.mail_server), ("to", option.mail_address)])
def test_the_chart_takes_of_a_mail_what_the_command_takes(key: str, read: Callable[[str], str]) -> None:
    schema = json.loads((release.CHART / "values.schema.json").read_text())
    rule = schema["properties"]["reconcile"]["properties"]["mail"]["properties"][key]
    pattern = schema["definitions"]["mailAddress"]["pattern"] if "$ref" in rule else rule["pattern"]
    texts = [
        "",
        "http://a",
        "smtp://a",
        "smtps://a:465",
        "smtps://a:465b",
        "smtps://[::1]",
        "smtps://a:b@c",
        "a@b",
        "@b",
    ]
    texts += [f"{'a' * 64}@b", f"{'a' * 65}@b", f"a@{'b' * 255}", f"a@{'b' * 256}"]
    for char in map(chr, [*range(33, 127), 9, 32, 0xE9, 0x0661]):
        texts += [f"smtps://u{char}r@host", f"smtps://ho{char}st", f"u{char}r@host", f"user@ho{char}st"]
    for text in texts:
        try:
            taken = bool(read(text))
        except argparse.ArgumentTypeError:
            taken = not text  # the chart's value for none
        assert bool(re.search(pattern, text, re.ASCII)) == taken, text
