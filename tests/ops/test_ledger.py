"""`python -m services.ops ledger`: what it prints and what it refuses. On a whole stack: tests/local/test_ledger.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from services.ops.__main__ import main
from services.shared import reconciliation
from tests.shared.test_reconciliation import scrapes


@contextmanager
def serving(*texts: str, asked: list[str] | None = None) -> Iterator[list[str]]:
    """Admin ports, one a text; `asked` gets the path of each request."""

    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            number, _, path = self.path.removeprefix("/").partition("/")
            self.send_response(200 if path == "metrics" else 404)
            self.end_headers()
            self.wfile.write(texts[int(number)].encode() if path == "metrics" else b"")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Admin)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(len(texts))]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_row_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("collector", "hits_settled_total", 'outcome="published"', 5)
    with serving(*scrapes(changes, started={"loader": 1_780_009_999}).values()) as urls:
        assert main(["ledger", *urls[:2], urls[2] + "/"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["collected"], row["in_flight"], row["missing"]) == (1015, 5, 5)
    assert row["hops"] == {"spool": 0, "hits": 5, "rows": 0}
    assert "loader has counted only since" in row["notes"][0]


def test_the_same_in_promql(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--promql", "--window", "30m"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["missing"] == reconciliation.missing("30m")
    assert list(said["hops"]) == ["spool", "hits", "rows"]


def test_what_makes_no_ledger_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], free_port: int) -> None:
    with serving(*scrapes().values(), "<html>") as (*urls, html):
        cases = {
            "name the admin URL of every loader": [],
            "there are no metrics of collector": urls[:2],
            f"{urls[0]}/x answers 404; is it an admin port?": [urls[0] + "/x"],
            f"http://127.0.0.1:{free_port} cannot be read": [f"http://127.0.0.1:{free_port}"],
            "nothing cannot be read": ["nothing"],
            "answers '<html>' instead of metrics; is it an admin port?": [html],
        }
        for reason, arguments in cases.items():
            assert main(["ledger", *arguments]) == (1 if arguments else 2)
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert err.startswith("ledger: ") and reason in err
    with pytest.raises(SystemExit, match="2"):
        main(["ledger", "--promql", "--window", "an hour"])
