"""Which hits and rows are about somebody: read by the processor's own readers, compared exactly."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ops import people, person_sql
from services.ops.person_match import Matcher
from services.processor import query
from services.processor.parse import Parser
from services.processor.parse import Reject as Refusal
from services.shared import hash_keys, hit, identity, schema_file
from services.shared.config import ConfigError
from services.shared.guard import Guard
from services.shared.hit import Hit
from services.shared.privacy import Privacy
from tests.ops import schemas

NOW = 1_772_366_400_000_000
SCHEMA = schema_file.parse(schemas.text("visitor_id: {type: STRING, from: hit.visitor_id}"))


def people_options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    people.add_options(parser)
    return parser.parse_args(arguments)


def meant(*arguments: str) -> people.People:
    return people.read(people_options(*arguments), SCHEMA)


def matcher(*arguments: str) -> Matcher:
    return Matcher(meant(*arguments), SCHEMA)


def sent(query: str = "", *, via: str = "", body: Any = None, text: str = "", envelope: Any = None, **more: Any) -> Hit:
    raw = [
        hit.NO_BODY if value is None else msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())
        for value in (body, envelope)
    ]
    return Hit(identity.uuid7(NOW), NOW, "POST", "/x", query, via=via, text=text, body=raw[0], envelope=raw[1], **more)


ADA, SEVEN = ("--user-id", "ada-lovelace"), ("--user-id", "7")
HELD = {
    "query": (ADA, sent("user_id=ada-lovelace&n=x")),
    "query, each byte encoded": (ADA, sent("user_id=" + "".join(f"%{ord(char):02x}" for char in "ada-lovelace"))),
    "query, repeated": (ADA, sent("user_id=bob&user_id=ada-lovelace")),
    "body": (ADA, sent(body={"user_id": "ada-lovelace"})),
    "body, escaped": (ADA, sent(body=b'{"user_id":"\\u0061da-lovelace"}')),
    "body, a number": (("--user-id", "7"), sent(body={"user_id": 7})),
    "form": (ADA, sent(text="a=1&user_id=ada-lovelace")),
    "segment": (ADA, sent(via="segment.track", body={"userId": "ada-lovelace", "event": "x"})),
    "segment's traits by a path": (
        ("--where", "param.context.traits.email=a@b.example"),
        sent(via="segment.track", body={"userId": "x", "event": "y", "context": {"traits": {"email": "a@b.example"}}}),
    ),
    "another parameter": (("--where", "param.email=a@b.example"), sent("user_id=x&email=a%40b.example")),
    "the visitor's cookie": (("--visitor-id", "v-1"), sent("n=1", visitor_id="v-1")),
    "a body cut off": (
        ADA,
        sent(via="segment.track", text='{"userId":"ada-lovelace","ev', envelope={"uncut": "x", "bytes": 9}),
    ),
    "a body cut off, escaped": (ADA, sent(body=json.dumps('{"user_id": "\\u0061da-lovelace", ').encode())),
    "a body cut off, a short id beside its name": (SEVEN, sent(body=json.dumps('{"user_id": 7, "x').encode())),
    "the query of a body that is no object": (ADA, sent("user_id=ada-lovelace", body=[1])),
}  # fmt: skip
OTHERS = {
    "another id": (ADA, sent("user_id=bob")),
    "an id that begins so": (ADA, sent("user_id=ada-lovelace-2")),
    "another case": (ADA, sent("user_id=Ada-Lovelace")),
    "a look-alike": (ADA, sent("user_id=%D0%B0da-lovelace")),
    "another Unicode form": (("--user-id", "é"), sent("user_id=e%CC%81")),
    "the id as another parameter": (ADA, sent("user_id=bob&friend=ada-lovelace")),
    "wildcards": (("--user-id", "%"), sent("user_id=ada-lovelace")),
    "one character": (("--user-id", "___"), sent("user_id=ada")),
    "another visitor": (("--visitor-id", "v-1"), sent("visitor_id=v-1", visitor_id="v-2")),
    "a body cut off, an address that has it": (ADA, sent(body=json.dumps('{"mail": "ada-lovelace@b.example').encode())),
    "a body cut off, a short id elsewhere": (SEVEN, sent(body=json.dumps('{"n": 7, "user_id": 8').encode())),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_a_hit_that_holds_the_person_is_found_as_a_hit_and_as_a_reject(name: str) -> None:
    options, one = HELD[name]
    assert matcher(*options).hit(one)
    assert matcher(*options).reject(_rejected(one))


@pytest.mark.parametrize("name", OTHERS)
def test_another_persons_hit_is_not(name: str) -> None:
    options, one = OTHERS[name]
    assert not matcher(*options).hit(one)
    assert not matcher(*options).reject(_rejected(one))


def _rejected(one: Hit) -> str:
    """The column `hit` of its reject, as the processor makes it."""
    text = Parser(SCHEMA).reject_row(one, Refusal("missing", "x"), NOW).values[-1]
    assert isinstance(text, str)
    return text


def _worth_reading(one: Hit, found: people.People) -> bool:
    """What the statement that reads hits says of the reject, whose JSON BigQuery writes in its own way."""
    (target,) = [one for one in person_sql.targets(SCHEMA, found, {"rejects": ["hit"]}) if one.hits]
    (pattern,) = person_sql.worth_reading(target, found).parameters
    text = json.dumps(json.loads(_rejected(one)), ensure_ascii=False, separators=(",", ":"))
    return bool(re.search(pattern.value, text)) or '"via":' in text


@pytest.mark.parametrize("name", HELD)
def test_a_reject_that_holds_the_person_is_read(name: str) -> None:
    options, one = HELD[name]
    assert _worth_reading(one, meant(*options))


@given(id=st.from_regex(r"[a-zA-Z0-9@. é-]*[a-z0-9][a-zA-Z0-9@. é-]*", fullmatch=True), data=st.data())
def test_a_reject_is_read_however_the_id_is_encoded(id: str, data: st.DataObject) -> None:
    letters = [f"%{byte:02X}" if data.draw(st.booleans()) or byte > 127 else chr(byte) for byte in id.encode()]
    escaped = "".join(f"\\u{ord(char):04x}" if data.draw(st.booleans()) else char for char in id)
    found = meant("--user-id=" + id)
    for one in (
        sent("user_id=" + "".join(letters).replace(" ", "+")),
        sent(body=f'{{"user_id":"{escaped}"}}'.encode()),
        sent(body=json.dumps(f'{{"user_id":"{escaped}", ').encode()),
    ):
        assert _worth_reading(one, found)
    assert not _worth_reading(sent("n=1"), meant("--user-id", "nobody here"))


ROWS: dict[str, tuple[dict[str, Any], bool]] = {
    "its column": ({"user_id": "ada-lovelace"}, True),
    "among the other parameters, as text": ({"user_id": "bob", "params": '{"user_id":["bob","ada-lovelace"]}'}, True),
    "in no place of an id": ({"user_id": "bob", "params": '{"friend":"ada-lovelace"}'}, False),
    "in parameters that were cut": ({"params": '{"user_id":"ada-lovelace","x":"'}, True),
    "nothing": ({"user_id": None, "params": None}, False),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("table", ["events", "gone", None])
def test_a_row_of_the_loader(table: str | None, name: str) -> None:
    row, wanted = ROWS[name]
    assert matcher(*ADA).row(table, row) is wanted
    assert matcher(*ADA).reject(json.dumps(row)) is wanted


@given(id=st.text(min_size=1), other=st.text(min_size=1))
def test_an_id_is_found_wherever_it_is_encoded_and_no_other_is(id: str, other: str) -> None:
    try:
        one = matcher("--user-id=" + id)
        places = [sent(f"user_id={quote_plus(value)}") for value in (id, other)]
    except UnicodeEncodeError:
        return
    assert one.hit(places[0])
    assert one.hit(places[1]) is (id == other)
    assert one.hit(sent(body={"user_id": other})) is (id == other)


@given(text=st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    one = matcher(*ADA, "--where", "param.a.b=7")
    assert one.reject(text) in (True, False)
    assert one.text(text) in (True, False)


FILES = {
    "people.txt": ("ada\nbob\r\n\n  eve \n", [("param.user_id", ["ada", "bob", "  eve "])]),
    "people.ndjson": (
        '{"user_id": "a\\nb", "param.email": "x@y.example"}\n{"visitor_id": "v"}\n{"user_id": 7}\n',
        [("param.user_id", ["a\nb", "7"]), ("param.email", ["x@y.example"]), ("hit.visitor_id", ["v"])],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_people(tmp_path: Path, name: str) -> None:
    text, wanted = FILES[name]
    (tmp_path / name).write_bytes(text.encode())
    found = meant("--file", str(tmp_path / name))
    assert {str(source): list(values) for source, values in found.given.items()} == dict(wanted)
    assert found.count == 3


KEYS = {"k1": "11" * 32, "k2": "22" * 32, "k0": "00" * 32}
HASHED = ("--user-id", " Ada ", "--where", "param.traits.email=A@b.example", "--where", "param.plan=Pro")


def key_file(path: Path, *ids: str) -> str:
    path.write_text("".join(f"{id}:{KEYS[id]}\n" for id in ids))
    path.chmod(0o600)
    return str(path)


def test_an_id_that_is_stored_hashed_is_searched_for_by_every_key_and_as_it_is(tmp_path: Path) -> None:
    privacy = Privacy(hash={"user_id": ("trim", "lower"), "email": ()})
    schema = dataclasses.replace(SCHEMA, privacy={"balanced": privacy})
    files = (key_file(tmp_path / "now", "k2", "k1"), key_file(tmp_path / "old", "k0"))
    options = people_options(*HASHED, "--key-file", files[0], "--key-file", files[1])
    found = people.read(options, schema)
    keys = hash_keys.read(files[0])
    assert keys is not None and keys.current.id == "k2"
    stored = {str(source): values for source, values in found.stored.items()}
    assert stored["param.plan"] == ("Pro",)
    assert [one.partition(":")[0] for one in stored["param.user_id"]] == [" Ada ", "k2", "k1", "k0"]
    # The guard itself hashes what the collector receives.
    (sent_id,) = [
        value for name, value in query.pairs(Guard(privacy, keys).query("user_id=+ADA+", False)) if name == "user_id"
    ]
    assert sent_id in stored["param.user_id"]
    assert Matcher(found, schema).hit(sent(f"user_id={sent_id}"))
    assert keys.current.hash("A@b.example") in stored["param.traits.email"]
    with pytest.raises(ConfigError, match=r"param.user_id, param.traits.email: the schema file stores it hashed"):
        people.read(people_options(*HASHED), schema)
    (tmp_path / "now").write_text("k1:short")
    with pytest.raises(ConfigError, match=r"--key-file .*now: "):
        people.read(options, schema)


def test_a_receipt_holds_no_id_and_knows_who_was_meant() -> None:
    ada, salt = meant(*ADA, "--where", "param.email=a@b.example"), b"0" * 16
    digests = frozenset(ada.digests(salt))
    assert "ada" not in str(digests) and len(digests) == 2
    assert ada.among(salt, digests) and meant(*ADA).among(salt, digests)
    assert not meant("--user-id", "bob").among(salt, digests)
    assert not meant(*ADA, "--user-id", "bob").among(salt, digests)
    assert not ada.among(b"1" * 16, digests)
    assert not meant("--anonymous-id", "ada-lovelace").among(salt, digests)
