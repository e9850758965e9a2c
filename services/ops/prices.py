"""List prices of Google Cloud in US dollars, of us-central1 and the US multi-region, without any discount.

Read on the day below in stored copies of Google's pages, which bear no day themselves: /pubsub/pricing,
/kubernetes-engine/pricing (the cluster), /load-balancing/pricing. The other tables are not in those copies: pods, the
Storage Write API and storage are as others quote them, internet traffic has no source here. Look again before you rely
on a figure.
"""

from __future__ import annotations

from datetime import date

READ = date(2026, 11, 25)

GIB, TIB = 2**30, 2**40
HOURS = 730  # a month

# Pub/Sub: what is published and what is delivered, each request at least so large; the first of it is free.
PUBSUB_TIB = 40.0
PUBSUB_FREE = 10 * GIB
PUBSUB_REQUEST = 1_000

# BigQuery: the Storage Write API, and what a month's rows cost for each month they stay (half of it after 90 days).
WRITE_GIB = 0.025
WRITE_FREE = 2 * TIB
STORAGE_GIB = 0.02
STORAGE_FREE = 10 * GIB

# GKE Autopilot: general-purpose pods by their requests, and the cluster, of which one is free for a billing account.
POD_CPU_HOUR = 0.0445
POD_GIB_HOUR = 0.0049225
POD_GIB_A_CPU = 1.0  # Autopilot raises a smaller request of memory to this
CLUSTER_HOUR = 0.10
CLUSTER_CREDIT = 74.40

# A balanced zonal disk, GKE's default class, for each GiB that is asked for, used or not: as others quote it.
DISK_GIB = 0.10

# The external load balancer: up to five forwarding rules, and the bytes of both directions.
RULES_HOUR = 0.025
BALANCER_GIB = 0.008

# Replies to the internet, Premium Tier, the first TiB of a month; what is above it costs less.
INTERNET_GIB = 0.12
