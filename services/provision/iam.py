"""Print the least-privilege bindings of each ServiceAccount, as gcloud commands or Terraform; changes nothing."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

from services.provision import account, gcloud, terraform
from services.provision.account import Accounts
from services.provision.bindings import bindings
from services.provision.config import Config
from services.shared import config, schema_file
from services.shared.config import ConfigError

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_PUBSUB = r"(?!goog)[A-Za-z][-A-Za-z0-9._~+%]{2,254}"
_LONGEST = "provision"  # of what follows the full name in a ServiceAccount's


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", help="the Google Cloud project (environment PIPE_PROJECT)")
    parser.add_argument("--namespace", required=True, help="the Kubernetes namespace of the release")
    parser.add_argument("--release", default="pixelpipe", help="the Helm release (%(default)s)")
    parser.add_argument("--fullname", help="what its names begin with, where the chart's fullnameOverride is set")
    parser.add_argument("--dataset", help="the dataset (environment PIPE_DATASET)")
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
    full = options.fullname or account.fullname(options.release)
    namespace, _, name = (options.metrics_reader or "").partition("/")
    errors = [
        f"{what}={value!r} {wanted}"
        for what, value, pattern, wanted in (
            ("--project", cfg.project, r"[a-z][-a-z0-9]{4,28}[a-z0-9]", "is no project id, such as my-project"),
            ("--namespace", options.namespace, _LABEL, "is no Kubernetes namespace"),
            ("--release", options.release, _LABEL, "is no Helm release"),
            ("--fullname", options.fullname, _LABEL, "is no name Kubernetes takes"),
            ("--dataset", cfg.dataset, r"\w{1,1024}", "is no dataset"),
            ("PIPE_HITS_TOPIC", cfg.hits_topic, _PUBSUB, "is no topic"),
            ("PIPE_ROWS_TOPIC", cfg.rows_topic, _PUBSUB, "is no topic"),
            ("PIPE_DEAD_TOPIC", cfg.dead_topic, _PUBSUB, "is no topic"),
            ("PIPE_HITS_SUBSCRIPTION", cfg.hits_subscription, _PUBSUB, "is no subscription"),
            ("PIPE_ROWS_SUBSCRIPTION", cfg.rows_subscription, _PUBSUB, "is no subscription"),
            ("--metrics-reader", options.metrics_reader, f"({_LABEL})/({_LABEL})", "is no NAMESPACE/NAME"),
        )
        if value is not None and not re.fullmatch(pattern, value, re.ASCII)
    ]
    if len(f"{full}-{_LONGEST}") > account.MAX_NAME:
        errors.append(f"{full}-{_LONGEST} is over {account.MAX_NAME} characters: choose a shorter --release")
    if errors:
        raise ConfigError("\n".join(errors))
    accounts = Accounts(cfg.project, options.namespace, full, (namespace, name) if name else None)
    found = bindings(cfg, schema, metrics_reader=bool(name))
    return gcloud.script(found, accounts) if options.format == "gcloud" else terraform.module(found, accounts)


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    given = {"PIPE_PROJECT": options.project, "PIPE_DATASET": options.dataset, "PIPE_SCHEMA": options.schema}
    return config.read(Config, {**environ, **{key: str(value) for key, value in given.items() if value is not None}})
