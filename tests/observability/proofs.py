"""Which fault makes each alert fire in the run on a real Prometheus; `make docs` writes them into the README."""

from __future__ import annotations

from dataclasses import dataclass

SHOP = "shop"


@dataclass(frozen=True)
class Proof:
    fault: str
    stage: str
    release: str = "pixelpipe"


_AWAY = "Publish to the topic of hits fails"
_CLOUD = "made-up series of Cloud Monitoring and kube-state-metrics: no emulator makes them"
PROOFS = {
    "PixelpipeAppendErrors": Proof("AppendRows answers RESOURCE_EXHAUSTED", "bigquery"),
    "PixelpipeAvailabilityBurn": Proof(f"{_AWAY}, and the spool is full: 503", "pubsub"),
    "PixelpipeBacklogGrowing": Proof(_CLOUD, "pubsub"),
    "PixelpipeBacklogOld": Proof(_CLOUD, "pubsub"),
    "PixelpipeBreakerOpen": Proof(_AWAY, "pubsub"),
    "PixelpipeColumnRefused": Proof("a processor whose column was not provisioned", "differs", SHOP),
    "PixelpipeCountsDiffer": Proof("the daily Job reads of hits that never arrived", "job", SHOP),
    "PixelpipeDeadLetters": Proof("a message that is not a pack", "pubsub"),
    "PixelpipeFreshnessBurn": Proof("AppendRows fails for a while; what waited is late", "bigquery"),
    "PixelpipeLedgerOff": Proof("the processor is killed, and someone else acknowledges its packs", "stolen", SHOP),
    "PixelpipeMetricsAbsent": Proof("the only collector is killed", "killed", SHOP),
    "PixelpipeNearQuota": Proof("AppendRows answers RESOURCE_EXHAUSTED", "bigquery"),
    "PixelpipeNewerFormat": Proof("a message of a newer format", "differs", SHOP),
    "PixelpipeNoTraffic": Proof("the load stops", "idle", SHOP),
    "PixelpipePermissionDenied": Proof("AppendRows answers PERMISSION_DENIED", "bigquery"),
    "PixelpipeReconciliationFailed": Proof(
        "no Job runs; for the other release, a made-up series says that it failed", "pubsub"
    ),
    "PixelpipeRejectsJump": Proof("a burst of hits that are not events", "bigquery"),
    "PixelpipeRowsNotArriving": Proof("AppendRows fails", "bigquery"),
    "PixelpipeSchemaDiffers": Proof("a processor that reads another schema file", "differs", SHOP),
    "PixelpipeSpoolBroken": Proof(f"{_AWAY}, and the disk is full", "pubsub"),
    "PixelpipeSpoolFilling": Proof(f"{_AWAY}, and the spool is small", "pubsub"),
    "PixelpipeSpoolOld": Proof(_AWAY, "pubsub"),
    "PixelpipeTableSuspended": Proof("AppendRows to `rejects` alone answers PERMISSION_DENIED", "table", SHOP),
    "PixelpipeValidityBurn": Proof("a burst of hits that are not events", "bigquery"),
}
