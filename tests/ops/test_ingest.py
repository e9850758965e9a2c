"""Logs of other servers, loaded once, end to end."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.ops.conftest import Pipeline

DAY = (datetime.now(UTC) - timedelta(days=40)).date()  # long before the days that an event id may name by itself
STAMP = DAY.strftime("%d/%b/%Y")
LINES = [
    f'203.0.113.7 - - [{STAMP}:11:00:{n % 60:02} +0000] "GET /i?user_id=u{n}&type=view HTTP/1.1" 200 43 "-" "curl"\n'
    for n in range(2_500)
]
OTHERS = [
    f'203.0.113.7 - - [{STAMP}:12:00:00 +0000] "GET /about HTTP/1.1" 200 9 "-" "curl"\n',
    f'203.0.113.7 - - [{STAMP}:12:00:00 +0000] "GET /i?user_id=x HTTP/1.1" 503 9 "-" "curl"\n',
    "nonsense\n",
]


def _files(folder: Path) -> tuple[str, str]:
    plain, compressed = folder / "access.log", folder / "access.log.1.gz"
    plain.write_text("".join([*LINES[:1_200], *OTHERS]))
    # They overlap, as logs do that were copied while they were turned over.
    compressed.write_bytes(gzip.compress("".join(LINES[1_000:]).encode()))
    return str(plain), str(compressed)


def test_files_are_counted_once_however_often_they_are_read(pipeline: Pipeline, tmp_path: Path) -> None:
    files = _files(tmp_path)
    plan = pipeline.ops("ingest", "--dry-run", *files).json
    skipped = {"path": 1, "status": 1, "unreadable": 1}
    first, last = f"{DAY}T11:00:00Z", f"{DAY}T11:00:59Z"
    assert plan == {"dry_run": True, "hits": 2_700, "published": 0, "skipped": skipped, "first": first, "last": last}
    with pipeline.services("processor", "loader"):
        for _ in range(2):
            assert pipeline.ops("ingest", *files).json["published"] == 2_700
        pipeline.until(f"SELECT COUNT(*) FROM pixelpipe.events WHERE day = '{DAY}'", 2_500)
    assert pipeline.number("SELECT COUNT(DISTINCT user_id) FROM pixelpipe.events") == 2_500


def test_what_cannot_be_read_is_named_and_the_others_are_read(pipeline: Pipeline, tmp_path: Path) -> None:
    plain, compressed = _files(tmp_path)
    torn = tmp_path / "torn.gz"
    torn.write_bytes(Path(compressed).read_bytes()[:-200])
    done = pipeline.ops("ingest", str(torn), str(tmp_path / "none"), plain, code=1)
    assert "torn.gz: gzip: " in done.err
    assert "none: " in done.err
    assert done.json["published"] >= 1_200


def test_a_file_without_a_line_that_can_be_read_is_a_failure(pipeline: Pipeline, tmp_path: Path) -> None:
    plain, _ = _files(tmp_path)
    wrong, mixed = tmp_path / "wrong.log", tmp_path / "mixed.log"
    wrong.write_text("\n" + "secret words\n" * 3)
    mixed.write_text(f"{LINES[0]}{OTHERS[2]}{LINES[1]}")
    done = pipeline.ops("ingest", "--dry-run", str(wrong), code=1)
    assert done.json["skipped"] == {"unreadable": 3}
    said = f"ingest: {wrong}: nothing was taken in: no line can be read. Line 2 is not of the format combined; "
    assert said + "--format names another (load-balancer, combined, cloudfront)" in done.err
    assert "secret" not in done.err
    done = pipeline.ops("ingest", "--dry-run", str(plain), "--format", "cloudfront", code=1)
    assert "Line 1 is not of the format cloudfront" in done.err
    done = pipeline.ops("ingest", "--dry-run", str(mixed))
    assert "1 of 3 lines cannot be read, the first of them is line 2: it is not of the format combined" in done.err
    assert pipeline.ops("ingest", "--dry-run", str(mixed), str(wrong), code=1).json["hits"] == 2
