"""What the doctor says of what it was told: each check is ok, something to do, a note, or not asked. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from services.ops import capacity_model
from services.ops.dead_letter import printable
from services.shared import fault
from services.shared.reconciliation import Reconciliation, Sample

OK, DO, NOTE, NOT_ASKED = "ok", "do", "note", "not asked"
PROVISION = "run `python -m services.provision`"
GRANT = "run what `python -m services.provision iam` prints"

_OLDEST = 300.0  # seconds the oldest message may wait: a rollout, or autoscaling
_REJECTED = 0.05  # of an hour's events
_FEW = 20  # events of an hour, of which a share says nothing
_QUIET = timedelta(minutes=15)
_SKEW = 5.0  # seconds; a Date header is a second exact, and its reply is on its way for a moment
_QUOTA = 0.8
_CERTIFICATE_DAYS = 14  # managed certificates are renewed a month before they expire
_SPOOL = 0.5  # of its limit

# Of which command is which permission on what, beside what provisioning needs.
NEEDS = (
    ("hits topic", "pubsub.topics.publish", ("ingest", "replay", "dead replay")),
    ("hits topic", "pubsub.topics.attachSubscription", ("tail",)),
    ("dead topic", "pubsub.topics.publish", ("forget",)),
    ("dead subscription", "pubsub.subscriptions.consume", ("dead", "reconcile", "trace", "forget", "access")),
    ("project", "bigquery.jobs.create",
     ("smoke", "init", "reconcile", "replay", "dead count", "trace", "compact", "forget", "access")),
    ("project", "pubsub.subscriptions.create", ("tail",)),
    ("project", "monitoring.timeSeries.list", ("doctor",)),
    ("events table", "bigquery.tables.getData", ("smoke", "init", "replay", "trace", "access")),
    ("events table", "bigquery.tables.updateData", ("compact", "forget", "replay --replace")),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line: what was checked, OK, DO, NOTE or NOT_ASKED, and what was found or is to be done."""

    check: str
    state: str
    text: str


@dataclass(frozen=True)
class Planned:
    """A resource as provisioning found it: `verb` as in its Step, or what it refused or could not ask."""

    name: str
    verb: str = "keep"
    detail: str = ""
    error: Exception | None = None


@dataclass(frozen=True)
class Traffic:
    """The last hour's rows and rejects with their commonest reasons, and when the newest row was received."""

    rows: int
    rejects: int
    reasons: Sequence[str]
    newest: datetime | None


@dataclass(frozen=True)
class Certificate:
    """`problem` is why it is not to be trusted, as OpenSSL says it."""

    until: datetime | None = None
    problem: str = ""


def one_line(error: object) -> str:
    return printable(fault.words(error))[:300]


def failed(check: str, error: Exception, project: str, api: str = "") -> Finding:
    """Of a request that failed, such as for `api`, bigquery.googleapis.com."""
    why = one_line(error)
    reasons = {getattr(error, "reason", None), *(_reason(one) for one in getattr(error, "errors", ()))}
    if isinstance(error, GoogleAuthError):
        login = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        return Finding(check, DO, f"{why}: {login}")
    if reasons & {"SERVICE_DISABLED", "accessNotConfigured"}:
        return Finding(check, DO, f"its API is off: run `gcloud services enable {api} --project {project}`")
    if isinstance(error, exceptions.Forbidden):
        return Finding(check, NOT_ASKED, f"you may not look: {why}")
    if isinstance(error, exceptions.NotFound):
        return Finding(check, DO, f"{why}: is --project {project} right, and has it been provisioned?")
    return Finding(check, DO, f"does not answer: {why}")


def _reason(error: object) -> object:
    return error.get("reason") if isinstance(error, Mapping) else None


def drift(planned: Sequence[Planned], project: str) -> list[Finding]:
    """A line for each kind of resource that is as it should be, and one for each that is not."""
    found, good, errors = [], dict[str, int](), set[tuple[str, type]]()
    for one in planned:
        kind = one.name.partition(" ")[0]
        if one.error is not None:
            api = "pubsub" if kind in ("topic", "subscription") else "bigquery"
            if (kind, type(one.error)) not in errors:  # one of many alike
                found.append(failed(one.name, one.error, project, f"{api}.googleapis.com"))
            errors.add((kind, type(one.error)))
        elif one.verb == "keep":
            good[kind] = good.get(kind, 0) + 1
        elif one.verb == "refuse":
            found.append(Finding(one.name, DO, f"provisioning refuses: {one.detail.removeprefix(f'{one.name}: ')}"))
        else:
            lacks = "it is not there" if one.verb == "create" else f"differs in {one.detail}"
            found.append(Finding(one.name, DO, f"{lacks}: {PROVISION}"))
    kinds = {"topic": "topics", "subscription": "subscriptions", "table": "tables", "view": "views"}
    kept = [
        Finding(kinds.get(kind, kind), OK, f"{count} as provisioning wants {'it' if count == 1 else 'them'}")
        for kind, count in good.items()
    ]
    return kept + found


def service_agent(lacking: Collection[tuple[str, str]]) -> Finding:
    """`lacking` are role and resource that Pub/Sub's own account does not have there."""
    if not lacking:
        return Finding("Pub/Sub's service agent", OK, "may move dead letters")
    listed = ", ".join(f"{role} on {resource}" for role, resource in lacking)
    unless = "(unless it has them on the project, which is not read here)"
    return Finding("Pub/Sub's service agent", DO, f"lacks {listed} {unless}: {GRANT}")


def permissions(granted: Mapping[str, Collection[str]]) -> Finding:
    """`granted` are the caller's own, by the places of NEEDS that could be asked."""
    lacks = [
        f"{permission} on the {place} ({', '.join(commands)})"
        for place, permission, commands in NEEDS
        if place in granted and permission not in granted[place]
    ]
    if not lacks:
        return Finding("your permissions", OK, "every command may be run")
    return Finding("your permissions", NOTE, f"you lack, for these commands: {'; '.join(lacks)}")


def backlog(ages: Mapping[str, float]) -> list[Finding]:
    """`ages` of the oldest message that was not acked, in seconds by subscription."""
    return [
        Finding(f"backlog of {name}", DO, f"the oldest message waits for {_span(age)}: {_WAITS}")
        if age > _OLDEST
        else Finding(f"backlog of {name}", OK, f"the oldest message waits for {_span(age)}")
        for name, age in sorted(ages.items())
    ]


_WAITS = "see that service's readiness, log and autoscaler"


def reconciled(found: Reconciliation) -> Finding:
    """The backlog as the services count it: what is missing may be on its way."""
    notes = f" ({'; '.join(found.notes)})" if found.notes else ""
    if found.missing:
        return Finding(
            "in flight", NOTE, f"{found.missing:,} hits{notes}: 0 again in a minute, or see `pixelpipe ledger`, twice"
        )
    return Finding("in flight", OK, f"{found.collected:,} collected, none missing{notes}")


def dead(count: int, more: bool = False) -> Finding:
    if not count:
        return Finding("dead letters", OK, "none wait")
    return Finding(
        "dead letters",
        DO,
        f"{count:,}{' or more' if more else ''} wait: `pixelpipe dead list`, repair, `pixelpipe dead replay`",
    )


def traffic(found: Traffic, now: datetime) -> list[Finding]:
    """Share of rejects, freshness, and quotas at the rate of the last hour."""
    events = found.rows + found.rejects
    share = found.rejects / events if events else 0.0
    text = f"{found.rejects:,} of {events:,} events of the last hour ({share:.1%})"
    if share > _REJECTED and events >= _FEW:
        reasons = ", ".join(map(printable, found.reasons))
        rejects = Finding(
            "rejects", DO, f"{text}, mostly {reasons}: `pixelpipe check --rejects`, repair, `pixelpipe replay`"
        )
    else:
        rejects = Finding("rejects", OK, text)
    return [rejects, _fresh(found.newest, now), _quota(events / 3600)]


def _fresh(newest: datetime | None, now: datetime) -> Finding:
    if newest is None:
        return Finding("newest row", NOTE, "none since yesterday: `pixelpipe smoke` says whether one would arrive")
    age = now - newest
    text = f"was received {_span(age.total_seconds())} ago"
    if age > _QUIET:
        return Finding("newest row", NOTE, f"{text}: nothing came, or it waits; `pixelpipe smoke` says which")
    return Finding("newest row", OK, text)


def _quota(rate: float) -> Finding:
    plan = capacity_model.plan(max(rate, 0.001), peak=1.0)
    share = plan.quotas[plan.nearest]
    text = f"{plan.nearest}, the nearest, is at about {share:.1%} with {rate:,.1f} events/s"
    if share > _QUOTA:
        return Finding("quotas", DO, f"{text}: ask Google for more, see `capacity`")
    return Finding("quotas", OK, text)


def clock(whose: str, ahead: float) -> Finding:
    """`ahead` is by how many seconds its clock is ahead of this machine's."""
    check = f"clock of {whose}"
    if abs(ahead) <= _SKEW:
        return Finding(check, OK, f"within {_SKEW:.0f} s of this machine's")
    which = "ahead of" if ahead > 0 else "behind"
    return Finding(check, DO, f"{_span(abs(ahead))} {which} this machine's: synchronize the one that is wrong (NTP)")


def certificate(host: str, found: Certificate, now: datetime) -> Finding:
    check = f"certificate of {host}"
    if found.until is None:
        return Finding(
            check, DO, f"{found.problem}: browsers refuse it; see the Gateway or Ingress and its certificate"
        )
    days = (found.until - now).days
    if days < _CERTIFICATE_DAYS:
        return Finding(check, DO, f"{days} days left: renew it, or see why it was not")
    return Finding(check, OK, f"is for this host, {days} days left")


def versions(builds: Mapping[str, Mapping[str, str]], version: str, digest: str) -> Finding:
    """`builds` are the labels of pixelpipe_build_info by URL; `version` and `digest` those of this command."""
    said = [
        f"{build.get('service')} {build.get('version')} with schema {build.get('schema')}" for build in builds.values()
    ]
    others = {(build.get("version"), build.get("schema")) for build in builds.values()} - {(version, digest)}
    text = ", ".join(map(printable, dict.fromkeys(said)))
    if others:
        return Finding(
            "versions", DO, f"{text}; here it is {version} with schema {digest}: roll out all services, or update here"
        )
    return Finding("versions", OK, text)


def process(where: str, unready: str | None, samples: Sequence[Sample]) -> list[Finding]:
    """A service by its admin port: readiness, breakers, spool."""
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    builds = (one.labels.get("service") for one in samples if one.name == "pixelpipe_build_info")
    name = f"{printable(next(builds, None) or 'service')} {where}"
    found = []
    if unready is not None:
        found.append(Finding(name, DO, f"not ready: {printable(unready)}"))
    if values.get(("pixelpipe_collector_breaker_state",), 0):
        found.append(Finding(name, DO, "its breaker is open: Pub/Sub did not confirm; see its log"))
    held, limit, used = (values.get((f"pixelpipe_collector_spool_{what}",), 0.0) for what in _SPOOL_METRICS)
    if limit and used > limit * _SPOOL:
        found.append(Finding(name, DO, f"its spool is {used / limit:.0%} full ({held:,.0f} hits): see its log"))
    elif held:
        found.append(Finding(name, NOTE, f"{held:,.0f} hits are in its spool, and drain once Pub/Sub answers"))
    for sample in samples:
        if sample.value and sample.name == "pixelpipe_loader_table_suspended":
            found.append(Finding(name, DO, f"table {printable(sample.labels['table'])} is suspended: see its log"))
        if sample.value and sample.name == "pixelpipe_loader_column_refused":
            column = printable(f"{sample.labels['table']}.{sample.labels['column']}")
            found.append(Finding(name, DO, f"BigQuery has no column {column} like that: {PROVISION}"))
    return found or [Finding(name, OK, "ready")]


_SPOOL_METRICS = ("hits", "limit_bytes", "bytes")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """What is to be done first."""
    order = (DO, NOTE, OK, NOT_ASKED)
    ranked = sorted(findings, key=lambda one: order.index(one.state))
    return {
        "to_do": sum(one.state == DO for one in findings),
        "checks": [{"state": one.state, "check": one.check, "text": one.text} for one in ranked],
    }
