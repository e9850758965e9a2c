"""The loader's dashboard: packs and rows, what pods use, and appends."""

from __future__ import annotations

from observability import resource_panels
from observability.panel import Panel, Query, Row, rate, select, shares

_L = "pixelpipe_loader_"

APPEND_LATENCY = Panel(
    "Append latency",
    "s",
    "Under half a second.",
    shares(_L + "append_seconds"),
    warn=2,
    bad=10,
    runbook="PixelpipeAppendErrors",
)

ROWS: tuple[Row, ...] = (
    (
        "Rows",
        (
            Panel(
                "Rows by table",
                "wps",
                "As many as hits.",
                (Query(rate(_L + "rows_loaded_total", by="table"), "{{table}}"),),
                stacked=True,
                runbook="PixelpipeRowsNotArriving",
            ),
            Panel(
                "Rows that BigQuery would not take",
                "wps",
                "0. `bigquery` and `too_large` are in rejects; `dead` are in no table.",
                (
                    Query(rate(_L + "rows_rejected_total", by="reason"), "{{reason}}"),
                    Query(rate(_L + "rows_dead_total"), "dead"),
                ),
                runbook="PixelpipeDeadLetters",
            ),
            APPEND_LATENCY,
            Panel(
                "From receipt to row",
                "s",
                "p95 about a second.",
                (
                    *shares(_L + "end_to_end_seconds"),
                    Query(f"time() - max ({select(_L + 'newest_received_timestamp_seconds')} > 0)", "newest"),
                ),
                bad=10,
                runbook="PixelpipeFreshnessBurn",
            ),
        ),
    ),
    resource_panels.row(
        "loader",
        Panel(
            "Bytes held",
            "bytes",
            "Low. At `maxBytes` Pub/Sub is asked to wait.",
            (Query(f"sum by (pod) ({select(_L + 'held_bytes')})", "{{pod}}"),),
        ),
    ),
    (
        "Packs",
        (
            Panel(
                "Packs received",
                "wps",
                "`redelivered` near 0, except after an outage or a rollout.",
                (
                    Query(rate(_L + "messages_received_total"), "received"),
                    Query(rate(_L + "messages_redelivered_total"), "redelivered"),
                ),
            ),
            Panel(
                "Answers",
                "wps",
                "`acked`. `nacked` come again; `dead` went to the dead-letter topic.",
                (
                    Query(rate(_L + "messages_acked_total"), "acked"),
                    Query(rate(_L + "messages_nacked_total"), "nacked"),
                    Query(rate(_L + "messages_newer_total"), "of a newer format"),
                    Query(rate(_L + "messages_dead_total"), "dead"),
                ),
                runbook="PixelpipeDeadLetters",
            ),
            Panel(
                "Not written again",
                "wps",
                "Near 0: redelivered rows that are in BigQuery already.",
                (
                    Query(rate(_L + "messages_duplicate_total"), "packs"),
                    Query(rate(_L + "rows_duplicate_total"), "rows"),
                ),
            ),
            Panel(
                "Rows held",
                "short",
                "What is gathered or being written: about a fifth of a second of rows.",
                (Query(f"sum by (pod) ({select(_L + 'held_rows')})", "{{pod}}"),),
            ),
            Panel(
                "Bytes received",
                "Bps",
                "What Pub/Sub counts: a quarter of what is held and appended.",
                (Query(rate(_L + "message_bytes_total"), "received"),),
                width=12,
            ),
            Panel(
                "Leases per pack",
                "short",
                "1, at receipt. More where packs are held for over 10 s, as while BigQuery is away.",
                (
                    Query(
                        f"{rate(_L + 'leases_total')} / ({rate(_L + 'messages_received_total')} > 0)",
                        "leases",
                    ),
                ),
                width=12,
            ),
        ),
    ),
    (
        "Appends",
        (
            Panel("Rows per append", "short", "The more the cheaper.", shares(_L + "append_rows")),
            Panel(
                "Append retries by code",
                "wps",
                "0. Each is tried again.",
                (Query(rate(_L + "append_retries_total", by="code") + " > 0 or vector(0)", "{{code}}"),),
                stacked=True,
                runbook="PixelpipeAppendErrors",
            ),
            Panel(
                "Tables suspended",
                "short",
                "0. 1: packs of that table wait, or go back to Pub/Sub, while others load.",
                (Query(f"max by (table) ({select(_L + 'table_suspended')})", "{{table}}"),),
                bad=1,
                runbook="PixelpipeTableSuspended",
            ),
            Panel(
                "Columns refused",
                "short",
                "None. Rows of the table wait until BigQuery takes the column.",
                (
                    Query(
                        f"max by (table, column) ({select(_L + 'column_refused')}) or vector(0)", "{{table}} {{column}}"
                    ),
                ),
                bad=1,
                runbook="PixelpipeColumnRefused",
            ),
            Panel(
                "Bytes appended",
                "Bps",
                "Below the quota of the project.",
                (Query(rate(_L + "appended_bytes_total"), "appended"),),
                runbook="PixelpipeNearQuota",
            ),
        ),
    ),
)
