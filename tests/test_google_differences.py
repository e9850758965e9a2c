"""The list of differences names tests that exist, so that a renamed test does not lose its reason."""

from __future__ import annotations

import re

from tests.google_differences import DIFFERENCES
from tests.process import ROOT


def test_every_listed_test_exists() -> None:
    for name in (name for difference in DIFFERENCES for name in difference.tests):
        path, _, test = name.partition("::")
        function = test.partition("[")[0]
        assert re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(), re.MULTILINE), name
