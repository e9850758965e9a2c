from __future__ import annotations

import base64
import hmac
from pathlib import Path

import pytest

from services.shared import hash_keys
from services.shared.hash_keys import HashKey, HashKeys

OLD, NEW = bytes(range(32)), bytes(range(100, 116))


def _file(tmp_path: Path, text: str, mode: int = 0o440) -> str:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "written",
    [NEW.hex(), NEW.hex().upper(), base64.b64encode(NEW).decode(), base64.urlsafe_b64encode(NEW).decode().rstrip("=")],
    ids=["hex", "upper", "base64", "base64url"],
)
def test_the_first_line_is_current_and_the_second_previous(tmp_path: Path, written: str) -> None:
    found = hash_keys.read(_file(tmp_path, f"2026-06: {written}\n\n2025-12:{OLD.hex()}\n"))
    assert found == HashKeys(HashKey("2026-06", NEW), HashKey("2025-12", OLD))


def test_one_key_is_enough(tmp_path: Path) -> None:
    assert hash_keys.read(_file(tmp_path, f"a:{OLD.hex()}")) == HashKeys(HashKey("a", OLD))


def test_a_hash_is_an_hmac_with_the_id_of_its_key() -> None:
    assert HashKey("a", OLD).hash("é") == "a:" + hmac.digest(OLD, "é".encode(), "sha256").hex()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no key"),
        (f"{OLD.hex()}", "line 1 is not ID:KEY"),
        (f"a:{OLD.hex()}\n:{NEW.hex()}", "line 2 is not ID:KEY"),
        (f"a b:{OLD.hex()}", "line 1 is not ID:KEY"),
        ("a:", "has 0 bytes, not 16"),
        ("a:" + OLD[:15].hex(), "has 15 bytes, not 16"),
        ("a:correct horse battery staple", "neither hex nor base64"),
        (f"a:{OLD.hex()}\na:{NEW.hex()}", "both keys have the id a"),
        (f"a:{OLD.hex()}\nb:{OLD.hex()}", "both keys are the same"),
        (f"a:{OLD.hex()}\nb:{NEW.hex()}\nc:{NEW.hex()}", "holds 3 keys; keep two"),
    ],
    ids=["empty", "no id", "empty id", "blank in id", "no key", "short", "text", "id twice", "key twice", "three"],
)
def test_a_file_that_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        hash_keys.read(_file(tmp_path, text))
    assert OLD.hex() not in str(refused.value)


def test_a_file_that_every_user_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every user may read"):
        hash_keys.read(_file(tmp_path, f"a:{OLD.hex()}", 0o444))


def test_names_to_hash_need_a_file_and_a_file_is_read_even_without_names(tmp_path: Path) -> None:
    assert hash_keys.check([], "") is None
    with pytest.raises(ValueError, match="`privacy: hash` names email, user_id"):
        hash_keys.check(["email", "user_id"], "")
    assert hash_keys.check([], _file(tmp_path, f"a:{OLD.hex()}")) == HashKeys(HashKey("a", OLD))
