"""The collector's dashboard: requests, what pods use, packs on their way to Pub/Sub, the spool, connections."""

from __future__ import annotations

from observability import resource_panels
from observability.panel import Panel, Query, Row, rate, select, shares

_C = "pixelpipe_collector_"


def _each(metric: str) -> str:
    return f"sum by (pod) ({select(_C + metric)})"


ROWS: tuple[Row, ...] = (
    (
        "Requests",
        (
            Panel(
                "Replies by kind",
                "reqps",
                "Follows the site's visitors.",
                (Query(rate(_C + "http_responses_total", by="kind"), "{{kind}}"),),
                width=8,
                stacked=True,
            ),
            Panel(
                "Replies by status",
                "reqps",
                "200 and 204. 4xx are malformed or unknown; 503 is a hit that was safe nowhere.",
                (Query(rate(_C + "http_responses_total", by="status"), "{{status}}"),),
                width=8,
                stacked=True,
                runbook="PixelpipeAvailabilityBurn",
            ),
            Panel(
                "Publish latency",
                "s",
                "Under 0.1 s. A reply waits for the pack its hit is in.",
                shares(_C + "publish_seconds"),
                width=8,
                warn=0.2,
                bad=0.5,
            ),
            Panel(
                "Hits by method",
                "reqps",
                "GET from pages, POST from scripts and servers.",
                (Query(rate(_C + "hits_total", by="method"), "{{method}}"),),
                width=6,
                stacked=True,
            ),
            Panel(
                "Items of other trackers, and webhooks",
                "reqps",
                "`uncut` bodies become rejects; `dropped` is session replay; `unsigned` calls were answered 401.",
                (
                    Query(rate(_C + "tracker_items_total", by="protocol, outcome"), "{{protocol}} {{outcome}}"),
                    Query(rate(_C + "hook_requests_total", by="hook, outcome"), "hook {{hook}} {{outcome}}"),
                ),
                width=6,
                stacked=True,
            ),
            Panel(
                "What became of hits",
                "reqps",
                "`published`; `spooled` in an outage; `unconfirmed` and `shed` were answered 503.",
                (Query(rate(_C + "hits_settled_total", by="outcome"), "{{outcome}}"),),
                width=6,
                stacked=True,
                runbook="PixelpipeAvailabilityBurn",
            ),
            Panel(
                "Requests that were repaired, or could not be",
                "reqps",
                "Low: raw bytes in links (repaired), not HTTP (malformed), clients gone too early (unfinished).",
                (
                    Query(rate(_C + "repaired_requests_total"), "repaired"),
                    Query(rate(_C + "malformed_requests_total"), "malformed"),
                    Query(rate(_C + "unfinished_requests_total"), "unfinished"),
                ),
                width=6,
            ),
            Panel(
                "Opt-outs",
                "reqps",
                "By signal and what the policy does: Sec-GPC alone comes from one visitor in ten or more.",
                (Query(rate(_C + "opt_outs_total", by="signal, action"), "{{signal}} {{action}}"),),
                width=12,
                stacked=True,
            ),
            Panel(
                "Values removed",
                "cps",
                "0 would be best. Each name is a secret that a page or server sends: have it stop.",
                (Query(rate(_C + "values_removed_total", by="name"), "{{name}}"),),
                width=12,
                stacked=True,
            ),
            Panel(
                "Hits by tenant",
                "cps",
                "Limited, dropped and refused ones are over the tenant's `rate` in the schema file.",
                (Query(rate(_C + "tenant_hits_total", by="tenant, outcome"), "{{tenant}} {{outcome}}"),),
                width=12,
                stacked=True,
            ),
            Panel(
                "Hits of no tenant",
                "cps",
                "Wrong keys, unlisted hosts: admitted ones are rejects `unknown_tenant`, which tell more.",
                (Query(rate(_C + "unknown_tenant_hits_total", by="outcome"), "{{outcome}}"),),
                width=12,
                stacked=True,
            ),
            Panel(
                "Time to reply to a pixel",
                "s",
                "Publish latency and the batching of up to 0.05 s, no more.",
                shares(_C + "http_request_duration_seconds", 'kind="pixel"'),
                width=12,
                warn=0.2,
                bad=0.5,
                runbook="PixelpipeAvailabilityBurn",
            ),
            Panel(
                "Time to reply to posted events",
                "s",
                "As a pixel, and the time the client takes to send its body.",
                shares(_C + "http_request_duration_seconds", 'kind="events"'),
                width=12,
                warn=0.2,
                bad=0.5,
                runbook="PixelpipeAvailabilityBurn",
            ),
        ),
    ),
    resource_panels.row(
        "collector",
        Panel(
            "Bytes that wait for Pub/Sub",
            "bytes",
            "Near 0. At `maxPendingBytes` hits are refused.",
            (Query(_each("pending_bytes"), "{{pod}}"),),
        ),
    ),
    (
        "Packs",
        (
            Panel("Hits in a pack", "short", "Grows with the traffic; more is cheaper.", shares(_C + "pack_hits")),
            Panel(
                "Bytes",
                "Bps",
                "Published is a fifth or less of what came in.",
                (
                    Query(rate(_C + "hit_bytes_total"), "as they came"),
                    Query(rate(_C + "pack_bytes_total"), "published"),
                ),
            ),
            Panel(
                "Packs not confirmed in time",
                "wps",
                "0. Each is spooled and published again later.",
                (Query(rate(_C + "publish_failures_total", by="pod"), "{{pod}}"),),
                runbook="PixelpipeBreakerOpen",
            ),
            Panel(
                "Breaker",
                "short",
                "0. 1: trying whether Pub/Sub answers; 2: it does not.",
                (Query(f"max by (pod) ({select(_C + 'breaker_state')})", "{{pod}}"),),
                warn=1,
                bad=2,
                runbook="PixelpipeBreakerOpen",
            ),
        ),
    ),
    (
        "Spool",
        (
            Panel(
                "Share of the spool that is full",
                "percentunit",
                "0. At 1 hits are answered 503.",
                (
                    Query(
                        f"max by (pod) ({select(_C + 'spool_bytes')} / ({select(_C + 'spool_limit_bytes')} > 0))",
                        "{{pod}}",
                    ),
                ),
                warn=0.25,
                bad=0.5,
                runbook="PixelpipeSpoolFilling",
            ),
            Panel(
                "Packs and hits in the spool",
                "short",
                "0. `found` is what an earlier process had left, as this one found it.",
                (
                    Query(f"sum ({select(_C + 'spool_packs')})", "packs"),
                    Query(f"sum ({select(_C + 'spool_hits')})", "hits"),
                    Query(f"sum ({select(_C + 'spool_found_hits')})", "found"),
                ),
            ),
            Panel(
                "Age of the oldest pack",
                "s",
                "0: nothing is spooled.",
                (
                    Query(
                        f"max by (pod) ((time() - {select(_C + 'spool_oldest_timestamp_seconds')})"
                        f" * ({select(_C + 'spool_oldest_timestamp_seconds')} > bool 0))",
                        "{{pod}}",
                    ),
                ),
                warn=300,
                bad=900,
                runbook="PixelpipeSpoolOld",
            ),
            Panel(
                "Spool emptied, failures",
                "wps",
                "Hits a second after an outage, else 0. `failed` and `set aside` are 0.",
                (
                    Query(rate(_C + "spool_drained_hits_total"), "emptied"),
                    Query(rate(_C + "spool_errors_total"), "failed"),
                    Query(rate(_C + "spool_corrupt_total"), "set aside"),
                ),
                runbook="PixelpipeSpoolBroken",
            ),
        ),
    ),
    (
        "Connections",
        (
            Panel(
                "Connections",
                "short",
                "Below `maxConnections` on each pod.",
                (Query(_each("connections"), "{{pod}}"),),
                width=12,
            ),
            Panel(
                "Closed by us, refused",
                "cps",
                "Near 0. `idle` made room for others; `slow` and `unread` held places; `refused` were answered 503.",
                (
                    Query(rate(_C + "connections_closed_total", by="reason"), "{{reason}}"),
                    Query(rate(_C + "connections_refused_total"), "refused"),
                ),
                width=12,
                runbook="PixelpipeAvailabilityBurn",
            ),
        ),
    ),
)
