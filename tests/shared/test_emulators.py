from __future__ import annotations

import socket
import threading

import pytest

from services.shared import emulators
from services.shared.config import ConfigError


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("garbage", "it has no host and port"),
        ("http://127.0.0.1", "it has no host and port"),
        ("127.0.0.1:99999", "Port out of range"),
        ("127.0.0.1:1", "Connection refused"),
        ("http://no-such-host.invalid:9050", ""),
    ],
)
def test_an_emulator_that_cannot_be_reached_is_named_with_its_variable(value: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        emulators.check("X_HOST", environ={"X_HOST": value})
    assert str(caught.value).startswith(f"X_HOST='{value}': no emulator answers there: {why}")


def test_one_that_is_not_named_is_not_asked() -> None:
    emulators.check("X_HOST", environ={})
    emulators.check("X_HOST", environ={"X_HOST": ""})


def test_one_that_comes_late_is_waited_for() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # refuses until it listens
        late = threading.Timer(0.3, server.listen)
        late.start()
        try:
            emulators.check("X_HOST", environ={"X_HOST": f"127.0.0.1:{server.getsockname()[1]}"}, wait=60)
        finally:
            late.join()
