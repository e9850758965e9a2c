"""The yardstick: nginx serving its own empty GIF and writing a buffered JSON log, the least a pixel server can do."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from tests import process
from tests.bench import needs

# One process, master and worker in one: its CPU time is all there is.
_CONF = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  log_format hit escape=json '{{"at":$msec,"method":"$request_method","path":"$uri","query":"$args",'
    '"user-agent":"$http_user_agent","referer":"$http_referer","accept-language":"$http_accept_language",'
    '"host":"$http_host","ip":"$remote_addr"}}';
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /pixel.gif {{ empty_gif; access_log {folder}/hits.log hit buffer=64k flush=1s; }}
    location = /answered {{ stub_status; access_log off; }}
  }}
}}
"""


class Nginx:
    """One nginx on the loopback interface, in a folder of its own."""

    def __init__(self) -> None:
        self._program = needs.tool("nginx")

    def __enter__(self) -> Nginx:
        self._temporary = tempfile.TemporaryDirectory(prefix="pixelpipe-nginx-")
        self._folder = Path(self._temporary.name)
        self.port = process.free_port()
        conf = self._folder / "nginx.conf"
        conf.write_text(_CONF.format(folder=self._folder, port=self.port))
        with (self._folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [self._program, "-p", str(self._folder), "-c", str(conf)], stdout=stderr, stderr=stderr
            )
        self.pid = self._process.pid
        try:
            process.wait_for(self._listens, 60, "nginx to listen")
        except AssertionError:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._temporary.cleanup()

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"nginx ended:\n{(self._folder / 'stderr').read_text(errors='replace')}")
        try:
            return self.answered() > 0
        except OSError:
            return False

    def answered(self) -> float:
        """Requests since it started, this one included."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/answered", timeout=30) as reply:
            # Active connections: 1 / server accepts handled requests / 1 1 1 / Reading: ...
            return float(reply.read().decode().splitlines()[2].split()[2])

    def trim(self) -> None:
        """Forget the log: at this speed it would be a gigabyte a minute."""
        os.truncate(self._folder / "hits.log", 0)
