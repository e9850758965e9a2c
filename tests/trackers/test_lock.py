"""What npm installs is pinned, and comes from whichever registry npm is set up to ask."""

from __future__ import annotations

import json

from tests.trackers import npm


def test_each_package_is_pinned_by_its_content_and_names_no_address() -> None:
    lock = json.loads((npm.FOLDER / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert "://" not in (npm.FOLDER / "package-lock.json").read_text()


def test_the_lock_has_the_versions_that_are_asked_for() -> None:
    asked = json.loads((npm.FOLDER / "package.json").read_text())["dependencies"]
    packages = json.loads((npm.FOLDER / "package-lock.json").read_text())["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked
