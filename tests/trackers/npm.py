"""The npm trackers that package-lock.json pins, installed once a machine, and bundled for a page or for Node."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests import tools

FOLDER = Path(__file__).parent
PAGES, SERVERS = FOLDER / "pages", FOLDER / "servers"
_REQUIRE = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);'
_LOCKED = ("package.json", "package-lock.json", ".npmrc")


def installed() -> Path:
    """The folder that holds `node_modules`, in the user's cache. Without npm the test is skipped, or fails in CI.

    It is made under a lock by the first who asks, and named by what is locked.
    """
    npm = tools.require("npm", "apt-get install nodejs npm")
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in _LOCKED)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelpipe"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"trackers-{digest}"
    with (cache / "trackers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for name in _LOCKED:
                shutil.copy(FOLDER / name, unfinished)
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--fetch-retries=5"],
                cwd=unfinished,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode:
                tools.missing(f"needs what tests/trackers/package-lock.json pins; npm ci: {done.stderr[-2_000:]}")
            unfinished.rename(folder)
    return folder


def bundle(sources: Path, into: Path) -> None:
    """A script NAME.js of each file of PAGES or SERVERS, with all that it imports.

    In a page it defines `tracker`, an object of what the file exports; for Node it is NAME.mjs.
    """
    folder = installed()
    # esbuild is a program in a package of its own; the script that would link it is not run.
    (esbuild,) = (folder / "node_modules" / "@esbuild").glob("*/bin/esbuild")
    how = {
        PAGES: ["--platform=browser", "--format=iife", "--global-name=tracker"],
        # Packages for Node that are not modules ask for others by `require`, which a module does not have.
        SERVERS: ["--platform=node", "--format=esm", "--out-extension:.js=.mjs", f"--banner:js={_REQUIRE}"],
    }[sources]
    done = subprocess.run(
        [esbuild, *sorted(sources.glob("*.js")), "--bundle", *how, f"--outdir={into}", "--log-level=warning"],
        env={**os.environ, "NODE_PATH": str(folder / "node_modules")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
