"""What every service's pods use of what they have: the panels that are the same on each service's dashboard."""

from __future__ import annotations

from observability.panel import CLOUD, SCOPE, Panel, Query, Row


def row(service: str, *more: Panel) -> Row:
    # process_* have no service in their names; build_info says which pods are whose.
    mine = f'and on (pod, instance) pixelpipe_build_info{{{SCOPE},service="{service}"}}'
    return "What pods use", (*_requested(service, mine), *_process(service, mine), *more)


def _requested(service: str, mine: str) -> tuple[Panel, ...]:
    """CPU and memory, by themselves and against what was requested."""
    container = f'namespace=~"$namespace",container="{service}"'
    return (
        Panel(
            "CPU",
            "short",
            "Well below `requested`: cores of each pod.",
            (Query(f"rate(process_cpu_seconds_total{{{SCOPE}}}[$__rate_interval]) {mine}", "{{pod}}"),),
            width=6,
        ),
        Panel(
            "CPU against request, throttling",
            "percentunit",
            f"Below 1, where the autoscaler keeps it; `throttled` is 0. {CLOUD}",
            (
                Query(
                    f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{container}}}[$__rate_interval])) / "
                    "sum by (pod) "
                    f'(kube_pod_container_resource_requests{{{container},resource="cpu"}})',
                    "{{pod}}",
                ),
                Query(
                    f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{{{container}}}"
                    "[$__rate_interval])) / (sum by (pod) "
                    f"(rate(container_cpu_cfs_periods_total{{{container}}}[$__rate_interval])) > 0)",
                    "{{pod}} throttled",
                ),
            ),
            warn=1,
        ),
        Panel(
            "Memory",
            "bytes",
            "Flat. What grows for days is a leak.",
            (Query(f"process_resident_memory_bytes{{{SCOPE}}} {mine}", "{{pod}}"),),
        ),
        Panel(
            "Memory against limit",
            "percentunit",
            f"Below 0.8: at 1 the pod is killed. {CLOUD}",
            (
                Query(
                    f"sum by (pod) (container_memory_working_set_bytes{{{container}}}) / sum by (pod) "
                    f'(kube_pod_container_resource_limits{{{container},resource="memory"}})',
                    "{{pod}}",
                ),
            ),
            warn=0.8,
            bad=0.95,
        ),
    )


def _process(service: str, mine: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Event loop lag, p99",
            "s",
            "A few milliseconds. More: the pod has too little CPU, or something blocks.",
            (
                Query(
                    "histogram_quantile(0.99, sum by (pod, le) "
                    f"(rate(pixelpipe_event_loop_lag_seconds_bucket{{{SCOPE}}}[$__rate_interval]) {mine})) >= 0",
                    "{{pod}}",
                ),
            ),
            warn=0.1,
            bad=0.5,
        ),
        Panel(
            "Open files",
            "short",
            "Follows the connections, far below the limit.",
            (Query(f"process_open_fds{{{SCOPE}}} {mine}", "{{pod}}"),),
        ),
        Panel(
            "Versions",
            "short",
            "One version, except during a rollout.",
            (
                Query(
                    f'count by (version) (pixelpipe_build_info{{{SCOPE},service="{service}"}})',
                    "{{version}}",
                ),
            ),
        ),
    )
