"""Scripts that pages load: our own, and those of a mounted folder."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from services.collector import scripts
from services.collector.config import Config
from services.collector.endpoints import read
from services.shared.config import ConfigError
from tests.collector.conftest import Running, Start
from tests.collector.wire import exchange, get

OWN = scripts.OWN.read_bytes()


def test_our_own_is_small_and_has_no_dependency() -> None:
    assert len(gzip.compress(OWN, 9, mtime=0)) <= 2_048
    assert b"import" not in OWN
    assert b"eval" not in OWN
    assert b"cookie" not in OWN


async def test_our_own_is_typed_cached_and_for_any_page(collector: Running) -> None:
    async with collector.http.get(collector.url + "/p.js", headers={"Origin": "https://shop.example"}) as reply:
        assert (reply.status, await reply.read()) == (200, OWN)
        assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "public, max-age=3600"
        assert reply.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert reply.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert reply.headers["Vary"] == "Origin"
        assert reply.headers["ETag"].startswith('"')
    assert collector.registry.get_sample_value(
        "pixelpipe_collector_http_responses_total", {"kind": "script", "status": "200"}
    )


async def test_a_cache_that_saw_no_origin_knows_that_it_matters(collector: Running) -> None:
    replies = await exchange(collector.port, get(b"/p.js"), get(b"/p.js", b"Connection: close"))
    assert [reply.headers["vary"] for reply in replies] == ["Origin", "Origin"]
    assert "access-control-allow-origin" not in replies[0].headers


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*", '"a,b",W/{} , "c"'])
async def test_what_the_client_has_is_not_sent_again(collector: Running, form: str) -> None:
    (first,) = await exchange(collector.port, get(b"/p.js", b"Connection: close"))
    asked = get(b"/p.js", f"If-None-Match: {form.format(first.headers['etag'])}".encode(), b"Connection: close")
    (reply,) = await exchange(collector.port, asked)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["etag"] == first.headers["etag"]
    assert reply.headers["cache-control"] == first.headers["cache-control"]
    assert "content-length" not in reply.headers


@pytest.mark.parametrize("value", ['"other"', "", '"', "x" * 5_000, '"' * 5_000, "W/"])
async def test_what_the_client_has_is_something_else(collector: Running, value: str) -> None:
    async with collector.http.get(collector.url + "/p.js", headers={"If-None-Match": value}) as reply:
        assert reply.status == 200


async def test_head_says_the_same_without_the_body(collector: Running) -> None:
    async with collector.http.head(collector.url + "/p.js") as reply:
        assert (reply.status, reply.headers["Content-Length"], await reply.read()) == (200, str(len(OWN)), b"")
    async with collector.http.post(collector.url + "/p.js", data=b"{}") as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_scripts_of_a_folder_are_served_under_their_names_and_others(start: Start, tmp_path: Path) -> None:
    (tmp_path / "matomo.js").write_bytes(b"var a = 1;")
    (tmp_path / "Sp-3.24_x.MJS").write_bytes(b"export {};")
    (tmp_path / "data.bin").write_bytes(b"\0")
    collector = await start(
        scripts=str(tmp_path), paths=("/x/a.js=script.matomo.js", "/x/p=script", "/p.js=script.data.bin")
    )
    for path, content, media in [
        ("/matomo.js", b"var a = 1;", "text/javascript; charset=utf-8"),
        ("/x/a.js", b"var a = 1;", "text/javascript; charset=utf-8"),
        ("/Sp-3.24_x.MJS", b"export {};", "text/javascript; charset=utf-8"),
        ("/data.bin", b"\0", "application/octet-stream"),
        ("/p.js", b"\0", "application/octet-stream"),
        ("/x/p", OWN, "text/javascript; charset=utf-8"),
    ]:
        async with collector.http.get(collector.url + path) as reply:
            assert (reply.status, await reply.read(), reply.headers["Content-Type"]) == (200, content, media)
    for path in ("/../matomo.js", "/x/matomo.js", "/matomo.js/x", "/%2e%2e/matomo.js", "/matomo", "/MATOMO.JS", "/.x"):
        (reply_,) = await exchange(collector.port, get(path.encode(), b"Connection: close"))
        assert reply_.status == 404, path


def test_the_files_of_a_config_map_are_links_within_their_folder(tmp_path: Path) -> None:
    version = tmp_path / "..2026_01_01"
    version.mkdir()
    (version / "a.js").write_bytes(b"1")
    (tmp_path / "..data").symlink_to(version)
    (tmp_path / "a.js").symlink_to(Path("..data") / "a.js")
    assert [script.name for script in scripts.read(tmp_path)] == ["a.js"]


def _refused(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read(Config(project="p", scripts=str(folder)))
    return str(error.value)


def test_a_folder_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    assert "PIPE_SCRIPTS=" in _refused(tmp_path)
    assert "the folder holds no file; is it mounted?" in _refused(tmp_path)
    assert "the folder cannot be read: No such file or directory" in _refused(tmp_path / "none")
    assert "the folder cannot be read: Not a directory" in _refused(Path(__file__))


@pytest.mark.parametrize("name", ["a b.js", "a%2f.js", "ü.js", "a\n.js", "a{b}.js", "a?b", "a#b", "x" * 101])
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    assert f"{name[:100]!r} is not a plain file name; use letters, digits and _.~-" in _refused(tmp_path)


def test_what_is_not_a_file_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"1")
    for make in (
        lambda: (folder / "a.js").symlink_to(tmp_path / "secret"),
        lambda: (folder / "a.js").symlink_to(folder / "nowhere"),
        lambda: (folder / "a.js").mkdir(),
        lambda: os.mkfifo(folder / "a.js"),
    ):
        make()
        assert "'a.js' is not a file of this folder; remove it" in _refused(folder)
        (folder / "a.js").rmdir() if (folder / "a.js").is_dir() else (folder / "a.js").unlink()


def test_too_many_and_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_bytes(b" " * (scripts.MAX_BYTES + 1))
    assert "'a.js' is over 2097152 bytes" in _refused(tmp_path)
    (tmp_path / "a.js").write_bytes(b" " * scripts.MAX_BYTES)
    for number in range(scripts.MAX_FILES):
        assert len(list(scripts.read(tmp_path))) == number + 1
        (tmp_path / f"{number}.js").write_bytes(b"1")
    assert "the folder holds 51 files; at most 50 are served" in _refused(tmp_path)


@pytest.mark.parametrize("name", ["events", "p.js", "robots.txt", "i"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    assert f"/{name} is already " in _refused(tmp_path)
    assert f"so it cannot be script.{name}; rename it" in _refused(tmp_path)


def test_a_path_of_a_script_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'/a=script.b.js' needs its file in the folder PIPE_SCRIPTS"):
        read(Config(project="p", paths=("/a=script.b.js",)))
