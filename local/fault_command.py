"""`fault`: set, list and remove the faults of a running stack's emulators, through their control ports."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from emulators.arguments import HOST
from local import run_file
from local.ports import Ports
from services.shared.fault import words

_TIMEOUT = 10.0  # seconds for one answer


class FaultError(Exception):
    """The control port refused the request or could not be reached."""


def fault(data: Path, emulator: str, given: str | None, *, clear: bool, remove: str | None) -> str:
    """Returns what to print, as JSON lines. Without a fault, `clear` or `remove` it lists the faults that are set.

    Raises `FaultError`, and `run_file.NotRunning` where no stack runs with the folder `data`.
    """
    if sum((given is not None, clear, remove is not None)) > 1:
        raise FaultError("give a fault, --clear or --remove, one of them")
    port = control_port(run_file.read(data).ports, emulator)
    if given is not None:
        return _ask(port, "POST", "/faults", given)
    if clear:
        return _ask(port, "DELETE", "/faults")
    if remove is not None:
        if not remove.isalnum():
            raise FaultError(f"no fault {remove} is set")
        return _ask(port, "DELETE", f"/faults/{remove}")
    return _ask(port, "GET", "/faults")


def control_port(ports: Ports, emulator: str) -> int:
    return {"pubsub": ports.pubsub_control, "bigquery": ports.bigquery_control}[emulator]


def _ask(port: int, method: str, path: str, body: str | None = None) -> str:
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body.encode("utf-8", "surrogatepass") if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FaultError(f"the control port {port} did not answer: {words(error)}; is `make run` running?") from error
    finally:
        connection.close()
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise FaultError(answer["error"])
    return "".join(json.dumps(line) + "\n" for line in answer.get("faults", [answer]))
