"""Every command of every document is run by a test, or checked against what knows it here; a new one has to say how.

`tests/ops/test_documents.py` runs those of `pixelpipe`, the provisioner, `curl`, `bq` and `make ops` as they stand, and
`tests/local/test_testing_your_tracking.py` those of the local stack.
What needs Google Cloud, a cluster or Docker is held against the chart as Helm renders it, the recipe of the images and
the lists below. A command that is in none of these fails here, with its place; so does an entry that nobody types.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared import resource_names
from tests.chart import release
from tests.docs import typed
from tests.process import ROOT

# Where a target of make is run: a file, and a text in it. The others are by hand, and why; their recipes are parsed.
MAKE = {
    "bench": (".ci/run", "make bench QUICK=1"),
    "check": (".ci/run", "make check"),
    "chaos": ("tests/chaos/test_chaos.py", "run(FAULTS[name], QUICK,"),
    "dashboards": ("tests/observability/test_chart.py", "dashboards"),
    "docs": ("tests/docs/test_fresh.py", "documents()"),
    "images": (".ci/run", "make images"),
    "install": (".ci/run", "make test"),  # which installs
    "run": (".ci/first-pixel", "make run >"),
    "scale": ("tests/scale/test_day.py", "day."),
    "simulate": ("tests/simulation/test_simulation.py", "simulate("),
    "test": (".ci/run", "make test"),
    "test-chart": (".ci/run", "make test"),  # the folder is one of the tests'
    "test-slow": (".ci/run", "make test-slow"),
    "dashboard": "it draws a picture from minutes of traffic",
    "format": "it changes the sources; `make check` has the same tools look",
    "fuzz-sql": "it looks for what no test knows yet, for minutes",
    "lock": "it asks a package index for what is new",
    "pictures": "it writes the pictures of the repository",
    "soak": "it floods a collector for five minutes",
    "test-google": "it needs Google's emulator",
}
# Modules that no test starts as they stand, and the test of what they do.
MODULES = {
    "observability": ("tests/observability/test_chart.py", "dashboards"),
    "tests.chart.write": ("tests/chart/test_made.py", "write.chart()"),
    # The local stack, which the tests of tests/e2e run on, starts each so.
    "services.NAME": ("local/stack.py", 'f"services.{name}"'),
    "services.collector": ("local/stack.py", '"collector"'),
    "services.processor": ("local/stack.py", '"processor"'),
    "services.loader": ("local/stack.py", '"loader"'),
}
# What `python -m local …` of the documents runs until Ctrl-C, and the tests of it.
UNTIL_STOPPED = {
    "run": ("tests/local/run_stack.py", '"local", "run"'),
    "page": ("tests/local/test_page_cluster.py", '"page"'),
}
HELM = {  # options of each command; `--set` and files of values are rendered
    "install": {"--namespace", "--create-namespace", "--set"},
    "upgrade": {
        "-n",
        "--namespace",
        "--reuse-values",
        "--reset-then-reuse-values",
        "--set",
        "--install",
        "--create-namespace",
        "--values",
        "--set-file",
    },
    "test": {"--namespace"},
    "history": {"-n"},
    "rollback": {"-n", "--namespace"},
    "uninstall": {"--namespace", "--wait"},
    "get notes": {"-n"},
}
KUBECTL = {  # options of each command, next to the namespace
    "cordon": set[str](),
    "create configmap": {"--from-file"},
    "create job": {"--from"},
    "describe": {"--selector"},
    "exec": {"--"},
    "get": {"-l", "-o"},
    "logs": {"-l", "--since", "--prefix", "--tail"},
    "port-forward": set[str](),
    "rollout restart": set[str](),
    "rollout status": set[str](),
    "scale": {"--replicas"},
    "top": set[str](),
}
GCLOUD = {  # options of each command, of Google Cloud's own tool: see test_gclouds_commands_are_its_own
    "alpha services quota list": {"--service", "--consumer"},
    "artifacts repositories create": {"--repository-format", "--location"},
    "artifacts repositories delete": {"--location"},
    "auth application-default login": set[str](),
    "auth configure-docker": set[str](),
    "auth login": set[str](),
    "certificate-manager certificates create": {"--location", "--domains", "--dns-authorizations"},
    "certificate-manager certificates delete": {"--location"},
    "certificate-manager certificates describe": {"--location", "--format"},
    "certificate-manager dns-authorizations create": {"--location", "--domain"},
    "certificate-manager dns-authorizations delete": {"--location"},
    "certificate-manager dns-authorizations describe": {"--location", "--format"},
    "certificate-manager maps create": set[str](),
    "certificate-manager maps entries create": {"--map", "--hostname", "--certificates"},
    "components install": set[str](),
    "compute addresses create": {"--global", "--region", "--network-tier"},
    "compute addresses delete": {"--region"},
    "compute addresses describe": {"--global", "--region", "--format"},
    "compute backend-services update": {"--global", "--custom-request-header"},
    "compute networks create": {"--subnet-mode"},
    "compute networks subnets create": {"--purpose", "--role", "--region", "--network", "--range"},
    "compute networks subnets delete": {"--region"},
    "compute url-maps add-path-matcher": {
        "--global",
        "--path-matcher-name",
        "--new-hosts",
        "--default-service",
        "--path-rules",
    },
    "compute url-maps edit": set[str](),
    "config set": set[str](),
    "container clusters create-auto": {"--region"},
    "container clusters delete": {"--region"},
    "container clusters get-credentials": {"--region"},
    "logging sinks create": {"--log-filter"},
    "logging sinks delete": set[str](),
    "logging sinks describe": {"--format"},
    "projects delete": set[str](),
    "projects get-iam-policy": {"--flatten", "--filter"},
    "pubsub subscriptions create": {
        "--topic",
        "--ack-deadline",
        "--message-retention-duration",
        "--expiration-period",
    },
    "pubsub subscriptions delete": set[str](),
    "pubsub subscriptions describe": {"--project"},
    "pubsub subscriptions list": {"--project"},
    "pubsub subscriptions seek": {"--time"},
    "pubsub topics add-iam-policy-binding": {"--role", "--member"},
    "pubsub topics describe": {"--project"},
    "services enable": set[str](),
}
# Commands as they stand that no program here answers, and why that is so or which test does it otherwise.
AS_THEY_STAND = {
    "PROJECT=$PROJECT skaffold run --profile gke --default-repo $IMAGES": "tests/chart/test_skaffold.py",
    "bash iam.sh": "tests/provision/test_iam.py runs what `iam` prints",
    "bq --api http://127.0.0.1:9050 --project_id=…": "tests/emulators/bigquery/test_bq.py",
    "bq query --use_legacy_sql=false 'ALTER TABLE DATASET.TABLE_log ALTER COLUMN COLUMN DROP NOT NULL'": (
        "the emulator changes no column"
    ),
    "bq update --storage_billing_model=PHYSICAL my-project:pixelpipe": "the emulator bills nothing",
    "PIPE_MAIL_PASSWORD=… pixelpipe reconcile --mail-to team@example.com "
    "--mail-from pixelpipe@example.com --mail-server smtps://reports%40example.com@smtp.example.com": (
        "tests/ops/test_report_delivery.py has a mail server"
    ),
    "bq rm -r -d pixelpipe": "removes everything; tests/emulators/bigquery/test_bq.py has `bq rm`",
    "done": "the end of a loop",
    "for service in collector processor loader ops": "tests/ops/test_documents.py",
    "do": "of the loop",
    "export IMAGES=us-docker.pkg.dev/$PROJECT/pixelpipe": "of this shell",
    "export PROJECT=my-project HOST=track.example.com REGION=us-central1 LOCATION=US": "of this shell",
    "npm install --package-lock-only": "it asks a package index for what is new",
    "skaffold dev": "tests/chart/test_skaffold.py",
    "skaffold verify": "tests/chart/test_skaffold.py",
    "sleep 1": "of a loop",
    "source .venv/bin/activate": "of venv",
    "zstd -dc": "tests/collector/test_pack_file.py reads such files",
    "zstd -dc FILE.zst.damaged": "tests/collector/test_pack_file.py reads such files",
}
# Run as they stand: see is_run.
RUN_TARGETS = ("compact", "ops", "query")
RUN = re.compile(
    r"(?:PIPE_[A-Z_]+=\S+ )*(?:python -m (?:services\.ops|services\.provision|local (?:fault|ops|query))|pixelpipe) ?"
)
PAGE = re.compile(r"127\.0\.0\.1:(?:8000|N)/|python -m local fault")
OPENSSL = re.compile(r"KEY=\$\(openssl|printf %s \"\$to\" \| openssl")


class Wrong(Exception):
    """What is wrong with a command."""


def of_the_page(text: str) -> bool:
    """Whether tests/local/test_testing_your_tracking.py runs it, on a local stack with its page and control ports."""
    return bool(PAGE.search(text))


def is_run(text: str) -> bool:
    """Whether it is run as it stands, by that or by tests/ops/test_documents.py."""
    if text in AS_THEY_STAND:
        return False
    program, *others = text.split()
    if RUN.match(text) or OPENSSL.match(text) or program == "curl":
        return True
    return (program == "make" and others[0] in RUN_TARGETS) or (program == "bq" and others[0] in ("query", "show"))


def used(kind: str, name: str) -> None:
    USED.add((kind, name))


USED: set[tuple[str, str]] = set()


def proved(kind: str, proofs: dict[str, Any], name: str) -> None:
    if name not in proofs:
        raise Wrong(f"{name} is none of {kind}: say in this file what runs it")
    used(kind, name)
    if isinstance(proof := proofs[name], tuple) and proof[1] not in (ROOT / proof[0]).read_text():
        raise Wrong(f"{proof[0]} has no {proof[1]!r} any more")


def make(words: Sequence[str]) -> None:
    targets = [word for word in words if "=" not in word]
    for target in targets:
        proved("MAKE", MAKE, target)
        (help_line,) = re.findall(rf"^{target}:.*?## (.*)$", MAKEFILE, re.MULTILINE) or [""]
        for variable in (word.partition("=")[0] for word in words if "=" in word):
            if f"{variable}=" not in help_line:
                raise Wrong(f"`make` does not say of {target} that it takes {variable}")
    _recipe(" ".join(shlex.quote(word) for word in words))


def without_make(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as outside of `make test`, whose options would be those of what it starts."""
    return {name: value for name, value in environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}


@cache
def _recipe(words: str) -> None:
    """What it would run is there, with options that it knows."""
    installed = [f"-o{path}" for path in (".venv/.installed", ".venv/.run", ".venv/bin/pixelpipe", ".venv/bin/python")]
    command = ["make", "-n", *installed, *shlex.split(words)]
    said = subprocess.run(command, cwd=ROOT, env=without_make(os.environ), capture_output=True, text=True, check=False)
    if said.returncode:
        raise Wrong(said.stderr)
    for line in re.findall(r"^\.venv/bin/python -m (.*)$", said.stdout, re.MULTILINE):
        module, *options = shlex.split(line)
        if module == "pytest":
            if missing := [one for one in options if one.startswith("tests/") and not (ROOT / one).exists()]:
                raise Wrong(f"there is no {missing}")
            continue
        flags = {option.partition("=")[0] for option in options if option.startswith("--")}
        if flags and module != "local" and (unknown := flags - set(re.findall(r"--[a-z][a-z-]*", _help(module)))):
            raise Wrong(f"{module} knows no {unknown}")


@cache
def _help(module: str) -> str:
    said = io.StringIO()
    before, sys.argv = sys.argv, [module, "--help"]
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            runpy.run_module(module, run_name="__main__")
    finally:
        sys.argv = before
    return said.getvalue()


def python(words: Sequence[str]) -> None:
    module, *options = words[1:]
    if module == "local":
        if options[0] not in UNTIL_STOPPED:
            raise Wrong("`python -m local` has no such command")
        proved("UNTIL_STOPPED", UNTIL_STOPPED, options[0])
    elif module == "emulators":
        flags = set(re.findall(r"--[a-z-]+", " ".join(options[1:])))
        if options and (unknown := flags - set(re.findall(r"--[a-z-]+", _help(f"emulators.{options[0]}.__main__")))):
            raise Wrong(f"the emulator knows no {unknown}")
    else:
        proved("MODULES", MODULES, module)
        if module != "services.NAME" and importlib.util.find_spec(module) is None:
            raise Wrong(f"there is no module {module}")


def ops(words: Sequence[str]) -> None:
    raise Wrong(f"there is no program ops: it is `pixelpipe {words[0]}`")


def options_of(
    words: Sequence[str], known: dict[str, set[str]], also: set[str], bare: set[str]
) -> tuple[str, list[str], dict[str, list[str]]]:
    """The command, its arguments, and its options with their values, of which those in `bare` have none."""
    arguments, options = [], dict[str, list[str]]()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            options["--"] = left
            break
        name, sign, value = word.partition("=")
        if word.startswith("-"):
            options.setdefault(name, []).append(value if sign else "" if name in bare else left.pop(0))
        else:
            arguments.append(word)
    text = " ".join(arguments)
    command = max((one for one in known if f"{text} ".startswith(f"{one} ")), key=len, default=None)
    if command is None:
        raise Wrong("no such command in the list of this file")
    if unknown := set(options) - known[command] - also:
        raise Wrong(f"{command} with {', '.join(unknown)} is not in the list of this file")
    return command, arguments[len(command.split()) :], options


def helm(words: Sequence[str]) -> None:
    command, arguments, options = options_of(
        words, HELM, set(), {"--create-namespace", "--reuse-values", "--reset-then-reuse-values", "--install", "--wait"}
    )
    used("HELM", command)
    if not arguments:  # spoken of, not typed
        return
    if not {"-n", "--namespace"} & set(options):
        raise Wrong("it does not name the namespace")
    if arguments[1:] == ["charts/pixelpipe"]:
        rendered(options)
    elif arguments[1:] not in ([], ["CHART"]):
        raise Wrong(f"there is no chart {arguments[1:]}")


def rendered(options: dict[str, list[str]]) -> None:
    """The release with these options."""
    layers: list[Any] = [{"project": "my-project"}]
    layers += [release.load(ROOT / file) for file in options.get("--values", [])]
    layers += [assigned(*one.split("=", 1)) for one in options.get("--set", [])]
    layers += [assigned(*one.split("=", 1)) for one in options.get("--set-file", [])]
    values = yaml.safe_load((ROOT / "charts" / "pixelpipe" / "values.yaml").read_text())
    for one in (*options.get("--set", []), *options.get("--set-file", [])):
        at = values
        for part in one.partition("=")[0].split("."):
            if part not in at:
                raise Wrong(f"the chart has no value {one}")
            at = at[part]
    for one in options.get("--set-file", []):
        name, _, file = one.partition("=")
        layers.append(assigned(name, (ROOT / file).read_text()))
    if not release.release(release.merged(*layers)).docs:
        raise Wrong("it renders nothing")


def assigned(name: str, text: str) -> dict[str, Any]:
    value: Any = text.replace("$PROJECT", "my-project").replace("$HOST", "track.example.com").replace("$LOCATION", "US")
    if value.startswith("{"):
        value = value.strip("{}").split(",")
    elif re.fullmatch("[0-9]+|true|false", value):
        value = yaml.safe_load(value)
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


@cache
def cluster() -> release.Release:
    """What can be there in a cluster: objects of the chart's cases that have most of them."""
    found = [release.case(name) for name in ("values-gke", "ingress", "own", "guarded")]
    return release.Release([doc for one in found for doc in one.docs])


KINDS = {"deploy": "Deployment", "deployment": "Deployment", "hpa": "HorizontalPodAutoscaler"}


def kubectl(words: Sequence[str]) -> None:
    command, arguments, options = options_of(words, KUBECTL, {"-n", "--namespace"}, {"--prefix"})
    used("KUBECTL", command)
    if command == "create configmap":
        if "configMap" not in "".join(path.read_text() for path in (ROOT / "docs").glob("*.md")):
            raise Wrong("no document mounts it")
    elif arguments and not {"-n", "--namespace"} & set(options):
        raise Wrong("it does not name the namespace")
    for selector in (*options.get("-l", []), *options.get("--selector", [])):
        wanted = dict(one.split("=") for one in selector.replace("RELEASE", "pixelpipe").split(","))
        pods = [pod["metadata"]["labels"] for _, pod in cluster().pods()]
        if not any(wanted.items() <= labels.items() for labels in pods):
            raise Wrong(f"no pod of the chart has the labels {selector}")
    for one in options.get("--from", []):
        there(*one.replace("RELEASE", "pixelpipe").split("/"))
    if command in ("cordon", "create configmap", "create job", "exec"):
        if (inside := options.get("--")) and not any("/spool" in word for word in inside):
            raise Wrong("what it runs in the pod is not about the spool")
        return
    kind = ""
    for argument in arguments:
        before, slash, name = argument.rpartition("/")
        if slash:
            kind = before
        elif argument.isdigit():
            containers = [one for _, pod in cluster().pods() for one in pod["spec"]["containers"]]
            ports = [port["containerPort"] for one in containers for port in one.get("ports", [])]
            if int(argument) not in ports:
                raise Wrong(f"no container of the chart listens on {argument}")
            continue
        elif not kind:
            kind, name = argument, ""
        for one in kind.split(","):
            there(one, name.replace("RELEASE", "pixelpipe"))


def there(kind: str, name: str) -> None:
    if kind in ("pods", "pod", "jobs"):  # of a CronJob
        return
    wanted = KINDS.get(kind, kind).lower()
    names = [doc["metadata"]["name"] for doc in cluster().docs if doc["kind"].lower() == wanted]
    if not names or (name and name not in names):
        raise Wrong(f"the chart makes no {kind} {name}")


def gcloud(words: Sequence[str]) -> None:
    for inner in re.findall(r"\$\(gcloud (.*)\)", " ".join(words)):
        gcloud(shlex.split(inner))
    command, arguments, _ = options_of(words, GCLOUD, set(), {"--global"})
    used("GCLOUD", command)
    for one in arguments:
        made = command.endswith(" create") or not command.startswith("pubsub ")
        if one.startswith("pixelpipe-") and one not in NAMES and not made:
            raise Wrong(f"{one} is no topic or subscription that is provisioned")


def docker(words: Sequence[str]) -> None:
    if words[0] == "push":
        return
    _, arguments, options = options_of(words, {"build": {"--platform", "-f", "--build-arg", "-t"}}, set(), set())
    recipe = (ROOT / options["-f"][0]).read_text()
    for name, _, value in (one.partition("=") for one in options["--build-arg"]):
        if not re.search(rf"^ARG {name}\b", recipe, re.MULTILINE):
            raise Wrong(f"the recipe has no argument {name}")
        if name == "SERVICE" and value != "$service" and f" AS {value}-code" not in recipe:
            raise Wrong(f"the recipe has no code of {value}")
    if arguments != ["."]:
        raise Wrong("the context is the repository")


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "docker": docker,
    "gcloud": gcloud,
    "helm": helm,
    "kubectl": kubectl,
    "make": make,
    "ops": ops,
    "python": python,
}
MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = {value for value in vars(resource_names).values() if isinstance(value, str)}


def check(text: str) -> None:
    """Raises Wrong for one command that nothing runs, and that is not as it should be."""
    text = re.sub(r"(?: 2?>+ ?\S+)* ?&?$", "", text)
    if text in AS_THEY_STAND:
        used("AS_THEY_STAND", text)
        if (match := re.match(r"tests/\S+\.py", AS_THEY_STAND[text])) and not (ROOT / match[0]).is_file():
            raise Wrong(f"there is no {match[0]}")
        return
    program, *words = shlex.split(re.sub(r"^(?:PIPE_[A-Z]+=\S+ )+", "", text))
    if program in CHECKS:
        CHECKS[program](words)
    elif not is_run(text):
        raise Wrong("nothing runs or checks it")


def test_every_command_is_run_or_checked() -> None:
    wrong = []
    for one in typed.typed():
        for part in [one.text] if OPENSSL.match(one.text) else typed.parts(one.text):
            try:
                if not is_run(part):
                    check(part)
            except Wrong as error:
                wrong.append(f"{one}\n    {error}")
    assert not wrong, "\n".join(wrong)
    lists = {
        "MAKE": MAKE,
        "MODULES": MODULES,
        "UNTIL_STOPPED": UNTIL_STOPPED,
        "HELM": HELM,
        "KUBECTL": KUBECTL,
        "GCLOUD": GCLOUD,
        "AS_THEY_STAND": AS_THEY_STAND,
    }
    left = {(kind, name) for kind, names in lists.items() for name in names} - USED
    assert not left, f"nobody types these: take them out of {left}"


def test_what_is_printed_names_no_program_that_is_none() -> None:
    folders = ("services", "local", "observability", "charts")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".yaml")]
    assert not [str(path) for path in sources if re.search(r"`ops [a-z]", path.read_text())]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("make teapot", "teapot is none of MAKE"),
        ("make simulate SEED=1", "does not say of simulate that it takes SEED"),
        ("frobnicate --all", "nothing runs or checks it"),
        ("python -m tests.nothing", "none of MODULES"),
        ("python -m emulators pubsub --teapot 1", "knows no {'--teapot'}"),
        ("helm upgrade pixelpipe charts/pixelpipe --set image.tag=1", "namespace"),
        ("helm upgrade pixelpipe charts/pixelpipe -n web --set collector.teapot=1", "no value collector.teapot"),
        ("kubectl -n web rollout restart deploy/RELEASE-teapot", "no deploy pixelpipe-teapot"),
        ("kubectl -n web get pods -l app.kubernetes.io/component=teapot", "no pod"),
        ("kubectl -n web port-forward deploy/pixelpipe-loader 9999", "listens on 9999"),
        ("kubectl -n web get pods --teapot 1", "--teapot"),
        ("gcloud pubsub topics delete pixelpipe-hits", "no such command"),
        ("gcloud pubsub subscriptions delete pixelpipe-teapot", "no topic or subscription"),
        ("docker build -f services/Dockerfile --build-arg SERVICE=teapot -t x .", "no code of teapot"),
        ("ops dead list", "`pixelpipe dead`"),
        ("skaffold run --profile teapot", "nothing runs or checks it"),
    ],
)
def test_a_command_that_nothing_knows_is_refused(text: str, why: str) -> None:
    with pytest.raises(Wrong, match=re.escape(why)):
        check(text)


def test_gclouds_commands_are_its_own() -> None:
    """Where Google's tool is installed: the tree of commands and options that it completes from."""
    path = shutil.which("gcloud")
    files = [] if path is None else list(Path(path).resolve().parents[1].glob("data/cli/gcloud_completions.py"))
    if not files:
        pytest.skip("needs gcloud, whose commands this list is held to: Google Cloud's own installation")
    tree = runpy.run_path(str(files[0]))["STATIC_COMPLETION_CLI_TREE"]
    for command, options in GCLOUD.items():
        place = tree
        for word in command.split():
            assert word in place["commands"], command
            place = place["commands"][word]
        assert options <= set(place["flags"]) | set(tree["flags"]), command
