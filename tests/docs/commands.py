"""The commands that `python -m services.ops --help` offers."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache

from services.ops.__main__ import main


@cache
def of_ops() -> frozenset[str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(["--help"])
    found = re.findall(r"^  ([a-z]+) ", said.getvalue(), re.MULTILINE)
    assert found, said.getvalue()
    return frozenset(found)
