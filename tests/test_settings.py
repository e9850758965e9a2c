"""Every setting says what it means, and a name means the same everywhere; tests/docs holds the READMEs to them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.docs.tables import SERVICES, fields


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_says_what_it_means(service: str) -> None:
    for field in fields(service):
        assert re.fullmatch(r"\S.{9,}", field.metadata["help"]), field.name


def test_a_name_means_the_same_type_in_every_service() -> None:
    seen: dict[str, Any] = {}
    for service in SERVICES:
        for field in fields(service):
            assert seen.setdefault(field.name, field.type) == field.type, (service, field.name)
