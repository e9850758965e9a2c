from __future__ import annotations

from pathlib import Path

import pytest

from services.shared import key_file


def _file(path: Path, content: bytes, mode: int = 0o440) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_the_keys_are_its_lines(tmp_path: Path) -> None:
    assert key_file.read(_file(tmp_path / "keys", b"one\n\n two \r\n")) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b" \n", 0o400, "holds no key"),
        (b"", 0o400, "holds no key"),
        (b"key", 0o444, "every user may read"),
        (b"x" * 65_537, 0o400, "over 65536 bytes"),
    ],
    ids=["blank", "empty", "world-readable", "large"],
)
def test_a_file_that_is_refused(tmp_path: Path, content: bytes, mode: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        key_file.read(_file(tmp_path / "keys", content, mode))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        key_file.read(str(tmp_path / "keys"))
