"""What documents have operators type, run as it stands on a release of all services, and what each should say.

Only addresses, names in capitals and times are those of the test: see `desk`. What is on Google Cloud or in a cluster
is in tests/docs/test_typed.py, what asks the local page in tests/local/test_testing_your_tracking.py.
"""

from __future__ import annotations

import datetime
import glob
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from local import __main__ as local
from local import run_file, stack
from local.ports import Ports
from local.run_file import Running
from services.shared import resource_names
from tests import process
from tests.chart import release
from tests.docs import test_typed, typed
from tests.ops import cloud_storage
from tests.ops.conftest import WAIT, Pipeline
from tests.ops.test_report_delivery import webhook
from tests.process import ROOT

GKE = (ROOT / "docs" / "gke.md").read_text()
SHELL = "".join(re.findall(r"^ *```sh\n(.*?)^ *```$", GKE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
ADMIN = {"collector": 9101, "processor": 9102, "loader": 9103}
BATCH = {"batch": [{"type": "track", "event": "Order", "userId": "ada", "messageId": "m1"}], "writeKey": "shop"}


# As the test has them, so that it ends within a minute.
SHORTER = {
    "--hits 20000": "--hits 50",
    "--rate 200 --seconds 60": "--rate 200 --seconds 0.2",
    "--ramp 4 --seconds 12": "--ramp 0.1 --seconds 0.3",
}
EXTRA = {**dict.fromkeys(("dead", "trace", "forget", "access", "reconcile"), WAIT), "tail": ("--seconds", "0.1")}
# What is spoken of without what it needs.
WHOLE = {
    "pixelpipe access": "pixelpipe access --user-id ID",
    "pixelpipe capacity": "pixelpipe capacity --hits-per-second 2000 --peak 5",
    "pixelpipe cost": "pixelpipe cost --hits-per-second 100",
    "pixelpipe dead": "pixelpipe dead list",
    "pixelpipe forget": "pixelpipe forget --user-id 507f --dry-run",
    "pixelpipe ingest": "pixelpipe ingest --dry-run logs/*.gz",
    "pixelpipe load": "pixelpipe load --hits 20000",
    "pixelpipe replay --archive": "pixelpipe replay --archive gs://BUCKET/FOLDER --since 2026-03-01 --dry-run",
    "PIPE_PROJECT=my-project pixelpipe COMMAND …": "PIPE_PROJECT=my-project pixelpipe --help",
}
PYTHON = re.compile(r"(?:PIPE_[A-Z]+=\S+ )*(?:python -m|pixelpipe) ")


@dataclass(frozen=True)
class Desk:
    """Where an operator sits: a folder with files, and a release that runs."""

    pipeline: Pipeline
    ports: Ports
    folder: Path
    env: dict[str, str]
    places: dict[str, str]
    today: str

    def here(self, text: str) -> str:
        """The command with addresses and names of the test."""
        text = WHOLE.get(text, text)
        for place, real in self.places.items():
            text = text.replace(place, real)
        if " --archive " in text:  # which lists a folder a day
            text = text.replace("2026-03-01", self.today)
        return re.sub(f"^PIPE_PROJECT={self.pipeline.project} ", "", text)

    def run(self, text: str) -> tuple[int, str]:
        """Exit code, and what was printed, on stdout and stderr or into the file after `>`."""
        if re.search(r"\bdead (?:show|drop) ID\b", text):
            text = text.replace(" ID", f" {self.pipeline.bury(b'odd', ODD)}")
        if " export " in text:
            shutil.rmtree(self.folder / text.split()[-1], ignore_errors=True)
        if PYTHON.match(text):
            return self._python(text.replace("[", "").replace("]", ""))
        if text.startswith("bq "):
            return 0, self._bq(shlex.split(text))
        if text.startswith("make "):
            text = text.replace("make", f"make -s -C {ROOT} BIN={BIN} -o.venv/.run -o{BIN}/pixelpipe", 1)
            if not text.endswith("'") or " ops " in text:  # tests/ops/test_local.py has `python -m local ops`
                command = ["bash", "-c", f"{text} -n"]
                recipe = subprocess.run(command, env=self.env, capture_output=True, check=True, text=True).stdout
                return self._python(f"pixelpipe {recipe.partition(' -m local ops ')[2]}")
        text = text.replace("curl ", "curl -s -w '%{http_code}' ")
        command = ["bash", "-c", text]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, timeout=60)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def _python(self, text: str) -> tuple[int, str]:
        env, words = dict(self.env), shlex.split(text)
        while re.match(r"PIPE_\w+=", words[0]):
            name, _, env[name] = words.pop(0).partition("=")
        if "--tenant" in words:
            env["PIPE_SCHEMA"] = "tenants.yaml"
        module, arguments = ("services.ops", words[1:]) if words[0] == "pixelpipe" else (words[2], words[3:])
        file = None
        if ">" in arguments:
            file = self.folder / arguments.pop()
            arguments.pop()
        arguments = [one for word in arguments for one in glob.glob(word, root_dir=self.folder) or [word]]
        if words[0] == "pixelpipe":
            arguments += local._addresses(arguments, self.ports)
        if module == "services.ops":
            arguments += EXTRA.get(arguments[0], ())
        # The local stack's commands start others, which are found in the repository alone.
        done = process.run(module, *arguments, env=env, folder=ROOT if module == "local" else self.folder)
        if file:
            file.write_text(done.stdout)
        return done.returncode, done.stdout + done.stderr

    def _bq(self, words: list[str]) -> str:
        """What `bq` does, by the client: the tool is not here, and tests/emulators/bigquery/test_bq.py has it."""
        if words[-1].startswith("ALTER"):
            self.pipeline.client.query_and_wait(words[-1])
        if words[1] == "show" or words[-1].startswith("ALTER"):
            return str(self.pipeline.client.get_table("pixelpipe.events_log").schema)
        return json.dumps(self.pipeline.rows(words[-1]), default=str)


ODD = {"dead_reason": "odd", "dead_source": resource_names.HITS_SUBSCRIPTION}
BIN = Path(sys.executable).parent


def commands() -> list[typed.Typed]:
    """Each once, in the order of the documents, README first; people are forgotten last."""
    found = dict[str, typed.Typed]()
    for one in sorted(typed.typed(), key=lambda one: (" forget " in one.text, one.file != "README.md")):
        for text in [one.text] if test_typed.OPENSSL.match(one.text) else typed.parts(one.text):
            if test_typed.is_run(text) and not test_typed.of_the_page(text):
                found.setdefault(text, typed.Typed(one.file, one.line, text))
    return list(found.values())


@pytest.fixture
def desk(bare: Pipeline, tmp_path: Path, archive_folder: Path) -> Iterator[Desk]:
    now = datetime.datetime.now(datetime.UTC)
    later = (now + datetime.timedelta(days=2)).date().isoformat()  # midnight may come before the end of the test
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    schema = yaml.safe_load((ROOT / "schema.yaml").read_text())
    schema["tables"]["events"]["columns"] |= yaml.safe_load(example)["tables"]["events"]["columns"]
    bare.provision(yaml.safe_dump(schema | {"views": "none"}, sort_keys=False), archive=f"gs://{bare.project}/raw")
    folder = tmp_path / "desk"
    (folder / "logs").mkdir(parents=True)
    (folder / "schema.yaml").write_text(bare.file.read_text())
    tenants = schema | {"views": "none", "tenants": {"list": {"shop_a": {"hosts": ["a.example.com"]}}}}
    (folder / "tenants.yaml").write_text(yaml.safe_dump(tenants, sort_keys=False))
    (folder / "batch.json").write_text(json.dumps(BATCH))
    (folder / "people.ndjson").write_text('{"user_id": "507f"}\n')
    line = f'203.0.113.7 - - [{now:%d/%b/%Y:%H:%M:%S} +0000] "GET /pixel.gif?user_id=log HTTP/1.1" 200 43 "-" "curl"\n'
    (folder / "logs" / "1.json.gz").write_bytes(gzip.compress(line.encode()))
    with bare.stack() as ports, webhook(200) as (hook, posted), cloud_storage.serving(archive_folder, []) as storage:
        running = Running(os.getpid(), str(folder), bare.project, "pixelpipe", str(bare.file), ports, now.isoformat())
        run_file.write(folder, running)
        url, admin = f"http://127.0.0.1:{ports.collector}", stack.admin_urls(ports)
        env = {
            **stack.emulator_environment(ports, test_typed.without_make(os.environ)),
            "STORAGE_EMULATOR_HOST": storage,
            "PIPE_PROJECT": bare.project,
            "PIPE_SCHEMA": str(bare.file),
            "LOCAL_DATA": str(folder),
            "to": "https://shop.example.com/",
            "key": "secret",
        }
        places = {
            **dict.fromkeys(
                ("https://track.example.com", "https://$HOST", "https://HOST", "http://127.0.0.1:8080"), url
            ),
            **{f"http://{name.upper()}:{port}": admin[name] for name, port in ADMIN.items()},
            **{f"http://127.0.0.1:{port}": admin[name] for name, port in ADMIN.items()},
            "localhost:9101": f"localhost:{ports.collector_admin}",
            "https://hooks.example.com/services/T0/B0/x": hook,
            ".local/archive/BUCKET": str(archive_folder / bare.project / "raw"),
            "gs://BUCKET/FOLDER": f"gs://{bare.project}/raw",
            "2026-03-02T12:00Z": later,
            "--until 2026-03-02": f"--until {later}",
            "PROJECT=$PROJECT": f"PROJECT={bare.project}",
            "--project $PROJECT": f"--project {bare.project}",
            "--project PROJECT": f"--project {bare.project}",
            "my-project": bare.project,
            "my-bucket": bare.project,
            "--namespace NAMESPACE": "--namespace web",
            "$LOCATION": "US",
            "EVENT_ID": "e1",
            "019ac2d0-…": "e1",
            "'…'": "'SELECT 1 AS one'",
            "3f0c…": "3f0c",
            "by YOU": "by me",
            "ADD COLUMN IF NOT EXISTS COLUMN TYPE": "ADD COLUMN IF NOT EXISTS extra STRING",
            "ALTER COLUMN COLUMN": "ALTER COLUMN event_id",
            "DATASET.TABLE": "pixelpipe.events",
            "DATASET": "pixelpipe",
            **SHORTER,
        }
        assert requests.get(f"{url}/pixel.gif?user_id=bob&event_id=e1&type=view", timeout=60).status_code == 200
        bare.until("SELECT COUNT(*) FROM pixelpipe.events WHERE event_id = 'e1'", 1)
        yield Desk(bare, ports, folder, env, places, now.date().isoformat())
        assert posted[0]["text"].startswith("pixelpipe since")


# What a command says that has done its work, by how it begins: the longest that fits.
SAYS = {
    "access": r'"table": "events", "row": .*"user_id":"ada"',
    "access --user-id 507f": "events: 0",
    "access --user-id ID": "events: 0",
    "bq query --use_legacy_sql=false 'ALTER": "'extra', 'STRING'",
    "bq query --use_legacy_sql=false 'SELECT `column`": r"\[",
    "bq query --use_legacy_sql=false 'SELECT reason": r"\[",
    "bq query --use_legacy_sql=false 'SELECT received_at": '"user_id": "ada"',
    "bq show": "'received_at', 'TIMESTAMP'",
    "capacity": "collector +[34] pods on average",
    "check": "schema.yaml is right",
    "check schema.yaml --against": "Provisioning it:\n.*unchanged +table pixelpipe.events_log",
    "check new.yaml --against live": "update +table pixelpipe.events_log|unchanged +table pixelpipe.events_log",
    "check schema.yaml --body": "a row of events",
    "check schema.yaml --rejects": "Rejects since 2026-03-01",
    "check schema.yaml --url": "total +12.5",
    "compact": '"message":"done"',
    "completion": "complete .*pixelpipe",
    "cost": '"total": [0-9.]+',
    "cost --hits-per-second 100 --compare": "Dataflow",
    "curl": "20[04]$",
    "curl -s localhost:9101/metrics": "pixelpipe_collector_",
    "dead count": '"hits": [0-9]+',
    "dead drop": '"dropped": ..?[0-9]+',
    "dead list": "dead letters|REASON",
    "dead replay": '"failed": 0',
    "dead show": '"reason": "odd"',
    "doctor": '"check": "topics",\\s+"text": "3 as provisioning wants them"',
    "explain": "a row of events",
    "export": "files written into",
    "forget": "receipt [0-9a-f-]{36}",
    "forget --file people.ndjson --json": '"people": 1',
    "forget --user-id 507f --dry-run": "would be deleted",
    "forget --user-id ada --dry-run": "events: [1-9][0-9]* rows would be deleted",
    "forget --user-id ada --anonymous-id": "events: [1-9][0-9]* rows deleted",
    "help": "usage: ",
    "ingest": '"published": 1',
    "ingest --dry-run": '"hits": 1, "published": 0',
    "ingest --project PROJECT --dry-run": '"hits": 1, "published": 0',
    "init": "tables:\\n  events:",
    "KEY": r"key: [0-9a-f]{32}\n.*sha256:[0-9a-f]{64}",
    "ledger": '"missing": 0',
    "ledger --promql": '"missing": "clamp_min',
    "load": '"lost": 0, "duplicated": 0',
    "make query SQL='SELECT user_id, type FROM": r"ada +order",
    "make query SQL='SELECT user_id, type, JSON": r"ada +order",
    "make query SQL='SELECT user_id, type, total": r"ada +order +12.5",
    "printf": "e140d30abe0c4971e44d07ede7accac457b927da75520c69ae5b981c62209055",
    "privacy": "In force: preset balanced",
    "local query": '"one": 1',
    "provision": "(?:unchanged|create|update) +table pixelpipe.events_log",
    "provision iam": "gcloud pubsub topics add-iam-policy-binding",
    "provision iam --project my-project --namespace web --format terraform": 'resource "google_',
    "provision policies": "",
    "reconcile": "nothing is missing",
    "replay": '"failed": 0',
    "replay --archive": '"broken": ..,',
    "replay --dry-run": '"to_publish": [0-9]+',
    "replay --reason wrong_type --dry-run": '"to_publish": [0-9]+',
    "smoke": '"acknowledged": true, "visible_after_s": [0-9.]+',
    "tail": "tail: (?:hits|rows) of|^$",
    "trace": '"state": "loaded"',
}
LATER = ("make query", "bq query", "ledger", "reconcile")  # what is on its way has arrived within seconds
FINDS = ("doctor",)  # ends with 1 where there is something to do, as there is: dead letters


def short(text: str) -> str:
    """What of a command says which it is."""
    text = re.sub(r"^(?:PIPE_\w+=\S+ )+", "", WHOLE.get(text, text))
    text = re.sub(r"^make ops ARGS='?|^pixelpipe |^python -m (?:services\.)?(?:ops )?|^make (?=compact)", "", text)
    return "help" if text == "--help" or text.endswith(" --help") else text.replace("[", "")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a hundred commands, one after the other
def test_what_operators_type(desk: Desk) -> None:
    wrong, used, done = list[str](), set[str](), set[str]()
    for one in commands():
        name = short(one.text)
        key = max((key for key in SAYS if name.startswith(key)), key=len, default=None)
        if key is None:
            wrong.append(f"{one}\n    what does it say? Add it to SAYS")
            continue
        used.add(key)
        text = desk.here(one.text)
        if text in done:
            continue
        done.add(text)
        code, said = desk.run(text)
        end = time.monotonic() + 60
        while name.startswith(LATER) and not re.search(SAYS[key], said) and time.monotonic() < end:
            code, said = desk.run(text)
        if code not in ((0, 1) if name.startswith(FINDS) else (0,)) or not re.search(SAYS[key], said):
            wrong.append(f"{one}\n    ended with {code}, without {SAYS[key]!r}:\n{said[:2_000]}")
    assert not wrong, "\n".join(wrong)
    assert set(SAYS) == used


def test_the_release_renders() -> None:
    (command,) = re.findall(r"^ *helm upgrade --install (.*)$", SHELL, re.MULTILINE)
    assert command.startswith("pixelpipe charts/pixelpipe --namespace pixelpipe ")
    layers = [release.load(ROOT / file) for file in re.findall(r"--values (\S+)", command)]
    assert layers
    for name, text in re.findall(r'--set "?([\w.]+)=([^\s"]+)', command):
        layers.append(test_typed.assigned(name, text))
    found = release.documents(release.merged(*layers), namespace="pixelpipe")
    assert "NamedAddress, value: pixelpipe" in found["Gateway pixelpipe-collector"]
    assert 'networking.gke.io/cert-manager-certs: "pixelpipe"' in found["Gateway pixelpipe-collector"]
    assert '"track.example.com"' in found["HTTPRoute pixelpipe-collector"]
    # The images of step 3, and the accounts and the topic of the other steps.
    assert (
        f"image: us-docker.pkg.dev/my-project/pixelpipe/pixelpipe-collector:{_tag()}"
        in found["Deployment pixelpipe-collector"]
    )
    assert {"ServiceAccount pixelpipe-collector", "ServiceAccount pixelpipe-ops", "Pod pixelpipe-smoke"} <= set(found)
    assert f"topics/{resource_names.HITS_TOPIC} " in (ROOT / "docs" / "operating.md").read_text()


def _tag() -> str:
    (tag,) = set(re.findall(r"pixelpipe-\$service:(\S+)", SHELL))
    return tag


def test_an_image_is_built_for_every_part() -> None:
    assert set(re.findall(r"for service in ([\w ]+);", SHELL)) == {"collector processor loader ops"}
