"""The discovery document: what Google's API client makes of it, and `bq` itself where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache
import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.conftest import BigQueryAddress

URLS = ["{}/$discovery/rest?version=v2", "{}/discovery/v1/apis/bigquery/v2/rest"]
FIELDS = [
    {"name": "id", "type": "STRING", "mode": "REQUIRED"},
    {"name": "items", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "sku", "type": "STRING"}]},
]


def service(bigquery_host: BigQueryAddress, url: str) -> Any:
    return build(
        "bigquery",
        "v2",
        discoveryServiceUrl=url.format(bigquery_host.rest),
        static_discovery=False,
        cache_discovery=False,
        credentials=AnonymousCredentials(),
    )


@pytest.mark.parametrize("url", URLS)
def test_googles_api_client_is_built_from_the_document(bigquery_host: BigQueryAddress, project: str, url: str) -> None:
    api = service(bigquery_host, url)
    assert api._baseUrl == f"{bigquery_host.rest}/bigquery/v2/"
    place = {"projectId": project, "datasetId": "d"}
    api.datasets().insert(projectId=project, body={"datasetReference": place}).execute()
    table = {"tableReference": {**place, "tableId": "t"}, "schema": {"fields": FIELDS}}
    api.tables().insert(**place, body=table).execute()
    body = {"description": "hello", "schema": None}
    for change in (api.tables().patch, api.tables().update):
        changed = change(**place, tableId="t", body=body).execute()
        assert (changed["description"], len(changed["schema"]["fields"])) == ("hello", 2)
    query = {"query": "SELECT 1 AS n", "useLegacySql": False}
    assert api.jobs().query(projectId=project, body=query).execute()["rows"] == [{"f": [{"v": "1"}]}]
    assert api.tabledata().list(**place, tableId="t", maxResults=5).execute()["totalRows"] == "0"
    with pytest.raises(HttpError, match=r"does not support tabledata\.insertAll") as refused:
        api.tabledata().insertAll(**place, tableId="t", body={"rows": []}).execute()
    assert refused.value.status_code == 501


def test_the_document_names_what_googles_own_document_names(bigquery_host: BigQueryAddress) -> None:
    """Methods, verbs, paths and parameters are those of the document that Google publishes."""
    cache = Path(googleapiclient.discovery_cache.__file__).parent
    google = json.loads((cache / "documents/bigquery.v2.json").read_text())["resources"]
    ours = service(bigquery_host, URLS[0])._rootDesc["resources"]
    methods = [(name, call) for name, resource in ours.items() for call in resource["methods"]]
    assert len(methods) > 30
    for name, call in methods:
        here, there = ours[name]["methods"][call], google[name]["methods"][call]
        assert (here["httpMethod"], here["id"]) == (there["httpMethod"], there["id"])
        if "resource" not in there["parameters"]:
            assert here["path"] == there["path"]
            unknown = set(here["parameters"]) - set(there["parameters"])
            assert not unknown, f"{name}.{call} takes {unknown}, which Google's does not"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bq")
    (made / "token").write_text("any")
    return made


@pytest.fixture
def bq(bigquery_host: BigQueryAddress, project: str, home: Path) -> Any:
    command = shutil.which("bq")
    if command is None:
        pytest.skip("bq is not installed: it comes with the Google Cloud CLI, and from no package index")
    settings = {
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(home / "config"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(home / "token"),
    }

    def run(*words: str, status: int = 0) -> str:
        flags = [f"--api={bigquery_host.rest}", f"--project_id={project}", "--headless"]
        done = subprocess.run(
            [command, *flags, *words], capture_output=True, text=True, timeout=120, env={**os.environ, **settings}
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.timeout(400)  # each command takes seconds to start
def test_bq_makes_loads_queries_changes_and_drops(bq: Any, tmp_path: Path) -> None:
    schema, rows = tmp_path / "schema.json", tmp_path / "rows.json"
    schema.write_text(json.dumps(FIELDS))
    rows.write_text('{"id": "a", "items": [{"sku": "s"}]}\n')
    bq("mk", "d")
    bq("mk", "--table", "d.t", str(schema))
    bq("load", "--source_format=NEWLINE_DELIMITED_JSON", "d.t", str(rows))
    asked = ("query", "--nouse_legacy_sql", "--format=json", "--parameter=id::a", "SELECT * FROM d.t WHERE id = @id")
    assert json.loads(bq(*asked)) == [{"id": "a", "items": [{"sku": "s"}]}]
    bq("update", "--description", "hello", "d.t")
    shown = json.loads(bq("show", "--format=json", "d.t"))
    assert (shown["description"], shown["schema"]["fields"][1]["mode"]) == ("hello", "REPEATED")
    assert "does not support tabledata.insertAll" in " ".join(bq("insert", "d.t", str(rows), status=1).split())
    bq("rm", "-r", "-f", "d")
    assert "d" not in bq("ls").split()
