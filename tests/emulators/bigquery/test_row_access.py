"""Row access policies and authorized views: taken, kept and refused as BigQuery does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import AccessEntry, SchemaField
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery.oracle import SqlRefused, Table, oracle

FIELDS = [
    SchemaField("day", "DATE", "REQUIRED"),
    SchemaField("tenant", "STRING"),
    SchemaField("n", "INTEGER"),
    SchemaField("ok", "BOOLEAN"),
    SchemaField("params", "JSON"),
]
KNOWN = Table("p.d.t", {"day": "DATE", "tenant": "STRING", "n": "INT64", "ok": "BOOL", "params": "JSON"})
JSON = {"Content-Type": "application/json"}
GOOD = "CREATE ROW ACCESS POLICY p ON d.t GRANT TO ('user:a@example.com') FILTER USING (tenant = 'shop')"


class Policies:
    """One project's table `d.t`, and its policies by the REST API."""

    def __init__(self, rest: str, project: str) -> None:
        self.client = desk.client(rest, project)
        self.project = f"{rest}/bigquery/v2/projects/{project}"
        self.dataset = f"{self.project}/datasets/d"
        self._url = f"{self.dataset}/tables/t/rowAccessPolicies"
        desk.table(self.client, fields=FIELDS)

    def run(self, sql: str) -> bigquery.QueryJob:
        job = self.client.query(sql)
        job.result()
        return job

    def listed(self, **asked: Any) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(self._url, params=asked, timeout=60).json()
        return found

    def filters(self) -> dict[str, str]:
        listed = self.listed()["rowAccessPolicies"]
        return {one["rowAccessPolicyReference"]["policyId"]: one["filterPredicate"] for one in listed}

    def members(self, name: str) -> list[str]:
        answer = requests.post(f"{self._url}/{name}:getIamPolicy", json={}, timeout=60)
        answer.raise_for_status()
        (binding,) = answer.json()["bindings"]
        assert binding["role"] == "roles/bigquery.filteredDataViewer"
        return list(binding["members"])


@pytest.fixture
def policies(bigquery_host: BigQueryAddress, project: str) -> Policies:
    return Policies(bigquery_host.rest, project)


def test_a_policy_is_made_replaced_listed_and_dropped(policies: Policies) -> None:
    made = policies.run(GOOD)
    assert (made.statement_type, made.ddl_operation_performed) == ("CREATE_ROW_ACCESS_POLICY", "CREATE")
    policies.run(
        "CREATE ROW ACCESS POLICY everything ON `d.t` GRANT TO ('group:a@b.c', \"domain:b.c\") FILTER USING (TRUE)"
    )
    assert policies.filters() == {"everything": "TRUE", "p": "tenant = 'shop'"}
    assert policies.members("everything") == ["group:a@b.c", "domain:b.c"]
    first = policies.listed(pageSize=1)
    assert [one["rowAccessPolicyReference"]["policyId"] for one in first["rowAccessPolicies"]] == ["everything"]
    rest = policies.listed(pageSize=1, pageToken=first["nextPageToken"])
    assert rest["rowAccessPolicies"][0]["rowAccessPolicyReference"]["policyId"] == "p" and "nextPageToken" not in rest

    changed = policies.run(GOOD.replace("CREATE", "CREATE OR REPLACE").replace("a@example.com", "b@example.com"))
    assert changed.ddl_operation_performed == "REPLACE"
    assert policies.members("p") == ["user:b@example.com"]
    assert policies.run(GOOD.replace("POLICY", "POLICY IF NOT EXISTS")).ddl_operation_performed == "SKIP"
    with pytest.raises(Conflict, match="Already Exists: Row access policy p"):
        policies.run(GOOD)

    assert policies.run("DROP ROW ACCESS POLICY p ON d.t").ddl_operation_performed == "DROP"
    assert policies.run("DROP ROW ACCESS POLICY IF EXISTS p ON d.t").ddl_operation_performed == "SKIP"
    with pytest.raises(NotFound, match="Row access policy p"):
        policies.run("DROP ROW ACCESS POLICY p ON d.t")
    with pytest.raises(BadRequest, match="DROP ALL ROW ACCESS POLICIES"):  # the last would open the table by accident
        policies.run("DROP ROW ACCESS POLICY everything ON d.t")
    policies.run("DROP ALL ROW ACCESS POLICIES ON d.t")
    assert policies.filters() == {}


def test_policies_outlive_a_change_of_the_table_and_leave_its_etag_alone(policies: Policies) -> None:
    before = policies.client.get_table("d.t")
    policies.run(GOOD)
    assert policies.client.get_table("d.t").etag == before.etag
    before.description = "changed"
    policies.client.update_table(before, ["description"])
    policies.run("ALTER TABLE d.t ADD COLUMN more STRING")
    policies.run("TRUNCATE TABLE d.t")
    assert policies.filters() == {"p": "tenant = 'shop'"}
    policies.client.delete_table("d.t")
    desk.table(policies.client, fields=FIELDS)
    assert policies.filters() == {}


# What each text is refused with. GoogleSQL refuses them too, but for those that only BigQuery can know.
REFUSED = {
    "column": (GOOD.replace("tenant =", "tennant ="), "tennant"),
    "type": (GOOD.replace("'shop'", "1"), "(?i)no matching signature|type"),
    "no boolean": (GOOD.replace("tenant = 'shop'", "n"), "BOOL"),
    "aggregate": (GOOD.replace("tenant = 'shop'", "COUNT(*) > 1"), "(?i)aggregat"),
    "no filter": (GOOD.partition(" FILTER")[0], "FILTER"),
    "no parentheses": (GOOD.replace("(tenant = 'shop')", "TRUE"), "Expected"),
    "more behind": (GOOD + " OR TRUE", "end of statement"),
    "unclosed": (GOOD[:-1], "Expected"),
    "empty": (GOOD.replace("tenant = 'shop'", ""), "(?i)syntax"),
    "two filters": (GOOD.replace("tenant = 'shop'", "TRUE) OR (TRUE"), "end of statement"),
    "nobody": (GOOD.replace("'user:a@example.com'", ""), "string literal"),
    "no grantees": (GOOD.replace("GRANT TO ('user:a@example.com') ", ""), "Missing TO"),
    "no table": (GOOD.replace("ON d.t ", ""), "ON"),
    "drop nothing": ("DROP ROW ACCESS POLICY p", "ON"),
    "drop all of one": ("DROP ALL ROW ACCESS POLICY ON d.t", "POLICIES"),
}
ONLY_BIGQUERY = {
    "member": (GOOD.replace("user:a", "a"), "Invalid grantee"),
    "json": (GOOD.replace("tenant = 'shop'", "JSON_VALUE(params, '$.a') = 'x'"), "of type JSON"),
    "both": (GOOD.replace("CREATE", "CREATE OR REPLACE").replace("POLICY", "POLICY IF NOT EXISTS"), "OR REPLACE"),
}


@pytest.mark.parametrize(("sql", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_googlesql_refuses_is_refused(policies: Policies, sql: str, reason: str) -> None:
    with pytest.raises(SqlRefused):
        oracle().analyze(sql, [KNOWN])
    with pytest.raises(BadRequest, match=reason):
        policies.run(sql)
    assert policies.filters() == {}


@pytest.mark.parametrize(("sql", "reason"), ONLY_BIGQUERY.values(), ids=ONLY_BIGQUERY)
def test_what_only_bigquery_refuses_is_refused(policies: Policies, sql: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        policies.run(sql)
    assert policies.filters() == {}


TAKEN = {
    "as written": GOOD,
    "lower case": GOOD.replace("CREATE ROW ACCESS POLICY", "create row access policy"),
    "parentheses and quotes": GOOD.replace("'shop'", "IF(n > 1, ')', '(')"),
    "comment": GOOD.replace("'shop'", "'shop' -- not ) this\n"),
    "boolean column": GOOD.replace("tenant = 'shop'", "ok"),
    "several": GOOD.replace("('user:a@example.com')", "('user:a@example.com', 'serviceAccount:s@p.iam.example.com')"),
    "federated": GOOD.replace("user:a@example.com", "principal://iam.googleapis.com/projects/1/subject/ns/web/sa/x"),
    "quoted table": GOOD.replace("d.t", "`d`.`t`"),
}


@pytest.mark.parametrize("sql", TAKEN.values(), ids=TAKEN)
def test_what_googlesql_takes_is_taken(policies: Policies, sql: str) -> None:
    oracle().analyze(sql, [KNOWN])
    policies.run(sql)
    (filter_,) = policies.filters().values()
    assert filter_ == sql[sql.index("USING (") + 7 : -1].strip()


PIECES = [
    *(
        "CREATE",
        "OR REPLACE",
        "ROW",
        "ACCESS",
        "POLICY",
        "IF NOT EXISTS",
        "p",
        "`a b`",
        "ON",
        "d.t",
        "`d.t`",
        "GRANT TO",
    ),
    *("('user:a@b.c')", "(", ")", ",", "'", "''", "FILTER USING", "(TRUE)", "tenant", "= 'shop'", "SELECT", "--", "/*"),
    *("DROP", "ALL", "POLICIES", "IF EXISTS", "\x00", "😀", "ROW ACCESS POLICY p ON d.t", "(SELECT 1)", "?", "@x"),
]
ALMOST = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: " ".join(["CREATE ROW ACCESS POLICY", *pieces])),
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda pieces: " ".join(["DROP", *pieces])),
    st.builds(
        lambda cut, piece, size: f"{GOOD[:cut]} {piece} {GOOD[cut + size :]}",
        st.integers(0, len(GOOD)),
        st.sampled_from(PIECES),
        st.integers(0, 20),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=ALMOST)
def test_what_is_almost_a_policy_gets_an_answer(policies: Policies, sql: str) -> None:
    """One that is taken is one for GoogleSQL too."""
    policies.run("DROP ALL ROW ACCESS POLICIES ON d.t")
    body = json.dumps({"query": sql, "useLegacySql": False})
    answer = requests.post(f"{policies.project}/queries", data=body, headers=JSON, timeout=60)
    assert answer.status_code in (200, 400, 404, 409), (sql, answer.text)
    if answer.status_code == 200:
        oracle().analyze(sql, [KNOWN])


def test_other_statements_are_refused_by_their_name(policies: Policies) -> None:
    with pytest.raises(BadRequest, match="does not support CREATE MODEL"):
        policies.run("CREATE MODEL d.m OPTIONS (model_type = 'x') AS SELECT 1")


def test_no_policy_for_a_view_or_a_table_that_is_not_there(policies: Policies) -> None:
    policies.run("CREATE VIEW d.v AS SELECT tenant FROM d.t")
    with pytest.raises(BadRequest, match="VIEW"):
        policies.run(GOOD.replace("d.t", "d.v"))
    with pytest.raises(NotFound):
        policies.run(GOOD.replace("d.t", "d.x"))


def entries(client: bigquery.Client, name: str = "d") -> list[tuple[str | None, str, Any]]:
    return [(entry.role, entry.entity_type, entry.entity_id) for entry in client.get_dataset(name).access_entries]


def test_access_entries_are_kept_and_a_stale_change_of_them_is_refused(policies: Policies) -> None:
    client = policies.client
    policies.run("CREATE VIEW d.v AS SELECT tenant FROM d.t")
    dataset, stale = client.get_dataset("d"), client.get_dataset("d")
    default = list(dataset.access_entries)
    view = {"projectId": client.project, "datasetId": "d", "tableId": "v"}
    dataset.access_entries = [
        *default,
        AccessEntry("roles/bigquery.dataViewer", "groupByEmail", "shop@example.com"),
        AccessEntry(None, "view", view),
    ]
    client.update_dataset(dataset, ["access_entries"])
    assert entries(client)[len(default) :] == [
        ("READER", "groupByEmail", "shop@example.com"),
        (None, "view", view),
    ]
    stale.access_entries = []
    with pytest.raises(PreconditionFailed):
        client.update_dataset(stale, ["access_entries"])


VIEW = {"projectId": "PROJECT", "datasetId": "d", "tableId": "t"}
WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "two entities": ({"role": "READER", "userByEmail": "a@b.c", "domain": "b.c"}, 400),
    "none": ({"role": "READER"}, 400),
    "no role": ({"userByEmail": "a@b.c"}, 400),
    "strange role": ({"role": "READ", "userByEmail": "a@b.c"}, 400),
    "group": ({"role": "READER", "specialGroup": "everyone"}, 400),
    "a view with a role": ({"role": "READER", "view": VIEW}, 400),
    "a table as a view": ({"view": VIEW}, 400),
    "no such view": ({"view": {**VIEW, "tableId": "x"}}, 404),
    "half a view": ({"view": {"tableId": "x"}}, 400),
}


@pytest.mark.parametrize(("entry", "status"), WRONG.values(), ids=WRONG)
def test_a_wrong_access_entry_is_refused(policies: Policies, entry: dict[str, Any], status: int) -> None:
    before = entries(policies.client)
    text = json.dumps({"access": [entry]}).replace("PROJECT", policies.client.project)
    answer = requests.patch(policies.dataset, data=text, headers=JSON, timeout=60)
    assert answer.status_code == status, answer.text
    assert entries(policies.client) == before
