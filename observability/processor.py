"""The processor's dashboard: messages, what pods use, and what was made of the hits."""

from __future__ import annotations

from observability import resource_panels
from observability.panel import Panel, Query, Row, rate, select, shares

_P = "pixelpipe_processor_"

ROWS: tuple[Row, ...] = (
    (
        "Messages",
        (
            Panel(
                "Messages by kind",
                "wps",
                "Packs from collectors, entries from load-balancer logs.",
                (Query(rate(_P + "messages_total", by="kind"), "{{kind}}"),),
                stacked=True,
            ),
            Panel(
                "Answers",
                "wps",
                "`acked`. `nacked` are redelivered; `dead` went to the dead-letter topic.",
                (
                    Query(rate(_P + "messages_acked_total"), "acked"),
                    Query(rate(_P + "messages_nacked_total"), "nacked"),
                    Query(rate(_P + "messages_newer_total"), "of a newer format"),
                    Query(rate(_P + "messages_dead_total"), "dead"),
                ),
                runbook="PixelpipeDeadLetters",
            ),
            Panel(
                "Time to parse a message",
                "s",
                "Under 0.1 s for a pack of 1,000.",
                shares(_P + "parse_seconds"),
                warn=0.5,
            ),
            Panel(
                "Time to publish rows",
                "s",
                "Under 0.1 s.",
                shares(_P + "publish_seconds"),
                warn=1,
                bad=10,
            ),
        ),
    ),
    resource_panels.row("processor"),
    (
        "Hits",
        (
            Panel(
                "Hits and rows",
                "wps",
                "The same: each hit is one row.",
                (
                    Query(rate(_P + "hits_total"), "hits"),
                    Query(rate(_P + "rows_total", by="table"), "{{table}}"),
                ),
            ),
            Panel(
                "Rejects by reason",
                "wps",
                "Flat and low.",
                (Query(rate(_P + "rejects_total", by="reason"), "{{reason}}"),),
                stacked=True,
                runbook="PixelpipeRejectsJump",
            ),
            Panel(
                "Problems by column",
                "wps",
                "Values that did not fit an optional column, which is NULL then. A changed tracker shows here first.",
                (Query(rate(_P + "problems_total", by="table, column, reason"), "{{table}}.{{column}} {{reason}}"),),
                stacked=True,
            ),
            Panel(
                "Copies and samples",
                "wps",
                "What `copy` and `sample` in the schema file make of hits. Copies that do not fit: 0.",
                (
                    Query(rate(_P + "copies_total"), "rows that are copies"),
                    Query(rate(_P + "copies_misfit_total", by="table"), "copies that do not fit {{table}}"),
                    Query(rate(_P + "sampled_out_total", by="table"), "left out of {{table}}"),
                ),
            ),
            Panel(
                "What became of hits",
                "wps",
                "`published`. `duplicate` had been processed before. `sampled_out` is in no table, by the schema file.",
                (Query(rate(_P + "hits_settled_total", by="kind, outcome"), "{{kind}} {{outcome}}"),),
                stacked=True,
            ),
            Panel(
                "Hits that did not become rows",
                "wps",
                "`dead` and wrong counts: 0. `ignored` are log entries of errors and of other methods.",
                (
                    Query(rate(_P + "dead_hits_total", by="reason"), "dead: {{reason}}"),
                    Query(rate(_P + "miscounted_total"), "packs with a wrong count"),
                    Query(rate(_P + "log_entries_ignored_total", by="reason"), "ignored: {{reason}}"),
                ),
                runbook="PixelpipeDeadLetters",
            ),
            Panel(
                "Delivered again",
                "wps",
                "Near 0, except after an outage or a rollout.",
                (
                    Query(rate(_P + "messages_redelivered_total"), "redelivered"),
                    Query(rate(_P + "messages_duplicate_total"), "dropped: rows are published"),
                ),
            ),
            Panel(
                "New files of places",
                "short",
                "`taken` where PIPE_GEO_DATABASE is replaced. `refused` 0: the file before stays in use.",
                (
                    Query(
                        f"sum by (outcome) (increase({select(_P + 'geo_databases_total')}[1h]))",
                        "{{outcome}}",
                    ),
                ),
            ),
            Panel(
                "New lookup files",
                "short",
                "`taken` where a lookup's file is replaced. `refused` 0: the file before stays in use.",
                (
                    Query(
                        f"sum by (lookup, outcome) (increase({select(_P + 'lookup_files_total')}[1h]))",
                        "{{lookup}} {{outcome}}",
                    ),
                ),
            ),
            Panel(
                "Age of lookup files",
                "s",
                "Since the file in use was changed, of the pod with the oldest. As often as you replace it.",
                (
                    Query(
                        f"time() - min by (lookup) ({select(_P + 'lookup_modified_timestamp_seconds')})",
                        "{{lookup}}",
                    ),
                ),
            ),
            Panel(
                "Bytes",
                "Bps",
                "Rows take more than the packs they came in.",
                (
                    Query(rate(_P + "message_bytes_total"), "received"),
                    Query(rate(_P + "row_bytes_total"), "published"),
                ),
            ),
            Panel(
                "Leases per message",
                "short",
                "1, at receipt. More where messages are held for over 10 s.",
                (Query(f"{rate(_P + 'leases_total')} / ({rate(_P + 'messages_total')} > 0)", "leases"),),
            ),
        ),
    ),
)
