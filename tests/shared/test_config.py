from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from services.shared import config
from services.shared.config import ConfigError, setting


@dataclass(frozen=True)
class Example:
    project: str = setting(help="the project")
    port: int = setting(8080, "the port", minimum=0, maximum=65535)
    linger_seconds: float = setting(0.01, "seconds to wait", minimum=0, maximum=1)
    truncate: bool = setting(False, "cut addresses")
    paths: tuple[str, ...] = setting((), "more paths")
    schema: Path = setting(Path("schema.yaml"), "the schema file")
    level: str = setting("info", "log level", choices=("debug", "info"))
    workers: int = setting(2, "how many", minimum=1)
    hits_topic: str = setting("hits", "the topic")
    dataset: str = setting("data", "the dataset")
    spool: str = setting("", "the folder, or none")


def test_values_are_read_by_type_and_defaults_fill_the_rest() -> None:
    environ = {
        "PIPE_PROJECT": "p",
        "PIPE_LINGER_SECONDS": "0.5",
        "PIPE_TRUNCATE": "Yes",
        "PIPE_PATHS": "/a, /b,",
        "HOME": "/x",
    }
    assert config.read(Example, environ) == Example("p", 8080, 0.5, True, ("/a", "/b"), Path("schema.yaml"), "info")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, ["PIPE_PROJECT is not set; set it to the project"]),
        ({"PIPE_PROJECT": "  "}, ["PIPE_PROJECT='  ': it is empty"]),
        ({"PIPE_PROJECT": "p", "PIPE_PORT": "http"}, ["PIPE_PORT='http': use a whole number (the port)"]),
        ({"PIPE_PROJECT": "p", "PIPE_PORT": "70000"}, ["PIPE_PORT='70000': use a number from 0 to 65535"]),
        ({"PIPE_PROJECT": "p", "PIPE_LINGER_SECONDS": "nan"}, ["PIPE_LINGER_SECONDS='nan': use a number from 0 to 1"]),
        ({"PIPE_PROJECT": "p", "PIPE_TRUNCATE": "maybe"}, ["PIPE_TRUNCATE='maybe': use true or false"]),
        ({"PIPE_PROJECT": "p", "PIPE_LEVEL": "loud"}, ["PIPE_LEVEL='loud': use one of debug, info"]),
        (
            {"PIPE_PROJECT": "p", "PIPE_LINGR": "1"},
            ["PIPE_LINGR is not a setting", "did you mean PIPE_LINGER_SECONDS?"],
        ),
        ({"PIPE_PROJECT": "p", "PIPE_PORT": "9" * 5000}, [f"PIPE_PORT='{'9' * 80}…': use a whole number (the port)"]),
        ({"PIPE_PROJECT": "p", "PIPE_PORT": ""}, ["PIPE_PORT='': it is empty; unset it for the default (the port)"]),
        ({"PIPE_PROJECT": "p", "PIPE_SCHEMA": ""}, ["PIPE_SCHEMA='': it is empty; unset it for the default"]),
        ({"PIPE_PROJECT": "p", "PIPE_WORKERS": "0"}, ["PIPE_WORKERS='0': use a number from 1 up (how many)"]),
        ({"PIPE_PROJECT": "p\udcff"}, [r"PIPE_PROJECT='p\udcff': it is not UTF-8 (the project)"]),
        ({"PIPE_PROJECT": "a b"}, ["PIPE_PROJECT='a b': use a project's id, such as my-project (the project)"]),
        (
            {"PIPE_PROJECT": "p", "PIPE_HITS_TOPIC": "hits topic"},
            ["PIPE_HITS_TOPIC='hits topic': use 3 to 255 letters"],
        ),
        ({"PIPE_PROJECT": "p", "PIPE_HITS_TOPIC": "google"}, ["PIPE_HITS_TOPIC='google': use 3 to 255 letters"]),
        ({"PIPE_PROJECT": "p", "PIPE_DATASET": "my-data"}, ["PIPE_DATASET='my-data': use letters, digits and under"]),
        ({"PIPE_PROJECT": "p", "PIPE_DATASET": "é"}, ["PIPE_DATASET='é': use letters, digits and underscores"]),
        ({"PIPE_PROJECT": "p", "PIPE_PATHS": "/a,b"}, ["PIPE_PATHS='/a,b': use paths that start with /"]),
        ({"PIPE_PROJECT": "p", "PIPE_PATHS": "/a\nb"}, [r"PIPE_PATHS='/a\nb': use paths that start with /"]),
        ({"PIPE_PORT": "x", "PIPE_LEVEL": "y"}, ["PIPE_PROJECT is not set", "PIPE_PORT='x'", "PIPE_LEVEL='y'"]),
    ],
)
def test_every_wrong_setting_is_named_with_its_value_and_the_fix(environ: dict[str, str], says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read(Example, environ)
    for part in says:
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == max(1, len([part for part in says if part.startswith("PIPE_")]))


def test_a_setting_that_may_be_empty_is_taken_empty() -> None:
    assert config.read(Example, {"PIPE_PROJECT": "p", "PIPE_SPOOL": "", "PIPE_PATHS": " "}) == Example("p")
