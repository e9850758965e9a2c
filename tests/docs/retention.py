"""The generated part of docs/privacy.md: every place that can hold a person's data, and for how long, from the code."""

from __future__ import annotations

from services.collector.config import Config as Collector
from services.provision import subscriptions
from services.provision.config import Config as Provisioner
from services.shared import resource_names
from services.shared.schema import CONFLICTS, LOG_SUFFIX, REJECTS, TALLIES
from services.shared.tally_table import EXPIRE_DAYS
from tests.docs.markers import table

TIME_TRAVEL_DAYS = FAIL_SAFE_DAYS = 7  # BigQuery's, in a dataset that sets no `max_time_travel_hours`: ours sets none
CACHED_HOURS = 24  # https://cloud.google.com/bigquery/docs/cached-results
LOG_DAYS = 30  # of the bucket _Default: https://cloud.google.com/logging/quotas


def parts() -> dict[str, str]:
    """The generated part by its name."""
    return {"retention": table(("where", "what of a person", "for how long", "set by"), rows())}


def rows() -> list[tuple[str, str, str, str]]:
    linger, spool = Collector.linger_seconds, Collector.spool_max_bytes  # their defaults
    days, dead = subscriptions.RETENTION_DAYS, subscriptions.DEAD_RETENTION_DAYS
    return [
        (
            "collector's memory",
            "events, after the edge has cut and removed",
            f"until Pub/Sub or the spool has them; {linger * 1000:g} ms when all is well",
            "`PIPE_LINGER_SECONDS`",
        ),
        (
            "collector's spool (disk)",
            "packs of events that Pub/Sub did not confirm",
            f"until it does; at most {spool // 2**20:,} MiB a pod. A damaged file stays until someone removes it",
            "`PIPE_SPOOL`, `PIPE_SPOOL_MAX_BYTES`",
        ),
        _subscription(resource_names.HITS_SUBSCRIPTION, "events", days),
        _subscription(resource_names.ROWS_SUBSCRIPTION, "rows", days),
        _subscription(resource_names.DEAD_SUBSCRIPTION, "packs that could not be used, or log entries", dead),
        (
            f"BigQuery, `NAME{LOG_SUFFIX}`",
            "rows; the view `NAME` and the views of tenants' datasets show them and hold nothing",
            "`expire_days` of the tenant, else of the table, else of the file; forever if none says it",
            "`expire_days` in the schema file",
        ),
        (
            f"BigQuery, `{REJECTS}{LOG_SUFFIX}`",
            "events that could not be rows, whole",
            "as any other table",
            "`expire_days` in the schema file",
        ),
        (
            f"BigQuery, `{CONFLICTS}{LOG_SUFFIX}`",
            "rows that share a key with another event",
            "as long as their table's, by compaction; at most as long as the table kept longest",
            "`expire_days` in the schema file",
        ),
        (
            "BigQuery, `erasures_log`",
            "salted hashes of who was forgotten, no id",
            "forever: it is the receipt",
            "nothing",
        ),
        (
            f"BigQuery, `{TALLIES}{LOG_SUFFIX}`",
            "how many hits there were by hour, protocol and tenant; no event",
            f"{EXPIRE_DAYS} days",
            "nothing",
        ),
        (
            "BigQuery's time travel",
            "rows that were deleted or have expired",
            f"{TIME_TRAVEL_DAYS} days",
            "the dataset's `max_time_travel_hours` (48 to 168)",
        ),
        (
            "BigQuery's fail-safe",
            "the same; only Google's support can restore them",
            f"{FAIL_SAFE_DAYS} days more",
            "nothing",
        ),
        (
            "results of queries",
            "what a query returned, for whoever ran it",
            f"about {CACHED_HOURS} hours",
            "BigQuery; tables you save them to are yours",
        ),
        (
            "archive in Cloud Storage",
            "events, whole, if `PIPE_ARCHIVE` names a bucket; what is not written there yet waits in Pub/Sub, as above",
            f"{Provisioner.archive_days} days, by the lifecycle rule that `provision` prints and you set; soft delete "
            "keeps objects for longer",
            "`PIPE_ARCHIVE_DAYS`, the bucket",
        ),
        (
            "logs, metrics and traces of the services",
            "nothing: no value of a request is in them",
            "does not matter",
            "",
        ),
        (
            "load balancer's log, which the chart keeps off",
            "addresses, URLs, user agents, as Google sees them before the collector",
            f"{LOG_DAYS} days in the log bucket `_Default`",
            "Cloud Logging; exclude them there",
        ),
        (
            "files of `ops` (`access`, `dead`, `load`)",
            "what was asked for",
            "until you delete them",
            "whoever ran it",
        ),
    ]


def _subscription(name: str, what: str, days: int) -> tuple[str, str, str, str]:
    held = f"until acknowledged, at most {days} days; topics keep nothing"
    return f"Pub/Sub, `{name}`", what, held, "the provisioner"
