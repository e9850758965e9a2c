"""The one screen: columns from left to right as the data goes, collected, processed, loaded, and the whole."""

from __future__ import annotations

from observability.loader import APPEND_LATENCY
from observability.panel import CLOUD, RULES, Panel, Query, Row, rate, select, shares
from services.shared import resource_names

_WAITING = f'subscription_id=~"{resource_names.HITS_SUBSCRIPTION}|{resource_names.ROWS_SUBSCRIPTION}"'
_REFUSED = rate(
    "pixelpipe_collector_http_responses_total", 'kind=~"pixel|events|tracker|redirect|hook"', 'status=~"5.."'
)
_REPLIES = rate("pixelpipe_collector_http_responses_total", 'kind=~"pixel|events|tracker|redirect|hook"')
_LATE = f"histogram_quantile(0.95, {rate('pixelpipe_loader_end_to_end_seconds_bucket', by='le')}) >= 0"
_HPA = 'namespace=~"$namespace"'


def _hour(name: str, *more: str) -> str:
    return f"sum (increase({select(name, *more)}[1h]))"


def _reported(name: str) -> str:
    """What the last report of each release says: the pod that made it is gone, and the one before may be seen too."""
    last = f"last_over_time({select('pixelpipe_reconciliation_timestamp_seconds')}[2d])"
    return (
        f"last_over_time({select(f'pixelpipe_reconciliation_{name}')}[2d])"
        " and on (cluster, namespace, release, pod, instance)"
        f" topk by (cluster, namespace, release) (1, {last})"
    )


def _stats() -> tuple[Panel, ...]:
    return (
        _stat("Hits", "reqps", "As many as the site has visitors.", rate("pixelpipe_collector_hits_total")),
        _stat(
            "Refused",
            "percentunit",
            "0: a hit answered 5xx is lost unless it is sent again.",
            f"({_REFUSED} or vector(0)) / ({_REPLIES} > 0)",
            0.001,
            0.01,
            "PixelpipeAvailabilityBurn",
        ),
        _stat(
            "Spooled",
            "short",
            "0: no hit waits on a collector's disk.",
            f"sum ({select('pixelpipe_collector_spool_hits')})",
            1,
            100_000,
            "PixelpipeSpoolOld",
        ),
        _stat("Rows", "wps", "As many as hits, copies and samples apart.", rate("pixelpipe_loader_rows_loaded_total")),
        _stat(
            "Receipt to row, p95",
            "s",
            "About a second. Above 10 s rows are late.",
            _LATE,
            5,
            10,
            "PixelpipeFreshnessBurn",
        ),
        _stat(
            "Missing, last hour",
            "short",
            f"Near 0: hits that are nowhere, late or lost. Prometheus guesses a hundredth of the hour's. {RULES}",
            f"max ({select('pixelpipe:ledger_missing:hits1h')})",
            None,
            None,
            "PixelpipeLedgerOff",
        ),
        _stat(
            "Dead packs, last day",
            "short",
            "0: each holds hits that are in no table.",
            f"sum (increase({select('pixelpipe_processor_messages_dead_total')}[1d]))"
            f" + sum (increase({select('pixelpipe_loader_messages_dead_total')}[1d]))",
            1,
            1,
            "PixelpipeDeadLetters",
        ),
        _stat(
            "Dollars a million hits",
            "currencyUSD",
            f"Cents: an estimate from bytes and list prices, by the last hour. {RULES}",
            f"1e6 * {_hour('pixelpipe_estimated_dollars_total')}"
            f" / ({_hour('pixelpipe_collector_hits_settled_total')} > 0)",
        ),
    )


def _stat(
    title: str,
    unit: str,
    good: str,
    expr: str,
    warn: float | None = None,
    bad: float | None = None,
    runbook: str | None = None,
) -> Panel:
    return Panel(title, unit, good, (Query(expr, title),), "stat", 3, 3, warn, bad, runbook)


ROWS: tuple[Row, ...] = (
    ("Now", _stats()),
    (
        "Collected · processed · loaded · the whole",
        (
            Panel(
                "Hits by kind",
                "reqps",
                "Follows the site's visitors; `other` are unknown paths.",
                (Query(rate("pixelpipe_collector_http_responses_total", by="kind"), "{{kind}}"),),
                stacked=True,
                runbook="PixelpipeNoTraffic",
            ),
            Panel(
                "Hits processed",
                "wps",
                "As many as are collected; `duplicate` and `dead` near 0.",
                (Query(rate("pixelpipe_processor_hits_settled_total", by="kind, outcome"), "{{kind}} {{outcome}}"),),
                stacked=True,
            ),
            Panel(
                "Rows by table",
                "wps",
                "As many as hits; few of `rejects`.",
                (Query(rate("pixelpipe_loader_rows_loaded_total", by="table"), "{{table}}"),),
                stacked=True,
                runbook="PixelpipeRowsNotArriving",
            ),
            Panel(
                "From receipt to row, heatmap",
                "s",
                "A dark band near a second. A second band above it is what waited for an outage to end.",
                (
                    Query(
                        "sum by (le) "
                        f"(increase({select('pixelpipe_loader_end_to_end_seconds_bucket')}[$__rate_interval]))",
                        "{{le}}",
                    ),
                ),
                "heatmap",
                runbook="PixelpipeFreshnessBurn",
            ),
            Panel(
                "Replies by status",
                "reqps",
                "200 and 204; 503 are hits that were not safe anywhere.",
                (Query(rate("pixelpipe_collector_http_responses_total", by="status"), "{{status}}"),),
                stacked=True,
                runbook="PixelpipeAvailabilityBurn",
            ),
            Panel(
                "Rejects by reason",
                "wps",
                "Flat and low. A step up is a release of the site, or of the schema file.",
                (
                    Query(rate("pixelpipe_processor_rejects_total", by="reason"), "{{reason}}"),
                    Query(rate("pixelpipe_loader_rows_rejected_total", by="reason"), "loader: {{reason}}"),
                ),
                stacked=True,
                runbook="PixelpipeRejectsJump",
            ),
            APPEND_LATENCY,
            Panel(
                "From receipt to row",
                "s",
                "p95 about a second. `newest` is how old the newest row is: it grows while there is no traffic.",
                (
                    *shares("pixelpipe_loader_end_to_end_seconds"),
                    Query(
                        f"time() - max ({select('pixelpipe_loader_newest_received_timestamp_seconds')} > 0)",
                        "newest",
                    ),
                ),
                bad=10,
                runbook="PixelpipeFreshnessBurn",
            ),
            Panel(
                "Publish latency",
                "s",
                "Under 0.1 s: every reply waits for it. Above `publishTimeoutSeconds` packs are spooled.",
                shares("pixelpipe_collector_publish_seconds"),
                warn=0.2,
                bad=0.5,
                runbook="PixelpipeBreakerOpen",
            ),
            Panel(
                "Waiting packs",
                "short",
                f"Near 0. {CLOUD}",
                (
                    Query(
                        "sum by (subscription_id) "
                        f"(pubsub_googleapis_com:subscription_num_undelivered_messages{{{_WAITING}}})",
                        "{{subscription_id}}",
                    ),
                ),
                runbook="PixelpipeBacklogGrowing",
            ),
            Panel(
                "Rows per append",
                "short",
                "More is cheaper: grows with the traffic.",
                shares("pixelpipe_loader_append_rows"),
            ),
            Panel(
                "Replicas",
                "short",
                f"`current` equals `desired` and is below `max`. {CLOUD}",
                tuple(
                    Query(
                        f"sum by (horizontalpodautoscaler) (kube_horizontalpodautoscaler_{name}{{{_HPA}}})",
                        f"{{{{horizontalpodautoscaler}}}} {legend}",
                    )
                    for name, legend in (
                        ("status_current_replicas", "current"),
                        ("status_desired_replicas", "desired"),
                        ("spec_max_replicas", "max"),
                    )
                ),
                runbook="PixelpipeBacklogGrowing",
            ),
            Panel(
                "Spool",
                "bytes",
                "Empty. Each pod's share of its limit is on the collector's dashboard.",
                (Query(f"sum ({select('pixelpipe_collector_spool_bytes')})", "spooled"),),
                runbook="PixelpipeSpoolFilling",
            ),
            Panel(
                "Oldest waiting pack",
                "s",
                f"Seconds. {CLOUD}",
                (
                    Query(
                        "max by (subscription_id) "
                        f"(pubsub_googleapis_com:subscription_oldest_unacked_message_age{{{_WAITING}}})",
                        "{{subscription_id}}",
                    ),
                ),
                warn=60,
                bad=600,
                runbook="PixelpipeBacklogOld",
            ),
            Panel(
                "Bytes",
                "Bps",
                "Packs of hits a tenth of what came in; rows somewhat more.",
                (
                    Query(rate("pixelpipe_collector_hit_bytes_total"), "hits, as they came"),
                    Query(rate("pixelpipe_collector_pack_bytes_total"), "hits, published"),
                    Query(rate("pixelpipe_processor_row_bytes_total"), "rows, published"),
                    Query(rate("pixelpipe_loader_appended_bytes_total"), "rows, appended"),
                ),
                runbook="PixelpipeNearQuota",
            ),
            Panel(
                "Dollars an hour",
                "currencyUSD",
                f"An estimate from bytes and list prices. {RULES}",
                (
                    Query(
                        f"sum by (item) (increase({select('pixelpipe_estimated_dollars_total')}[1h]))",
                        "{{item}}",
                    ),
                ),
                stacked=True,
            ),
        ),
    ),
    (
        "The ledger, in hits of the last hour",
        (
            Panel(
                "Ledger",
                "short",
                f"`collected` equals `loaded` and `rejected` together; the rest is near 0. Copies are in `loaded`, and "
                f"what samples leave out is in neither. {RULES}",
                (
                    Query(f"sum ({select('pixelpipe:ledger_collected:hits1h')})", "collected"),
                    Query(_hour("pixelpipe_loader_rows_loaded_total", 'table!~"rejects"'), "loaded"),
                    Query(_hour("pixelpipe_loader_rows_loaded_total", 'table=~"rejects"'), "rejected"),
                    Query(f"sum ({select('pixelpipe:ledger_in_flight:hits1h')})", "in flight"),
                    Query(f"sum ({select('pixelpipe:ledger_missing:hits1h')})", "unaccounted"),
                ),
                width=12,
                runbook="PixelpipeLedgerOff",
            ),
            Panel(
                "Missing by hop",
                "short",
                "Near 0. Above: in flight there, or lost there. Below: duplicates, or hits that left after the window. "
                f"{RULES}",
                (Query(f"sum by (hop) ({select('pixelpipe:ledger_hop:hits1h')})", "{{hop}}"),),
                width=12,
                runbook="PixelpipeLedgerOff",
            ),
            Panel(
                "Daily reconciliation",
                "short",
                "Hits of two days, by the last report of `pixelpipe reconcile`: `acknowledged` equals `loaded`, "
                "`rejected` and `sampled_out` together; `dead_lettered` and `in_flight` near 0.",
                (Query(f"sum by (outcome) ({_reported('hits')})", "{{outcome}}"),),
                width=12,
                runbook="PixelpipeCountsDiffer",
            ),
            Panel(
                "Daily reconciliation, missing",
                "short",
                "0: every acknowledged hit is accounted for. A collector that ended without its last tally leaves a "
                "minute's hits uncounted.",
                (
                    Query(f"sum ({_reported('missing_hits')})", "missing hits"),
                    Query(f"sum ({_reported('unfinished_collectors')})", "unfinished collectors"),
                ),
                bad=1,
                runbook="PixelpipeCountsDiffer",
            ),
            Panel(
                "Daily reconciliation, age",
                "s",
                "Under a day. It grows while the daily Job fails, or nobody scrapes it.",
                (
                    Query(
                        "time() - min (max by (cluster, namespace, release) "
                        f"(last_over_time({select('pixelpipe_reconciliation_timestamp_seconds')}[7d])))",
                        "last report",
                    ),
                ),
                bad=2 * 86_400,
                runbook="PixelpipeReconciliationFailed",
            ),
        ),
    ),
)
