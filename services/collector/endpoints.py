"""Our own endpoints beside pixel and events, as they are configured: scripts, redirects and webhooks.

Their files are read once, at the start, so that one that is missing or wrong stops a rollout and costs no event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.collector import hook, redirect, scripts
from services.collector.config import Config
from services.collector.hook import Hook
from services.collector.redirect import Redirects
from services.collector.routes import Route, Table
from services.collector.scripts import Script
from services.shared import config, key_file
from services.shared.config import ConfigError


@dataclass(frozen=True)
class Endpoints:
    """Scripts and hooks by the names of their routes; `redirects` is None where none is allowed."""

    table: Table
    scripts: Mapping[str, Script]
    hooks: Mapping[str, Hook]
    redirects: Redirects | None


def read(cfg: Config, more: Sequence[Route] = ()) -> Endpoints:
    """With `more` routes that need no files. Raises ConfigError, a line for each setting that is wrong."""
    errors: list[str] = []
    found = {"script": scripts.own(), **_scripts(cfg, errors)}
    hooks = _hooks(cfg, errors)
    redirects = _redirects(cfg, errors)
    routes = [*more, *(script.route for name, script in found.items() if name != "script")]
    routes += [source.route for source in hooks.values()]
    if redirects is not None:
        routes.append(redirect.ROUTE)
    if errors:
        raise ConfigError("\n".join(errors))
    try:
        table = Table(cfg.paths, cfg.protocols, routes)
    except ValueError as error:
        raise ConfigError(f"PIPE_PATHS, PIPE_PROTOCOLS: {error}") from error
    return Endpoints(table, found, hooks, redirects)


def _scripts(cfg: Config, errors: list[str]) -> dict[str, Script]:
    try:
        found = list(scripts.read(Path(cfg.scripts))) if cfg.scripts else []
    except ValueError as error:
        errors.append(f"PIPE_SCRIPTS={config.shown(cfg.scripts)}: {error}")
        return {}
    return {f"script.{script.name}": script for script in found}


def _redirects(cfg: Config, errors: list[str]) -> Redirects | None:
    hosts: list[str] = []
    for host in cfg.redirect_hosts:
        try:
            hosts.append(redirect.check_host(host))
        except ValueError as error:
            errors.append(f"PIPE_REDIRECT_HOSTS={config.shown(host)}: {error}")
    keys: tuple[bytes, ...] = ()
    if cfg.redirect_key_file:
        try:
            keys = tuple(key_file.read(cfg.redirect_key_file))
        except ValueError as error:
            errors.append(f"PIPE_REDIRECT_KEY_FILE={config.shown(cfg.redirect_key_file)}: {error}")
    return Redirects(hosts, keys) if hosts or keys else None


def _hooks(cfg: Config, errors: list[str]) -> dict[str, Hook]:
    found: dict[str, Hook] = {}
    for entry, parsed in _parsed(cfg, errors):
        try:
            keys = tuple(key_file.read(parsed.key_file)) if parsed.key_file else ()
            if f"hook.{parsed.name}" in found:
                raise ValueError(f"{parsed.name} is there twice; give each source a name of its own")
            found[f"hook.{parsed.name}"] = replace(parsed, keys=keys)
        except ValueError as error:
            errors.append(f"PIPE_HOOKS={config.shown(entry)}: {error}")
    return found


def _parsed(cfg: Config, errors: list[str]) -> Iterator[tuple[str, Hook]]:
    for entry in cfg.hooks:
        try:
            yield entry, hook.parse(entry)
        except ValueError as error:
            errors.append(f"PIPE_HOOKS={config.shown(entry)}: {error}")
