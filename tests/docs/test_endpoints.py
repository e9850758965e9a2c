"""What the documents say about the tracker, scripts, clicks and webhooks is what the chart and the code do."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from services.collector import hook, redirect, routes
from services.collector.config import Config
from services.collector.scripts import Script
from services.shared import config
from tests.chart import release
from tests.docs.tag import integrity
from tests.process import ROOT
from tests.tools import require

DOCS = [
    ROOT / name
    for name in ("docs/tracker.md", "docs/first-party.md", "docs/upgrade.md", "services/collector/README.md")
]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def _blocks(path: Path, kind: str) -> list[str]:
    return [text for language, text in BLOCK.findall(path.read_text()) if language == kind]


VALUES = [text for path in DOCS for text in _blocks(path, "yaml") if text.startswith("collector:")]


@pytest.mark.parametrize("text", VALUES)
def test_values_of_the_chart_mount_what_the_settings_name(text: str) -> None:
    values = release.merged({"project": "my-project"}, yaml.safe_load(text))
    pods = [pod["spec"] for _, pod in release.release(values).pods()]
    ((collector, container),) = [(pod, one) for pod in pods for one in pod["containers"] if one["name"] == "collector"]
    environ = {key: value for key, value in release.env(container).items() if key.startswith("PIPE_")}
    cfg = config.read(Config, environ)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = [file for file in (cfg.scripts, cfg.redirect_key_file) if file]
    files += [hook.parse(entry).key_file for entry in cfg.hooks]
    assert files
    for file in files:
        assert file in mounted or str(Path(file).parent) in mounted
    for volume in collector["volumes"]:
        if volume["name"] == "keys":
            assert volume["secret"]["defaultMode"] == 0o440  # which is what the collector takes
    scripts = [Script(name.removeprefix("script."), b"").route for name in re.findall(r"script\.[\w.]+", text)]
    hooks = [hook.parse(entry).route for entry in cfg.hooks]
    routes.Table(cfg.paths, cfg.protocols, [*scripts, *hooks, redirect.ROUTE])


def test_there_are_such_values_at_all() -> None:
    assert len(VALUES) == 2


def test_the_hash_is_the_one_of_the_script() -> None:
    assert (ROOT / "docs" / "tracker.md").read_text().count(integrity()) == 2


def test_settings_that_are_named_are_there() -> None:
    known = {config.name(field) for field in dataclasses.fields(Config)}
    for path in DOCS[:3]:
        assert set(re.findall(r"PIPE_[A-Z_]+", path.read_text())) <= known, path


def test_paths_that_are_renamed_are_ones_of_the_collector() -> None:
    more = [redirect.ROUTE, hook.parse("stripe").route, *(Script(name, b"").route for name in ("matomo.js", "p-1.js"))]
    seen = 0
    for path in DOCS:
        for entries in re.findall(r"PIPE_PATHS=([^`\s)]+)", path.read_text()):
            routes.Table(entries.split(","), (*routes.PROTOCOLS,), more)
            seen += 1
    assert seen >= 4


def test_the_command_that_signs_an_address_signs_it() -> None:
    require("openssl", "apt-get install openssl")
    (command,) = _blocks(DOCS[0], "sh")
    to, key = "https://shop.example.com/a?b=c&d='e'", "a key"
    environ = {"PATH": "/usr/bin:/bin", "to": to, "key": key}
    made = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert made.stdout.strip() == redirect.sign(key.encode(), to.encode())


def test_what_the_tracker_sends_and_takes_is_documented() -> None:
    script, text = (ROOT / "services" / "collector" / "p.js").read_text(), DOCS[0].read_text()
    attributes = re.search(r"const \{ ([\w, ]+) \} = script.dataset", script)
    assert attributes
    for name in attributes[1].split(", "):
        assert f"`data-{name}=" in text
    calls = re.search(r"const api = \{ ([\w, ]+) \}", script)
    assert calls
    for name in calls[1].split(", "):
        assert f"| `pixelpipe.{name}(" in text
    for name in re.findall(r'known\(\w+, "(\w+)"\)|"[gs]et", "(\w+)"', script):
        assert f"| `pixelpipe.{''.join(name)}` |" in text
    event = re.search(r"const event = \{(.*?)\};", script, re.DOTALL)
    assert event
    for name in re.findall(r"(?:^|, )\s*(\w+)(?=[:,])", event[1]):
        assert f"`{name}`" in text or f"`{name}:" in text, name
