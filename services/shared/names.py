"""The default names of everything the services share in a project; each is a setting where a service uses it."""

from __future__ import annotations

HITS_TOPIC = "pixelpipe-hits"
HITS_SUBSCRIPTION = "pixelpipe-hits-processor"
ROWS_TOPIC = "pixelpipe-rows"
ROWS_SUBSCRIPTION = "pixelpipe-rows-loader"
DEAD_TOPIC = "pixelpipe-dead"
DEAD_SUBSCRIPTION = "pixelpipe-dead-keeper"
DATASET = "pixelpipe"
