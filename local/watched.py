"""What the page looks at: a local stack by its run.json, or, read-only, a cluster by the addresses it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulators.arguments import HOST
from local import run_file, stack
from local.run_file import Running
from services.shared import reconciliation

SERVICES = ("collector", "processor", "loader")
EMULATORS = ("pubsub", "bigquery")
PARTS = (*SERVICES, *EMULATORS)


@dataclass(frozen=True)
class Watched:
    """One moment's view; `children` are those of run.json by name, nothing in a cluster.

    `admin` holds the admin URL of each service, `control` that of each emulator, `collector` the public base URL.
    """

    project: str
    dataset: str
    schema: str
    started: str
    ready: bool
    collector: str
    admin: Mapping[str, str]
    page_port: int
    read_only: bool = False
    control: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    data: Path | None = None  # the stack's folder

    @property
    def query(self) -> str:
        """The command that asks BigQuery."""
        return "" if self.data is None else stack.sample_command(self.data, self.dataset)

    @property
    def any_sql(self) -> str | None:
        """The same of any statement, reading or not."""
        return None if self.data is None else stack.query_command(self.data, "…")

    @property
    def spool(self) -> str | None:
        """The collector's folder."""
        return None if self.data is None else str(self.data / run_file.SPOOL)

    def ops(self, arguments: str) -> str:
        """An operator's command."""
        if self.data is None:
            return f"pixelpipe {arguments} --project {self.project}"
        return stack.ops_command(self.data, arguments)

    @property
    def pixel(self) -> str:
        return f"{self.collector}/pixel.gif?user_id=ada&type=view"

    @property
    def page(self) -> str:
        return f"http://{HOST}:{self.page_port}"

    def log_of(self, part: str) -> str | None:
        return self.children[part]["log"] if part in self.children else None


def of_stack(running: Running) -> Watched:
    ports = running.ports
    return Watched(
        project=running.project,
        dataset=running.dataset,
        schema=running.schema,
        started=running.started,
        ready=running.ready,
        collector=f"http://{HOST}:{ports.collector}",
        admin=stack.admin_urls(ports),
        page_port=ports.page,
        control={name: f"http://{HOST}:{getattr(ports, f'{name}_control')}" for name in EMULATORS},
        children={child["name"]: child for child in running.children},
        data=Path(running.data),
    )


# Loaders first, so that no hit is seen arriving before it left.
ORDER = reconciliation.SERVICES
