"""What `check` and `explain` print for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from services.ops import rejects_again
from services.ops.dead_letter import printable

_NOW = {
    rejects_again.PASSES: "would be a row",
    rejects_again.OF_LOADER: "only BigQuery can say; replay it",
    rejects_again.LOST: "cannot be restored",
}


def text(report: dict[str, Any]) -> str:
    listed = ", ".join(f"{name} ({count} columns)" for name, count in report["tables"].items())
    lines = [f"{report['file']} is right: {listed}"]
    lines += [f"  warning: {line}" for line in report["warnings"]]
    if "live" in report:
        lines += ["", "Provisioning it:"]
        lines += [f"  {line}" for line in report["live"]["lines"]]
        lines += [f"  refused: {line}" for line in report["live"]["refused"]]
    if "sample" in report:
        lines += ["", sample(report["sample"])]
    if "rejects" in report:
        lines += ["", *_rejects(report["rejects"])]
    return "\n".join(lines)


def sample(found: dict[str, Any]) -> str:
    """What one request becomes."""
    return "\n".join(_sample(found))


def _sample(found: dict[str, Any]) -> Iterator[str]:
    reply = found["reply"]
    yield f"{printable(found['request'])}"
    yield f"  answered {reply['status']} {reply['type']} {printable(reply['text'])}".rstrip()
    if found["secrets"]:
        names = ", ".join(f"{name} ({count})" for name, count in found["secrets"].items())
        yield f"  secrets that are never stored, by the entry of the list: {names}"
    for signal, action in found["opt_outs"].items():
        yield f"  opted out by {signal}: {action}"
    if not found["events"]:
        yield "  nothing is stored"
    for number, one in enumerate(found["events"]):
        yield ""
        yield from _event(one, number)
    if found["more"]:
        yield f"\nand {sum(found['more'].values()):,} more: {_counted(found['more'])}"


def _counted(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}s" for name, count in outcomes.items())


def _event(one: dict[str, Any], number: int) -> Iterator[str]:
    marks = [one["protocol"], *(f"{name} {one[name]}" for name in ("tenant", "opt_out") if name in one)]
    if one["outcome"] == "reject":
        why = one["reject"]
        place = " of " + ".".join(why[name] for name in ("table", "column") if name in why) if "table" in why else ""
        yield f"event {number} ({', '.join(marks)}): a reject, {why['reason']}{place}: {why['detail']}"
        if "value" in why:
            yield f"  it was {shown(why['value'])}"
        if one.get("known"):
            yield f"  its columns of {why['table']} that have a value:"
            yield from (f"  {line}" for line in _columns({**one, "row": one["known"]}))
    else:
        yield f"event {number} ({', '.join(marks)}): {_place(one)}"
        yield from _columns(one)
    for what, names in one.get("privacy", {}).items():
        if names:
            yield f"  {what} by `privacy`: {', '.join(map(printable, names))}"
    for problem in one.get("problems", ()):
        sent = f", it was {shown(problem['value'])}" if "value" in problem else ""
        yield f"  does not fit: {printable(problem['column'])}: {problem['reason']}: {problem['detail']}{sent}"
    if one.get("empty"):
        yield f"  sent without a value: {', '.join(map(printable, one['empty']))}"
    if one.get("unknown"):
        kept = f"kept in {one['kept_in']}" if one["kept_in"] else "lost: the table has no column from param.*"
        kept = kept if one["outcome"] == "row" else "kept in the reject"
        yield f"  no column for: {', '.join(map(printable, one['unknown']))} ({kept})"
    for copy in one.get("copies", ()):
        if "reject" in copy:
            why = copy["reject"]
            yield f"  no copy in {copy['table']}: {why.get('column', 'the row')}: {why['reason']}: {why['detail']}"
            continue
        yield f"  and a copy: {_place(copy)}"
        yield from (f"  {line}" for line in _columns(copy))


def _place(one: dict[str, Any]) -> str:
    return f"left out of {one['table']} by its sample" if one.get("sampled_out") else f"a row of {one['table']}"


def _columns(one: dict[str, Any]) -> Iterator[str]:
    computed = one.get("computed", {})
    width = max(map(len, (*one["row"], *computed)), default=0)
    for name, value in one["row"].items():
        more = [f"from {one['from'][name]}"] if name in one.get("from", ()) else []
        more += [f"sent as {shown(one['changed'][name])}"] if name in one.get("changed", ()) else []
        yield f"  {name:{width}}  {shown(value)}" + (f"   ({', '.join(more)})" if more else "")
    for name, sql in computed.items():
        yield f"  {name:{width}}  the view computes it: {shown(sql)}"


def _rejects(found: dict[str, Any]) -> Iterator[str]:
    yield f"Rejects since {found['since']}: {found['rejects']:,}, of which {found['pass']:,} would be rows"
    for row in found["by_reason"]:
        now = _NOW.get(row["now"], "still a reject" if row["now"] == row["reason"] else f"a reject: {row['now']}")
        yield f"  {row['rejects']:>9,}  {row['reason']:14} {now}"
    for name, count in found["tables"].items():
        yield f"  {count:>9,}  rows of {name}"


def shown(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
