"""Bindings as a shell script of gcloud and bq commands, which can be run again. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from services.provision.bindings import SERVICE_AGENT, Binding, CustomRole, custom_roles
from services.provision.service_accounts import Accounts, service_agent


def script(bindings: Sequence[Binding], accounts: Accounts) -> str:
    return "\n".join(_lines(bindings, accounts)) + "\n"


def _lines(bindings: Sequence[Binding], accounts: Accounts) -> Iterator[str]:
    project = shlex.quote(accounts.project)
    yield "#!/usr/bin/env bash"
    yield "# What each part of pixelpipe may do. Granted again, nothing changes; nothing is ever taken away."
    yield "set -euo pipefail"
    yield f"NUMBER=$(gcloud projects describe {project} --format='value(projectNumber)')"
    yield ""
    yield "# 1. Before anything is provisioned"
    for role in custom_roles(bindings):
        yield from _role(role, project)
    late = False
    for binding in bindings:
        if not binding.first and not late:
            late = True
            yield ""
            yield "# 2. Once topics, subscriptions and tables are there: run the provisioner before this"
        yield f"# {binding.account}: {binding.why}"
        yield _command(binding, accounts, project)


def _role(role: CustomRole, project: str) -> Iterator[str]:
    options = f"--project={project} --title={shlex.quote(role.title)} --permissions={','.join(role.permissions)}"
    yield f"# {role.why}"
    yield f"gcloud iam roles create {role.id} {options} --quiet 2>/dev/null ||"
    yield f"  gcloud iam roles update {role.id} {options} --quiet"


def _command(binding: Binding, accounts: Accounts, project: str) -> str:
    member = (
        service_agent("$NUMBER")
        if binding.account == SERVICE_AGENT
        else accounts.principal(binding.account, "$NUMBER")  # names are checked: nothing in them is the shell's
    )
    role = binding.role
    name = f"projects/{accounts.project}/roles/{role.id}" if isinstance(role, CustomRole) else role
    options = f'--role={name} --member="{member}"'
    resource = shlex.quote(binding.resource)
    match binding.kind:
        case "project":
            return f"gcloud projects add-iam-policy-binding {project} --condition=None {options}"
        case "bucket":
            return f"gcloud storage buckets add-iam-policy-binding gs://{resource} {options}"
        case "topic":
            return f"gcloud pubsub topics add-iam-policy-binding {resource} --project={project} {options}"
        case "subscription":
            return f"gcloud pubsub subscriptions add-iam-policy-binding {resource} --project={project} {options}"
        case "table":
            return f"bq add-iam-policy-binding --table {options} {project}:{resource}"
