"""List prices of Google Cloud in US dollars, of us-central1 and the US multi-region, without any discount.

Read on the day below in stored copies of Google's pages, which bear no day themselves: /pubsub/pricing,
/kubernetes-engine/pricing (the cluster), /load-balancing/pricing. The other tables are not in those copies: pods,
metrics, the Storage Write API, storage and internet traffic are as others quote them. Look again before you rely on a
figure.
/load-balancing/pricing also bills custom headers; how much is in no copy, so they are left out.
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

# The external load balancer, global or regional: up to five forwarding rules, and the bytes of both directions.
RULES_HOUR = 0.025
BALANCER_GIB = 0.008

# Managed Service for Prometheus, each time a pod is asked for its metrics: as others quote it. values-gke.yaml has the
# interval.
METRICS_MILLION = 0.06
SCRAPE_SECONDS = 60

# Replies to the internet, the first TiB of a month; what is above it costs less. Global balancers are of the Premium
# Tier; a regional one (gke-l7-regional-external-managed) is of the Standard Tier. So many GiB a month are free, in the
# Standard Tier of each region.
INTERNET_GIB = {"premium": 0.12, "standard": 0.085}
INTERNET_FREE_GIB = {"premium": 1, "standard": 200}

# What services/ops/designs.py compares with. Cloud Run as others quote it; a BigQuery subscription and a UDF (a single
# message transform) as they stand in a copy of Pub/Sub's page; insertAll bills rows of at least so many bytes.
PUBSUB_BIGQUERY_TIB = 50.0
PUBSUB_UDF_TIB = 40.0
INSERT_GIB = 0.05
INSERT_ROW = 1_000
RUN_MILLION_REQUESTS = 0.40
RUN_CPU_SECOND = 0.000024
RUN_GIB_SECOND = 0.0000025
RUN_FREE_REQUESTS, RUN_FREE_CPU_SECONDS, RUN_FREE_GIB_SECONDS = 2e6, 360_000, 180_000
# The same billed by the instance, running or idle, with no price for requests.
RUN_INSTANCE_CPU_SECOND = 0.000018
RUN_INSTANCE_GIB_SECOND = 0.000002
RUN_INSTANCE_FREE_CPU_SECONDS, RUN_INSTANCE_FREE_GIB_SECONDS = 240_000, 450_000
# Dataflow's streaming workers: no copy here has these.
DATAFLOW_CPU_HOUR = 0.069
DATAFLOW_GIB_HOUR = 0.003557
