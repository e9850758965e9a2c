"""The JSON schema of the schema file takes what the reader takes, and refuses what it refuses for its structure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from services.shared import schema_file
from services.shared.schema import SchemaError
from tests.docs import json_schema
from tests.docs.schema_file import _GOOD as SMALL
from tests.docs.schema_file import MISTAKES as MISTAKES_SHOWN
from tests.ops import schemas
from tests.process import ROOT

VALIDATOR = jsonschema.Draft7Validator(json_schema.document())
FILES = sorted(
    path
    for path in (ROOT / "schema.yaml", *(ROOT / "tests").rglob("schema*.yaml"))
    if "node_modules" not in path.parts and re.search("^tables:", path.read_text(), re.MULTILINE)
)
FULL = """
expire_days: 400
privacy:
  ip: cut
  signals: {gpc: anonymize, consent: drop}
  secrets: [session_key]
  ids: loyalty_id
  hash: {email: [trim, lower], phone: []}
  cookie: {origins: [https://www.example.com, '*.example.com'], domain: example.com, days: 30, same_site: Lax}
tenants:
  parameter: tenant
  unknown: refuse
  limited: drop
  admins: user:a@example.com
  list:
    north: {hosts: n.example.com, rate: 0.5, burst: 10, expire_days: 30, readers: ['group:n@example.com']}
    south:
      paths: [/s/]
      consent: denied
      keys: 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
lookups:
  products: {file: /lookups/products.csv, key: sku, by: [param.sku, url.path]}
  inside: {file: /lookups/inside.parquet, key: network, by: hit.ip}
tables:
  orders_{tenant}:
    description: Orders
    when: {param.type: [order, 1, true], header.x-shop: a, agent.is_bot: false, referrer.medium: search}
    tenants: [north]
    partition: day
    require_partition_filter: true
    expire_days: never
    cluster: [tenant, total]
    unique: tenant
    require_any: [tenant, total]
    copy: true
    sample: 0.25
    labels: {team: shop, cost-center: 12, größe: ''}
    columns: &columns
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: [event.id]}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      tenant: {type: STRING, from: [hit.tenant, param.tenant]}
      total: {type: NUMERIC, from: [param.properties.total, param.total], transform: [trim, {round: 2}, {min: -1.5}]}
      product: {type: STRING, from: [lookup.products.name, param.name]}
      site: {type: STRING, from: param.url, transform: url.host}
      campaign: {type: STRING, from: param.url, transform: [url.query.utm_campaign, {default: 1}], on_error: null}
      device: {type: STRING, from: param.d, transform: [{map: {m: mobile, 1: desktop, '*': other}}], on_error: reject}
      local_at: {type: TIMESTAMP, from: param.at, transform: {time_zone: Europe/Berlin}}
      tags: {type: STRING, mode: REPEATED, from: param.t, transform: [{split: ;}, {regex: a+}, sha256, {max_length: 9}]}
      cart:
        type: STRUCT
        mode: REPEATED
        from: param.cart
        fields:
          sku: {type: STRING, from: [id, sku]}
          more: {type: STRUCT, fields: {n: {type: INT64, mode: REQUIRED, description: 5}}}
      card: {type: STRING, from: param.c, required_if: {param.type: [order, 1], agent.is_bot: false}}
      iban:
        type: STRING
        from: param.i
        policy_tags: [projects/p/locations/eu/taxonomies/1/policyTags/23]
      user_id: {type: STRING, from: param.user_id}
      hour: {type: INT64, from: event.hour, time_zone: Europe/Berlin}
      date: {type: DATE, from: [event.date], time_zone: America/New_York}
      gross: {type: NUMERIC, expression: 'total * 1.19', description: With tax}
      problems: {type: JSON, from: event.problems}
      params: {type: JSON, from: ['param.*']}
  events: {partition: day, columns: *columns}
  rejects:
    partition: day
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      tenant: {type: STRING, from: hit.tenant}
      reason: {type: STRING, mode: REQUIRED, from: reject.reason}
      hit: {type: JSON, from: reject.hit}
"""


class _Plain(yaml.SafeLoader):
    """As editors read YAML 1.2: without times, and yes and on are texts."""


_Plain.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile("true|false") if tag.endswith(":bool") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith((":timestamp", ":merge"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def problems(text: str) -> list[str]:
    found = yaml.load(text, _Plain)  # noqa: S506 - a safe loader
    return [f"{error.json_path}: {error.message}"[:200] for error in VALIDATOR.iter_errors(_text_keys(found))]


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _text_keys(one) for key, one in value.items()}
    return [_text_keys(one) for one in value] if isinstance(value, list) else value


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema.document())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_schema_files_of_this_repository_validate(path: Path) -> None:
    assert schema_file.load(path).tables
    assert problems(path.read_text()) == []


def test_everything_that_the_reader_takes_validates() -> None:
    assert len(FILES) > 3
    for text in (FULL, SMALL, schemas.text(), schemas.text(rejects=schemas.LEAN_REJECTS)):
        assert schema_file.parse(text).tables
        assert problems(text) == []


# A piece of FULL, and what to put in its place.
MISTAKES = {
    "unknown key of the file": ("expire_days: 400", "expire_day: 400"),
    "unknown key of a table": ("    description: Orders", "    descriptions: Orders"),
    "unknown key of a column": (
        "{type: STRING, from: param.url, transform: url",
        "{type: STRING, form: a, from: b, x: url",
    ),
    "no columns": ("events: {partition: day, columns: *columns}", "events: {partition: day}"),
    "no partition": ("events: {partition: day, columns", "events: {columns"),
    "no type": ("site: {type: STRING, ", "site: {"),
    "no source": ("site: {type: STRING, from: param.url", "site: {type: STRING"),
    "no rejects": ("  rejects:", "  refused:"),
    "a type that is none": ("total: {type: NUMERIC", "total: {type: DECIMAL"),
    "a mode that is none": ("mode: REPEATED, from: param.t,", "mode: LIST, from: param.t,"),
    "a list for a text": ("description: Orders", "description: [Orders]"),
    "a text for a mapping": ("{type: STRING, from: param.url, transform: url.host}", "STRING"),
    "nothing for a text": ("description: Orders", "description:"),
    "a namespace that is none": ("from: param.url, transform: url", "from: query.url, transform: url"),
    "a source that is none": ("from: param.url, transform: url", "from: hit.url, transform: url"),
    "a source of nothing": ("from: param.url, transform: url", "from: param., transform: url"),
    "a header in capitals": ("from: param.url, transform: url", "from: header.X-Url, transform: url"),
    "a source of rejects": ("from: param.url, transform: url", "from: reject.reason, transform: url"),
    "a source twice": ("[param.properties.total, param.total]", "[param.total, param.total]"),
    "no source in a list": ("[param.properties.total, param.total]", "[]"),
    "another type than the source has": ("tenant: {type: STRING, from: [hit", "tenant: {type: INT64, from: [hit"),
    "a list of one that is single": (
        "{type: STRING, from: [hit.tenant",
        "{type: STRING, mode: REPEATED, from: [hit.tenant",
    ),
    "the rest as a text": ("params: {type: JSON", "params: {type: STRING"),
    "the rest and another": ("['param.*']", "['param.*', param.x]"),
    "the rest required": ("params: {type: JSON", "params: {type: JSON, mode: REQUIRED"),
    "problems required": ("problems: {type: JSON", "problems: {type: JSON, mode: REQUIRED"),
    "a struct without fields": (
        "{type: STRUCT, fields: {n: {type: INT64, mode: REQUIRED, description: 5}}}",
        "{type: STRUCT}",
    ),
    "a struct with no fields": ("fields: {n: {type: INT64, mode: REQUIRED, description: 5}}", "fields: {}"),
    "fields of a text": ("sku: {type: STRING, from", "sku: {type: STRING, fields: {a: {type: STRING}}, from"),
    "a choice that is none": ("on_error: reject", "on_error: drop"),
    "null where it is required": ("mode: REQUIRED, from: event.day", "mode: REQUIRED, on_error: null, from: event.day"),
    "a step that is none": ("[trim, {round: 2}", "[strip, {round: 2}"),
    "a step without its value": ("{max_length: 9}", "max_length"),
    "a step with a value": ("[trim, {round: 2}", "[{trim: 2}, {round: 2}"),
    "two steps in one": ("{round: 2}, {min: -1.5}", "{round: 2, min: -1.5}"),
    "a step without a name": ("url.query.utm_campaign", "url.query."),
    "the example as a step": ("url.query.utm_campaign", "url.query.NAME"),
    "too many decimals": ("{round: 2}", "{round: 39}"),
    "a length of nothing": ("{max_length: 9}", "{max_length: 0}"),
    "a limit that is not a number": ("{min: -1.5}", "{min: few}"),
    "an empty map": ("{map: {m: mobile, 1: desktop, '*': other}}", "{map: {}}"),
    "a step on numbers for texts": ("transform: url.host", "transform: {round: 2}"),
    "a list of a text": ("tags: {type: STRING, mode: REPEATED", "tags: {type: STRING"),
    "a zone of a date": ("local_at: {type: TIMESTAMP", "local_at: {type: DATETIME"),
    "steps of JSON": ("['param.*']}", "['param.*'], transform: [trim]}"),
    "a table's name": ("  events: {", "  my-events: {"),
    "a table that provisioning makes": ("  events: {", "  conflicts: {"),
    "a column's name": ("      site:", "      1site:"),
    "a column's name that BigQuery keeps": ("      site:", "      _partition_x:"),
    "days of none": ("expire_days: never", "expire_days: 0"),
    "days of words": ("expire_days: never", "expire_days: soon"),
    "a filter of words": ("require_partition_filter: true", "require_partition_filter: always"),
    "five columns to cluster by": ("cluster: [tenant, total]", "cluster: [tenant, total, day, site, device]"),
    "any of one": ("require_any: [tenant, total]", "require_any: [tenant]"),
    "any of a text": ("require_any: [tenant, total]", "require_any: tenant"),
    "unique by nothing": ("unique: tenant", "unique: []"),
    "write": ("    unique: tenant", "    write: storage"),
    "a condition on the id": ("{param.type: [order", "{event.id: [order"),
    "a condition on all": ("{param.type: [order", "{param.*: [order"),
    "a condition on nothing": ("[order, 1, true]", "[]"),
    "a bot or not": ("agent.is_bot: false", "agent.is_bot: maybe"),
    "conditions of rejects": ("  rejects:\n", "  rejects:\n    when: {param.a: b}\n"),
    "any of rejects": ("  rejects:\n", "  rejects:\n    require_any: [day, hit]\n"),
    "a copy of words": ("copy: true", "copy: all"),
    "more than everybody": ("sample: 0.25", "sample: 1.5"),
    "nobody": ("sample: 0.25", "sample: 0"),
    "a share in percent": ("sample: 0.25", "sample: 25%"),
    "a label in capitals": ("{team: shop", "{Team: shop"),
    "a label's value in capitals": ("{team: shop", "{team: Shop"),
    "a label of ours": ("{team: shop", "{managed-by: shop"),
    "a copy of rejects": ("  rejects:\n", "  rejects:\n    copy: true\n"),
    "a sample of rejects": ("  rejects:\n", "  rejects:\n    sample: 0.5\n"),
    "required twice": ("from: param.c, required_if", "mode: REQUIRED, from: param.c, required_if"),
    "required if nothing": ("required_if: {param.type: [order, 1], agent.is_bot: false}", "required_if: {}"),
    "required if of a list": ("required_if: {param.type: [order, 1], agent.is_bot: false}", "required_if: [a]"),
    "required by the id": ("required_if: {param.type", "required_if: {event.id"),
    "required of rejects": ("hit: {type: JSON", "hit: {type: JSON, required_if: {param.a: b}"),
    "required of a field": ("sku: {type: STRING, from", "sku: {type: STRING, required_if: {param.a: b}, from"),
    "a tag that is none": ("[projects/p/locations/eu/taxonomies/1/policyTags/23]", "pii"),
    "two tags": ("policyTags/23]", "policyTags/23, projects/p/locations/eu/taxonomies/1/policyTags/4]"),
    "a tag of a struct": (
        "      cart:\n",
        "      cart:\n        policy_tags: projects/p/locations/eu/taxonomies/1/policyTags/23\n",
    ),
    "a zone of a parameter": ("user_id: {type: STRING", "user_id: {type: STRING, time_zone: UTC"),
    "an hour as a text": ("hour: {type: INT64", "hour: {type: STRING"),
    "an expression with a source": ("expression: 'total * 1.19'", "from: param.gross, expression: 'total * 1.19'"),
    "an expression with a mode": ("expression: 'total * 1.19'", "mode: REQUIRED, expression: 'total * 1.19'"),
    "an expression of a struct": ("gross: {type: NUMERIC", "gross: {type: STRUCT"),
    "an expression of nothing": ("expression: 'total * 1.19'", "expression:"),
    "an address": ("ip: cut", "ip: half"),
    "a signal": ("gpc: anonymize", "gpt: anonymize"),
    "an action": ("gpc: anonymize", "gpc: hide"),
    "a pattern of secrets": ("[session_key]", "['session_*']"),
    "a short secret": ("[session_key]", "[s]"),
    "a step before a hash": ("email: [trim, lower]", "email: [trim, upper]"),
    "no origins": ("{origins: [https://www.example.com, '*.example.com'], ", "{"),
    "any origin": ("https://www.example.com", "'*'"),
    "a cookie for ever": ("days: 30", "days: 3650"),
    "a cookie of a site": ("same_site: Lax", "same_site: lax"),
    "a host's cookie": ("domain: example.com", "domain: https://example.com"),
    "no tenants": ("  list:\n", "  lists:\n"),
    "a tenant's name": ("    north:", "    north-1:"),
    "a tenant's key": ("sha256:aaaa", "aaaa"),
    "a tenant's rate": ("rate: 0.5", "rate: 0"),
    "a tenant's burst": ("burst: 10", "burst: 1.5"),
    "a tenant's consent": ("consent: denied", "consent: granted"),
    "all users": ("'group:n@example.com'", "allUsers"),
    "a lookup's file": ("products.csv", "products.xlsx"),
    "a lookup without a key": ("key: network, by: hit.ip", "by: hit.ip"),
    "a lookup by another": ("[param.sku, url.path]", "lookup.inside.site"),
    "a lookup by the id": ("[param.sku, url.path]", "event.id"),
    "a lookup by all": ("[param.sku, url.path]", "'param.*'"),
    "a lookup's name": ("  inside:", "  in-side:"),
    "no lookup of a source": ("lookup.products.name", "lookup.products"),
    "what becomes of unknown ones": ("unknown: refuse", "unknown: drop"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_the_reader_refuses_for_its_structure_is_refused(name: str) -> None:
    good, bad = MISTAKES[name]
    assert good in FULL
    text = FULL.replace(good, bad, 1)
    with pytest.raises(SchemaError):
        schema_file.parse(text)
    assert problems(text)


def test_of_the_documents_mistakes_only_those_that_need_the_whole_file_are_missed() -> None:
    missed = {bad.strip() for good, bad in MISTAKES_SHOWN if not problems(SMALL.replace(good, bad, 1))}
    assert missed == {
        "{type: JSON, from: param.*}",  # a second one
        "partition: total",
        "day: {type: DATE, from",
        "partition: day\n    cluster: [params]",
        "partition: day\n    unique: [params]",
        "events_{tenant}:",
        "privacy: {secrets: [event_id]}",
        "privacy: {hash: {api_key: []}}",
        "from: param.token",
        "from: lookup.tiers.name",
        "{type: INT64, from: event.hour, time_zone: Europe/Berlim}",
        "{type: NUMERIC, expression: net * (1 + tax}",
        "{type: NUMERIC, expression: total * 2}",
        "partition: day\n    copy: true",  # nothing is left to copy from
    }
