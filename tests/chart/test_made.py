"""What is made of something else is as `python -m tests.chart.write` makes it today."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from services.shared import config, resource_names, schema_file
from tests.chart import reference, release, settings, write
from tests.chart.release import CHART, GOLDEN, KEPT, SCHEMA_FILE

STALE = "run `python -m tests.chart.write`, and look at what it changed"


@pytest.mark.parametrize("file", ["values.yaml", "values.schema.json", "README.md"])
def test_the_chart_is_fresh(file: str) -> None:
    wanted = {str(path.relative_to(CHART)): text for path, text in write.chart()}
    assert (CHART / file).read_text() == wanted[file], STALE


@pytest.mark.parametrize("case", KEPT)
def test_the_render_is_the_golden_one(case: str) -> None:
    assert (GOLDEN / f"{case}.yaml").read_text() == release.golden(case), STALE


def test_no_golden_render_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(KEPT), STALE


def test_the_charts_schema_file_is_one() -> None:
    """That it is a copy of schema.yaml is for `make check`: editing that file must not fail a test."""
    assert schema_file.load(SCHEMA_FILE).tables


@pytest.mark.parametrize("service", settings.SERVICES)
def test_every_setting_of_the_code_is_a_value_with_the_same_default(service: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    wanted = {settings.key(field): settings.default(field) for field in settings.own(service)}
    assert values[service]["settings"] == wanted
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["definitions"][f"{service}Settings"]["properties"]) == set(wanted)
    readme = (CHART / "README.md").read_text()
    for key in wanted:
        assert f"| `{service}.settings.{key}` |" in readme


@pytest.mark.parametrize("service", settings.SERVICES)
def test_every_setting_arrives_and_is_what_the_service_would_take_by_itself(service: str) -> None:
    """The environment of the default render is read by the service's own Config."""
    found = _environment(release.case("minimal"), service)
    fields = settings.every(service)
    unset = {config.name(field) for field in fields} - set(found)
    assert not unset, f"the chart does not set {unset}"
    cfg = config.read(settings.type_of(service), found)
    decided = {"project", "spool", "schema"}
    for field in fields:
        if field.name not in decided:
            assert getattr(cfg, field.name) == field.default, field.name


def test_values_that_differ_arrive() -> None:
    found = _environment(release.case("own"), "collector")
    cfg: Any = config.read(settings.type_of("collector"), found)
    assert (cfg.paths, cfg.headers) == (("/open.gif", "/o.gif"), ("user-agent",))
    assert (cfg.privacy, cfg.max_pending_bytes, cfg.log_level) == ("strict", 1_073_741_824, "debug")
    assert str(cfg.schema) == "/schema/schema.yaml"
    assert cfg.hits_topic == "shop-hits"


def test_names_in_the_project_are_those_of_the_code() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["pubsub"] == {
        "hitsTopic": resource_names.HITS_TOPIC,
        "hitsSubscription": resource_names.HITS_SUBSCRIPTION,
        "rowsTopic": resource_names.ROWS_TOPIC,
        "rowsSubscription": resource_names.ROWS_SUBSCRIPTION,
        "deadTopic": resource_names.DEAD_TOPIC,
        "deadSubscription": resource_names.DEAD_SUBSCRIPTION,
    }
    assert values["bigquery"] == {"dataset": resource_names.DATASET}


def test_every_value_says_what_it_means() -> None:
    for path, _, meaning in reference.rows((CHART / "values.yaml").read_text()):
        assert meaning, path


def test_every_value_has_its_place_in_the_schema() -> None:
    """A key of values.yaml that the schema does not know would be refused; one it knows alone would be a secret."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    _compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, schema["definitions"], "values")


def _compare(value: Any, schema: dict[str, Any], definitions: dict[str, Any], path: str) -> None:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, dict) and "properties" in schema and "resources" not in path:
        assert schema["additionalProperties"] is False, path
        assert set(schema["properties"]) - {"global"} == set(value), path
        for key, part in value.items():
            _compare(part, schema["properties"][key], definitions, f"{path}.{key}")


def _environment(found: release.Release, service: str) -> dict[str, str]:
    for _, pod in found.pods():
        for container in pod["spec"]["containers"]:
            if container["name"] == service:
                return {key: value for key, value in release.env(container).items() if key.startswith("PIPE_")}
    raise AssertionError(f"no container {service}")
