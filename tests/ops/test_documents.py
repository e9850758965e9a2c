"""What docs/ has people type on Google Cloud: its SQL runs, its release renders, its values and images are there."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import pytest
import yaml

from services.shared import resource_names
from tests.chart import release
from tests.ops.conftest import Pipeline
from tests.process import ROOT
from tests.schemas import SCHEMA_FILE

PART = "".join((ROOT / "docs" / name).read_text() for name in ("gke.md", "operating.md", "looker.md"))
SQL = re.findall(r"^```sql\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)
SHELL = "".join(re.findall(r"^ *```sh\n(.*?)^ *```$", PART, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
DAY = "2026-03-01"


def event(number: int, time: str, tenant: str, user: str | None, **values: Any) -> dict[str, Any]:
    common = {"day": DAY, "event_id": str(number), "received_at": f"{DAY}T{time}Z", "tenant": tenant, "user_id": user}
    return {**common, **values}


def extended() -> str:
    """The tests' schema file with the visitors of the default one, and the column that the README adds by example."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    columns = yaml.safe_load(example)["tables"]["events"]["columns"]
    lines = "".join(f"      {name}: {json.dumps(column)}\n" for name, column in columns.items())
    lines += "      anonymous_id: {type: STRING, from: param.anonymous_id}\n"
    schema = SCHEMA_FILE.read_text().replace("      params:", lines + "      params:", 1)
    return schema.replace("{type: STRING, mode: REQUIRED, from: param.user_id", "{type: STRING, from: param.user_id", 1)


@pytest.fixture
def shop(bare: Pipeline) -> Pipeline:
    """The tables of the default schema file and the README's example with a day in them, and the views over them."""
    bare.provision(extended())
    events = [
        event(1, "10:00:00", "north", "ada", type="view"),
        event(2, "10:29:59", "north", "ada", type="order", order_id="o1", params={"total": "12.50"}),
        event(3, "11:00:00", "north", "ada", type="view"),  # half an hour and a second later
        event(4, "10:00:00", "north", "bob", type="order", order_id="o2", total="7.5"),
        event(5, "10:00:00", "north", "bob", type="order", order_id="o2", params={"total": "lots"}),
        event(8, "10:00:00", "north", None, type="view", anonymous_id="visitor-1"),
        event(9, "10:00:00", "north", None, type="view", anonymous_id="visitor-2"),
        event(6, "23:59:00", "south", "ada", type="view"),
        {
            **event(7, "00:01:00", "south", "ada", type="view"),
            "day": "2026-03-02",
            "received_at": "2026-03-02T00:01:00Z",
        },
    ]
    bare.load("events", [*events, events[1]])  # delivered twice
    for statement in SQL:
        bare.rows(statement)
    return bare


def test_daily_actives(shop: Pipeline) -> None:
    found = shop.rows("SELECT tenant, users, events FROM pixelpipe.daily_actives ORDER BY day, tenant")
    assert [tuple(row.values()) for row in found] == [("north", 4, 7), ("south", 1, 1), ("south", 1, 1)]


def test_orders(shop: Pipeline) -> None:
    found = shop.rows("SELECT tenant, orders, buyers, total FROM pixelpipe.orders")
    assert [tuple(row.values()) for row in found] == [("north", 2, 2, 20)]


def test_sessions(shop: Pipeline) -> None:
    found = shop.rows(
        "SELECT tenant, visitor, session, seconds, events FROM pixelpipe.sessions ORDER BY day, tenant, visitor, began"
    )
    assert [tuple(row.values()) for row in found] == [
        ("north", "ada", 1, 1799, 2),
        ("north", "ada", 2, 0, 1),
        ("north", "bob", 1, 0, 2),
        ("north", "visitor-1", 1, 0, 1),
        ("north", "visitor-2", 1, 0, 1),
        ("south", "ada", 1, 0, 1),
        ("south", "ada", 1, 0, 1),  # the next day's
    ]


def test_the_first_query(shop: Pipeline) -> None:
    (query,) = re.findall(r"^ *bq query --use_legacy_sql=false '(.*)'$", SHELL, re.MULTILINE)
    today = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    now = {"day": today.date().isoformat(), "received_at": today.isoformat()}
    shop.load("events", [{**event(10, "", "north", "ada", type="view"), **now}])
    assert [row["user_id"] for row in shop.rows(query)] == ["ada"]


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
    assert "networking.gke.io/certmap: pixelpipe" in found["Gateway pixelpipe-collector"]
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
