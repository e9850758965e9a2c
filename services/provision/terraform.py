"""Bindings as Terraform, for the provider hashicorp/google. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from services.provision.bindings import SERVICE_AGENT, Binding, CustomRole, custom_roles
from services.provision.service_accounts import Accounts, service_agent

_NUMBER = "${data.google_project.pixelpipe.number}"


class _Reference(str):
    """An expression, not a text."""


def module(bindings: Sequence[Binding], accounts: Accounts) -> str:
    return "\n".join(_blocks(bindings, accounts))


def _blocks(bindings: Sequence[Binding], accounts: Accounts) -> Iterator[str]:
    yield "# What each part of pixelpipe may do.\n"
    yield _block('data "google_project" "pixelpipe"', {"project_id": accounts.project})
    for role in custom_roles(bindings):
        fields = {"project": accounts.project, "role_id": role.id, "title": role.title}
        head = f'resource "google_project_iam_custom_role" "{_label(role.id)}"'
        yield f"# {role.why}"
        yield _block(head, {**fields, "permissions": list(role.permissions)})
    late = False
    for binding in bindings:
        if not binding.first and not late:
            late = True
            yield "# What follows needs topics, subscriptions and tables: run the provisioner before it is applied.\n"
        yield f"# {binding.account}: {binding.why}"
        yield _member(binding, accounts)


def _member(binding: Binding, accounts: Accounts) -> str:
    kinds = {
        "bucket": "storage_bucket",
        "table": "bigquery_table",
        "topic": "pubsub_topic",
        "subscription": "pubsub_subscription",
    }
    what: dict[str, str] = {} if binding.kind == "bucket" else {"project": accounts.project}
    match binding.kind:
        case "bucket" | "topic" | "subscription":
            what[binding.kind] = binding.resource
        case "table":
            dataset, _, table = binding.resource.partition(".")
            what |= {"dataset_id": dataset, "table_id": table}
    role = binding.role
    # A reference, so that the role is there first.
    name: str = (
        _Reference(f"google_project_iam_custom_role.{_label(role.id)}.name") if isinstance(role, CustomRole) else role
    )
    member = (
        service_agent(_NUMBER) if binding.account == SERVICE_AGENT else accounts.principal(binding.account, _NUMBER)
    )
    short = role.id if isinstance(role, CustomRole) else role.rpartition("/")[2]
    label = _label(" ".join(part for part in (binding.account, short, binding.resource) if part))
    head = f'resource "google_{kinds.get(binding.kind, "project")}_iam_member" "{label}"'
    return _block(head, {**what, "role": name, "member": member})


def _block(head: str, fields: Mapping[str, object]) -> str:
    width = max(map(len, fields))
    lines = (
        f"  {name:<{width}} = {value if isinstance(value, _Reference) else json.dumps(value)}"
        for name, value in fields.items()
    )
    return "\n".join([f"{head} {{", *lines, "}", ""])


def _label(text: str) -> str:
    """A name that Terraform takes; two resources of a kind differ in what it is made of."""
    return re.sub(r"[^a-z0-9_-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower())
