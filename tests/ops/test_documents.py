"""What docs/ has people type on Google Cloud: its query runs, its release renders, its values and images are there."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import yaml

from services.shared import resource_names
from tests.chart import release
from tests.ops.conftest import Pipeline
from tests.process import ROOT
from tests.schemas import SCHEMA_FILE

PART = "".join((ROOT / "docs" / name).read_text() for name in ("gke.md", "operating.md", "looker.md"))
SHELL = "".join(re.findall(r"^ *```sh\n(.*?)^ *```$", PART, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")


def extended() -> str:
    """The tests' schema file with the visitors of the default one, and the column that the README adds by example."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    columns = yaml.safe_load(example)["tables"]["events"]["columns"]
    lines = "".join(f"      {name}: {json.dumps(column)}\n" for name, column in columns.items())
    lines += "      anonymous_id: {type: STRING, from: param.anonymous_id}\n"
    schema = SCHEMA_FILE.read_text().replace("      params:", lines + "      params:", 1)
    return schema.replace("{type: STRING, mode: REQUIRED, from: param.user_id", "{type: STRING, from: param.user_id", 1)


def test_the_first_query(bare: Pipeline) -> None:
    bare.provision(extended())
    (query,) = re.findall(r"^ *bq query --use_legacy_sql=false '(.*)'$", SHELL, re.MULTILINE)
    today = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    now = {"day": today.date().isoformat(), "received_at": today.isoformat()}
    bare.load("events", [{"event_id": "1", "tenant": "north", "user_id": "ada", "type": "view", **now}])
    assert [row["user_id"] for row in bare.rows(query)] == ["ada"]


def test_the_release_renders() -> None:
    (command,) = re.findall(r"^ *helm install (.*)$", SHELL, re.MULTILINE)
    assert command.startswith("pixelpipe charts/pixelpipe --namespace pixelpipe ")
    layers = [release.load(ROOT / file) for file in re.findall(r"--values (\S+)", command)]
    assert layers
    for name, text in re.findall(r'--set "?([\w.]+)=([^\s"]+)', command):
        value: Any = text.replace("$PROJECT", "my-project").replace("$HOST", "track.example.com")
        if value.startswith("{"):
            value = value.strip("{}").split(",")
        for part in reversed(name.split(".")):
            value = {part: value}
        layers.append(value)
    found = release.documents(release.merged(*layers), namespace="pixelpipe")
    assert "NamedAddress, value: pixelpipe" in found["Gateway pixelpipe-collector"]
    assert 'networking.gke.io/cert-manager-certs: "pixelpipe"' in found["Gateway pixelpipe-collector"]
    assert '"track.example.com"' in found["HTTPRoute pixelpipe-collector"]
    # The images of step 3, and the accounts and the topic of the other steps.
    assert (
        f"image: us-docker.pkg.dev/my-project/pixelpipe/pixelpipe-collector:{_tag()}"
        in found["Deployment pixelpipe-collector"]
    )
    assert {"ServiceAccount pixelpipe-collector", "ServiceAccount pixelpipe-ops", "Pod pixelpipe-smoke"} <= set(found)
    assert f"topics/{resource_names.HITS_TOPIC} " in SHELL


def _tag() -> str:
    (tag,) = set(re.findall(r"pixelpipe-\$service:(\S+)", SHELL))
    return tag


def test_every_value_that_is_set_is_one_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts" / "pixelpipe" / "values.yaml").read_text())
    found = re.findall(r'--set(?:-file)? "?([\w.]+)=', PART)
    assert len(found) >= 7
    for name in found:
        at: Any = values
        for part in name.split("."):
            assert part in at, name
            at = at[part]


def test_an_image_is_built_for_every_part() -> None:
    assert set(re.findall(r"for service in ([\w ]+);", SHELL)) == {"collector processor loader ops"}
