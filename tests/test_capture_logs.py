"""What is logged is heard by every test, whatever another test has configured."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs


def test_a_logger_used_under_an_older_configuration_is_heard() -> None:
    log = structlog.get_logger()
    for _ in range(2):
        structlog.configure(processors=[structlog.processors.JSONRenderer()], cache_logger_on_first_use=True)
        log.info("used")
    with capture_logs() as lines:
        log.info("heard")
    structlog.reset_defaults()
    assert [line["event"] for line in lines] == ["heard"]
