"""The generated parts of docs/schema.md: keys, types, sources and checks as services/shared reads them.

Names, types and limits come from the code, messages from running it. What a key or a source means is written here, and
one that the code has and this has not is an error.
"""

from __future__ import annotations

from services.shared import schema, schema_columns, schema_lookups, schema_transforms
from services.shared import schema_file as code
from services.shared.schema import SchemaError
from tests.docs import schema_privacy
from tests.docs.markers import table


def _without(types: tuple[str, ...]) -> str:
    return " or ".join(one for one in schema.TYPES if one not in types)


# What each key of a table takes, its default, and what it does.
TABLE_KEYS = {
    "description": ("text", "none", f"Shown by BigQuery. At most {code.TABLE_DESCRIPTION:,} characters"),
    "when": (
        "`source: value` or `source: [value, …]`",
        "every event",
        "Conditions, all of which an event must meet. Tables are tried in the order of the file, and the first that "
        "fits takes the event. A condition reads any source but `event.*`, `param.*` and `hit.received_at`; "
        f"`{schema.REJECTS}` has none",
    ),
    "copy": (
        "`true` or `false`",
        "`false`",
        "The table also takes events that another table takes: [one event in several tables](#routing)",
    ),
    "sample": (
        "a number between 0 and 1",
        "every event",
        "The share of the people whose events the table keeps: [sampling](#sampling)",
    ),
    "labels": (
        "`key: value`",
        "none",
        "BigQuery's labels, for the table and its view: lower-case letters, digits, `-` and `_`, at most 63 each. "
        "Labels that others set stay, and so does one that you take out here",
    ),
    "tenants": (
        "list of names",
        "all of the file's `tenants: list`",
        f"Makes one table per listed tenant, if the table's name holds `{schema.TENANT}`. A file without `tenants`"
        " at its top must say which. Events of other tenants go on to the next table, so a query string never creates"
        " a table",
    ),
    "partition": (
        "column",
        "required",
        f"What BigQuery partitions by, one partition a day: a REQUIRED {' or '.join(schema.PARTITIONABLE)} column",
    ),
    "require_partition_filter": (
        "`true` or `false`",
        "`false`",
        "BigQuery refuses queries without a filter on it; then `compact` settles no day",
    ),
    "require_any": (
        "list of columns",
        "none",
        "Columns of which one must have a value: an event that fills none of them becomes a row of `rejects`, "
        "unless its sender [opted out](#privacy)",
    ),
    "expire_days": (
        f"1 to 99999, or `{code.NEVER}`",
        "the file's `expire_days`, else kept forever",
        "Days after which BigQuery drops a partition. A tenant's own `expire_days` overrides it in tables made for it",
    ),
    "cluster": (
        "list of columns",
        "none",
        f"What BigQuery clusters by: at most {code.MOST_CLUSTERED} columns, no {_without(schema.CLUSTERABLE)}",
    ),
    "unique": (
        "column, or list of columns",
        f"`[{', '.join(schema.KEY_COLUMNS)}]`, those the table has",
        "What identifies an event together with day and event id: [the key](guarantees.md#every-event-counts-once). "
        f"No {_without(schema.GROUPABLE)} column",
    ),
    "write": ("nothing", "none", "Leave it out: rows are appended by the Storage Write API"),
    "columns": ("`name: column`", "required", f"At most {schema_columns.MOST_COLUMNS:,}, fields of STRUCTs included"),
}
COLUMN_KEYS = {
    "type": (", ".join(schema.TYPES), "required", "What a value must be: [what each type accepts]"),
    "mode": (
        ", ".join(schema.MODES),
        schema.MODES[0],
        "REQUIRED: an event without a value becomes a reject. REPEATED: a list of values; one value alone is a list of "
        "one, and so are values that come again in a query string",
    ),
    "from": (
        "source, or list of sources",
        "required, but for an `expression`",
        "Where the value comes from; the first source that has one wins",
    ),
    "fields": (
        "`name: column`",
        "none",
        f"The fields of a STRUCT, like columns; `from` is a name or path in its object, by default the field's own "
        f"name. At most {schema.MAX_NESTED} levels",
    ),
    "transform": (
        "step, or list of steps",
        "none",
        "What is done to a value, in order: [transformations](#transformations)",
    ),
    "on_error": (
        " or ".join(schema.ON_ERROR),
        "`null`, and `reject` where the mode is REQUIRED",
        "What becomes of a value that does not fit: NULL, and a problem of the row, or the event is a reject: "
        "[values that do not fit](#values-that-do-not-fit)",
    ),
    "required_if": (
        "`source: value` or `source: [value, …]`",
        "never",
        "Where all of these hold, the column is as if it were REQUIRED: an event without a value, or with one that "
        "does not fit, becomes a reject. Conditions are like those of `when`; a field of a STRUCT has none",
    ),
    "time_zone": (
        "zone",
        "UTC",
        f"Whose clocks {' and '.join(f'`{one}`' for one in schema.IN_A_ZONE)} are read from, such as Europe/Berlin",
    ),
    "expression": (
        "SQL",
        "none",
        "Instead of `from`: [what the view computes](#computed-columns) from the other columns. Beside it only `type` "
        "and `description`",
    ),
    "policy_tags": (
        "name of a policy tag",
        "none",
        "The tag that tells BigQuery who may read the column: "
        "`projects/…/locations/…/taxonomies/…/policyTags/…`, in the dataset's location. One a column; a STRUCT has "
        "them at its fields. Without it, a tag that someone set stays",
    ),
    "description": ("text", "none", f"Shown by BigQuery. At most {schema_columns.COLUMN_DESCRIPTION:,} characters"),
}
STEPS = {
    "trim": "Without white space around it",
    "collapse": "White space inside is one space, and none is around it",
    "lower": "In lower case",
    "upper": "In upper case",
    "sha256": "Its SHA-256, as BigQuery's `TO_HEX(SHA256(…))`; other systems match addresses so. "
    "Anyone who has the address can compute it too, so it hides nothing: [`hash`](#privacy) does",
    "url.host": "The host name of a URL, in lower case; any other text has no value",
    "url.path": "Its path",
    "url.query.NAME": "The decoded value of NAME in its query string",
    "default": "This, where there is no value",
    "map": "What this value is in the map, such as `{m: mobile, d: desktop}`. One that is not in it does not fit, "
    "unless `'*'` says what the others are",
    "regex": "The group of a pattern of RE2, or the whole match without a group; without a match there is no value",
    "max_length": "Its first characters, so many",
    "split": "A list: what stands between these texts, empty parts left out. The steps after it work on each part",
    "time_zone": "A time without a zone is one of this zone's clocks, such as Europe/Berlin",
    "round": "Rounded to so many decimals, half away from zero",
    "min": "A smaller number does not fit",
    "max": "A larger number does not fit",
}
LOOKUP_KEYS = {
    "file": (
        "path",
        "required",
        f"Where the processor finds the file, which ends in {' or '.join(schema_lookups.FILES)}",
    ),
    "key": ("column of the file", "required", "What rows are found by. Each row has one, and no two have the same"),
    "by": (
        "source, or list of sources",
        "required",
        "What an event's row is found by: the first that has a value, as text. Any source but `event.*`, `param.*`, "
        "`hit.received_at` and lookups. With `hit.ip`, alone, keys are addresses or networks, and the narrowest counts",
    ),
}
# Sources with open names.
OPEN = {
    "param": (
        ("param.NAME", "any", "A parameter of the event: from the query string, or a member of the posted JSON object"),
        ("param.NAME.NAME", "any", "A value inside it, such as `param.properties.total`"),
        (
            "param.*",
            "JSON",
            "All parameters that no column took, as one object. One NULLABLE column, this source alone",
        ),
    ),
    "header": (("header.NAME", "any", "A request header that the collector keeps (`PIPE_HEADERS`), in lower case"),),
    "lookup": (
        (
            "lookup.NAME.COLUMN",
            "any",
            "A column of the row that a [lookup](#lookups) finds, as text in a query string; NULL where it finds none",
        ),
    ),
}
SOURCES = {
    "hit.received_at": "When the collector received the request",
    "hit.method": "GET, HEAD or POST",
    "hit.path": "The path, such as `/pixel.gif`",
    "hit.query": "The query string as sent",
    "hit.ip": "The client's address as `privacy.ip` keeps it: cut to its network by default",
    "hit.protocol": "`native`, or the [protocol](protocols.md) of the tracker that sent it, such as `segment`",
    "hit.status": "The status in a load balancer's log entry; hits of the collector have none",
    "hit.opt_out": "How the sender opted out: a [signal](#privacy) such as `gpc`; NULL if there was none",
    "hit.visitor_id": "The id in the [visitor cookie](#the-visitor-cookie); NULL under an opt-out",
    "hit.tenant": "Whose event it is, by the schema file's `tenants`",
    "event.id": "The client's `event_id`, else the UUIDv7 the collector gave",
    "event.day": "The UTC day of a UUIDv7 id or the client's time, within 7 days before receipt, else of receipt",
    "event.date": "Its date by the clocks of the column's `time_zone`: of the parameter `event_time`, else of receipt",
    "event.hour": "The hour of that, 0 to 23",
    "event.problems": "The values that did not fit, a list of objects: column, reason, detail and value",
    "agent.browser": "From the client hints or the header `user-agent`: the browser's name",
    "agent.browser_version": "Its version",
    "agent.os": "The operating system",
    "agent.os_version": "Its version",
    "agent.device": "desktop, mobile, tablet, bot or other",
    "agent.brand": "The device's brand",
    "agent.model": "The device's model",
    "agent.is_bot": "Whether it is a machine that says so, with nobody behind it: no human, mail_proxy or prefetch",
    "agent.class": "Who it is: [human, bot, ai_crawler, ai_search, ai_assistant, mail_proxy, prefetch, preview, "
    "monitor or headless](../services/processor/README.md#who-it-is)",
    "agent.name": "Which of them, such as GPTBot, Gmail or Slack",
    "agent.reason": "What told it: user_agent, client_hints, signature_agent, purpose or address; NULL for human",
    "referrer.host": "From the parameter `referrer`: its host",
    "referrer.medium": "search, social, email, chatbot, paid, internal, direct or other",
    "referrer.source": "The name of a well-known site",
    "referrer.term": "What was searched for",
    "utm.source": "From the parameter `utm_source`, else from the page's query string; the same for the next five",
    "utm.medium": "`utm_medium`",
    "utm.campaign": "`utm_campaign`",
    "utm.term": "`utm_term`",
    "utm.content": "`utm_content`",
    "utm.id": "`utm_id`",
    "utm.click_id": "The value of gclid, fbclid, msclkid and the like",
    "utm.click_id_name": "Which of them it was",
    "url.host": "From the page, the parameter `url` or else the header `referer`: its host",
    "url.path": "Its path",
    "url.clean": "Its address without the parameters of campaigns and trackers, such as `utm_source` and `gclid`",
    "language.code": "From the header `accept-language`: the language the browser prefers, such as de",
    "geo.country": "From the load balancer's header `x-client-geo-location`: US",
    "geo.region": "US-CA",
    "geo.city": "The city's name",
    "geo.time_zone": "From the database of `PIPE_GEO_DATABASE`: America/Los_Angeles. NULL where it says more than the "
    "region and `geo.city` may not be known",
    "reject.stage": "processor or loader",
    "reject.table": "The table the event was meant for",
    "reject.reason": "[One of a fixed set](../services/processor/README.md#reject-reasons)",
    "reject.column": "The column that had no usable value",
    "reject.value": "That value, cut to 256 characters",
    "reject.detail": "What was wrong, in words",
    "reject.hit": "The original hit (stage processor) or row (stage loader)",
}

_GOOD = """tables:
  events:
    partition: day
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      total: {type: NUMERIC, from: param.total}
      params: {type: JSON, from: param.*}
  rejects:
    partition: day
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      reason: {type: STRING, mode: REQUIRED, from: reject.reason}
      hit: {type: JSON, mode: REQUIRED, from: reject.hit}
"""
# A piece of the file above, and what to put in its place to get an error. If the piece stays, what follows it is shown.
MISTAKES = (
    ("type: NUMERIC", "type: NUMBER"),
    ("type: NUMERIC, from", "type: NUMERIC, transform: [rond], from"),
    ("from: param.total", "from: qery.total"),
    ("from: param.total", "from: geo.town"),
    ("type: NUMERIC", "type: NUMERIC, colour: red"),
    ("{type: NUMERIC, from: param.total}", "{type: STRING, from: hit.received_at}"),
    ("{type: NUMERIC, from: param.total}", "{type: JSON, from: param.*}"),
    ("{type: NUMERIC, from: param.total}", "{type: STRING, from: Header.Referer}"),
    ("total:", "_PARTITIONTIME:"),
    ("    partition: day\n", ""),
    ("partition: day", "partition: total"),
    ("day: {type: DATE, mode: REQUIRED, from", "day: {type: DATE, from"),
    ("partition: day", "partition: day\n    cluster: [params]"),
    ("partition: day", "partition: day\n    unique: [params]"),
    ("partition: day", "partition: day\n    expire_days: 0"),
    ("partition: day", "partition: day\n    when: {event.id: a}"),
    ("  events:", "  events_{tenant}:"),
    ("  events:", "  conflicts:"),
    ("  rejects:", "  refused:"),
    ("", "privacy: {ip: half}\n"),
    ("", "privacy: {signals: {gpc: anonymise}}\n"),
    ("", "privacy: {secrets: [event_id]}\n"),
    ("", "privacy: {hash: {api_key: []}}\n"),
    ("", "privacy: {cookie: {origins: ['*.com']}}\n"),
    ("", "privacy: {cookie: {origins: [https://www.example.com], days: 730}}\n"),
    ("from: param.total", "from: param.token"),
    ("from: param.total", "from: lookup.tiers.name"),
    ("", "lookups: {tiers: {file: /lookups/tiers.xlsx, key: user, by: param.user_id}}\n"),
    ("type: NUMERIC", "type: NUMERIC, required_if: {event.id: a}"),
    ("type: NUMERIC", "type: NUMERIC, time_zone: Europe/Berlin"),
    ("{type: NUMERIC, from: param.total}", "{type: INT64, from: event.hour, time_zone: Europe/Berlim}"),
    ("type: NUMERIC", "type: NUMERIC, policy_tags: pii"),
    ("{type: NUMERIC, from: param.total}", "{type: NUMERIC, expression: net * (1 + tax}"),
    ("{type: NUMERIC, from: param.total}", "{type: NUMERIC, expression: total * 2}"),
    ("partition: day", "partition: day\n    sample: 10%"),
    ("partition: day", "partition: day\n    copy: true"),
    ("partition: day", "partition: day\n    labels: {Team: shop}"),
)


def parts() -> dict[str, str]:
    """The generated parts by name."""
    return {
        "keys of a table": _keys(code.TABLE_KEYS, TABLE_KEYS),
        "keys of a column": _keys(schema_columns.COLUMN_KEYS, COLUMN_KEYS).replace(
            "[what each type accepts]", "[what each type accepts](../services/processor/README.md#accepted-values)"
        ),
        "keys of a lookup": _keys(schema_lookups.LOOKUP_KEYS, LOOKUP_KEYS),
        "steps": table(("step", "what it makes of a value"), _steps()),
        "sources": table(("source", "type", "value"), _sources()),
        "refusals": table(("a file with", "is refused with"), _refusals()),
        **schema_privacy.parts(),
    }


def _keys(known: tuple[str, ...], meanings: dict[str, tuple[str, str, str]]) -> str:
    return table(("key", "takes", "default", "meaning"), ((f"`{key}`", *meanings[key]) for key in known))


def _steps() -> list[tuple[str, str]]:
    known = {**schema_transforms.TEXT_STEPS, **schema_transforms.VALUE_STEPS}
    return [(f"`{name}: {takes}`" if takes else f"`{name}`", STEPS[name]) for name, takes in known.items()]


def _sources() -> list[tuple[str, str, str]]:
    rows = [(f"`{name}`", kind, text) for space in OPEN for name, kind, text in OPEN[space]]
    for space, names in schema.FIXED_SOURCES.items():
        rows += [(f"`{space}.{name}`", kind, SOURCES[f"{space}.{name}"]) for name, kind in names.items()]
    return rows


def _refusals() -> list[tuple[str, str]]:
    assert code.parse(_GOOD).tables
    rows = []
    for good, bad in MISTAKES:
        try:
            code.parse(_GOOD.replace(good, bad, 1))
        except SchemaError as refused:
            problem = str(refused).splitlines()[0]
        else:
            raise AssertionError(f"{bad!r} is accepted")
        shown = " ".join(bad.removeprefix(good).split())
        shown = f"`{shown.strip(', ')}`" if shown else f"no `{' '.join(good.split())}`"
        rows.append((shown, f"`` {problem} ``" if "`" in problem else f"`{problem}`"))
    return rows
