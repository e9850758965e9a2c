"""The page reads hits by the files that the services read them by."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from local import sights
from local.restart import Restarts
from local.watched import Watched
from services.shared import identity, schema_file
from services.shared.hit import Hit
from tests.provision import schemas

LOOKUPS = "lookups:\n  plans: {file: %s, key: code, by: param.plan}\n"


@pytest.mark.parametrize(("mounted", "name"), [(True, "Gold"), (False, None)])
def test_a_story_joins_the_lookups_whose_files_are_here(tmp_path: Path, mounted: bool, name: str | None) -> None:
    file = tmp_path / "plans.csv"
    if mounted:
        file.write_text("code,name\ng,Gold\n")
    text = LOOKUPS % file + schemas.text("plan: {type: STRING, from: lookup.plans.name}")
    here = Watched("p", "web", "", "", ready=True, collector="http://127.0.0.1:1", admin={}, page_port=1)
    unused: Any = None
    found = sights.make(lambda: here, schema_file.parse(text), unused, Restarts(None), unused, {}, tap=False)
    now = time.time_ns() // 1000
    story = found.reading.of_hit(Hit(identity.uuid7(now), now, "GET", "/i", "plan=g"), now)
    assert story["steps"][-1]["row"].get("plan") == name
