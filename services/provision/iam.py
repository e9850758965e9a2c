"""Print the least-privilege bindings of each ServiceAccount, as gcloud commands or Terraform; changes nothing."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

from services.provision import gcloud, service_accounts, terraform
from services.provision.bindings import bindings
from services.provision.config import Config
from services.provision.service_accounts import Accounts
from services.shared import config, schema_file
from services.shared.config import ConfigError

_OPTIONS = ("PIPE_PROJECT", "PIPE_DATASET", "PIPE_SCHEMA", "PIPE_ARCHIVE")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LONGEST = "provision"  # of what follows the full name in a ServiceAccount's


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", help="the Google Cloud project (environment PIPE_PROJECT)")
    parser.add_argument("--namespace", required=True, help="the Kubernetes namespace of the release")
    parser.add_argument("--release", default="pixelpipe", help="the Helm release (%(default)s)")
    parser.add_argument("--fullname", help="what its names begin with, where the chart's fullnameOverride is set")
    parser.add_argument("--dataset", help="the dataset (environment PIPE_DATASET)")
    # No default: `provision --archive … iam` has set it, and a default of this parser would undo that.
    parser.add_argument(
        "--archive",
        metavar="gs://BUCKET[/FOLDER]",
        default=argparse.SUPPRESS,
        help="where hits are archived (environment PIPE_ARCHIVE)",
    )
    parser.add_argument("--schema", type=Path, help="the schema file, for its tables (environment PIPE_SCHEMA)")
    parser.add_argument(
        "--metrics-reader",
        metavar="NAMESPACE/NAME",
        help="the ServiceAccount that reads Cloud Monitoring for the autoscaler, such as keda/keda-operator or "
        "custom-metrics/custom-metrics-stackdriver-adapter",
    )
    parser.add_argument("--format", choices=("gcloud", "terraform"), default="gcloud", help="(%(default)s)")


def text(options: argparse.Namespace) -> str:
    """What to print. Raises ConfigError, a line for each option or setting that is wrong."""
    cfg = _settings(options, os.environ)
    schema = schema_file.load(cfg.schema)
    full = options.fullname or service_accounts.fullname(options.release)
    namespace, _, name = (options.metrics_reader or "").partition("/")
    errors = [
        f"{what}={value!r} {wanted}"
        for what, value, pattern, wanted in (
            ("--project", cfg.project, r"[a-z][-a-z0-9]{4,28}[a-z0-9]", "is not a project id, such as my-project"),
            ("--namespace", options.namespace, _LABEL, "is not a Kubernetes namespace"),
            ("--release", options.release, _LABEL, "is not a Helm release"),
            ("--fullname", options.fullname, _LABEL, "is not a name that Kubernetes accepts"),
            ("--metrics-reader", options.metrics_reader, f"({_LABEL})/({_LABEL})", "is not NAMESPACE/NAME"),
        )
        if value is not None and not re.fullmatch(pattern, value, re.ASCII)
    ]
    if len(f"{full}-{_LONGEST}") > service_accounts.MAX_NAME:
        errors.append(f"{full}-{_LONGEST} is over {service_accounts.MAX_NAME} characters: choose a shorter --release")
    if errors:
        raise ConfigError("\n".join(errors))
    accounts = Accounts(cfg.project, options.namespace, full, (namespace, name) if name else None)
    found = bindings(cfg, schema, metrics_reader=bool(name))
    return gcloud.script(found, accounts) if options.format == "gcloud" else terraform.module(found, accounts)


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    options_of = {name: name.removeprefix("PIPE_").lower() for name in _OPTIONS}
    given = {key: str(value) for key, name in options_of.items() if (value := getattr(options, name)) is not None}
    try:
        return config.read(Config, {**environ, **given})
    except ConfigError as error:  # said of the option that was typed, not of the variable it stands for
        lines = str(error).splitlines()
        for key in given:
            lines = [re.sub(f"^{key}=", f"--{options_of[key]}=", line) for line in lines]
        raise ConfigError("\n".join(lines)) from error
