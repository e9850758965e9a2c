"""Labels of tables and policy tags of columns: made, brought up to date, and what others set is left alone."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud.bigquery import PolicyTagList, SchemaField

from services.provision import bindings, schema_evolution
from services.provision.config import Config
from tests.provision.schemas import USER, events, schema

TAXONOMY = "projects/p/locations/us/taxonomies/1/policyTags/"
EMAIL = f"email: {{type: STRING, from: param.email, policy_tags: {TAXONOMY}2}}"
CART = f"cart: {{type: STRUCT, from: param.c, fields: {{card: {{type: STRING, policy_tags: [{TAXONOMY}2]}}}}}}"
LABELLED = "partition: day\nlabels: {team: shop, cost-center: ''}"


def tags(project, *path: str) -> tuple[str, ...]:
    fields = project.client.get_table("pixelpipe.events_log").schema
    for name in path:
        (found,) = (one for one in fields if one.name == name)
        fields = found.fields
    return tuple(found.policy_tags.names) if found.policy_tags else ()


def test_labels_are_those_of_the_file_beside_ours_and_others(provisioned) -> None:
    project = provisioned(USER, table=LABELLED)
    wanted = {"managed-by": "pixelpipe", "team": "shop", "cost-center": ""}
    for name in ("events_log", "events"):
        table = project.client.get_table(f"pixelpipe.{name}")
        assert table.labels == wanted
        table.labels = {**table.labels, "team": "other", "own": "yes"}
        project.client.update_table(table, ["labels"])
    lines = project.settle(USER, table=LABELLED)
    assert "updated table pixelpipe.events_log: labels" in lines and "updated view pixelpipe.events: labels" in lines
    for name in ("events_log", "events"):
        assert project.client.get_table(f"pixelpipe.{name}").labels == {**wanted, "own": "yes"}
    assert {line.split()[0] for line in project.settle(USER, table=LABELLED)} == {"unchanged"}
    # What the file no longer says stays, as all else that it does not say.
    assert {line.split()[0] for line in project.settle(USER)} == {"unchanged"}
    assert project.client.get_table("pixelpipe.rejects_log").labels == {"managed-by": "pixelpipe"}


def test_policy_tags_are_made_and_brought_up_to_date(provisioned) -> None:
    project = provisioned(EMAIL, CART)
    assert tags(project, "email") == tags(project, "cart", "card") == (f"{TAXONOMY}2",)
    lines = project.settle(EMAIL.replace("policyTags/2", "policyTags/3"), CART)
    assert "updated table pixelpipe.events_log: column email: policy tag" in lines
    assert tags(project, "email") == (f"{TAXONOMY}3",) and tags(project, "cart", "card") == (f"{TAXONOMY}2",)
    # Taken out of the file it stays, and so does one that somebody set by hand.
    lines = project.settle("email: {type: STRING, from: param.email}", CART, "n: {type: INT64, from: param.n}")
    assert "updated table pixelpipe.events_log: new column n INT64" in lines
    assert tags(project, "email") == (f"{TAXONOMY}3",)


def test_a_table_that_was_there_gets_its_tag(provisioned) -> None:
    project = provisioned("email: {type: STRING, from: param.email}")
    assert tags(project, "email") == ()
    project.settle(EMAIL)
    assert tags(project, "email") == (f"{TAXONOMY}2",)


def test_a_tag_set_by_hand_is_replaced_only_by_one_of_the_file() -> None:
    mine = PolicyTagList([f"{TAXONOMY}9"])
    needed = schema_evolution.fields(events())
    have = [*needed, SchemaField("email", "STRING", mode="NULLABLE", policy_tags=mine)]
    assert schema_evolution.evolve(events("email: {type: STRING, from: param.email}"), have).changes == ()
    evolution = schema_evolution.evolve(events(EMAIL), have)
    assert evolution.changes == ("column email: policy tag",)
    assert evolution.fields[-1].policy_tags.names == (f"{TAXONOMY}2",)


def test_the_emulator_refuses_tags_that_bigquery_would(provisioned) -> None:
    project = provisioned(EMAIL)
    table = project.client.get_table("pixelpipe.events_log")
    for names in (["pii"], [f"{TAXONOMY}1", f"{TAXONOMY}2"]):
        table.schema = [
            SchemaField.from_api_repr({**one.to_api_repr(), "policyTags": {"names": names}})
            if one.name == "email"
            else one
            for one in table.schema
        ]
        with pytest.raises(exceptions.BadRequest, match="olicy tag"):
            project.client.update_table(table, ["schema"])


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ((USER,), set()),
        ((EMAIL,), {"pixelpipeTagger"}),
        ((CART,), {"pixelpipeTagger"}),
        (("x: {type: INT64, expression: 1 + 1}",), {"roles/bigquery.jobUser"}),
    ],
)
def test_the_provisioner_may_do_more_only_where_the_file_asks_for_it(columns, roles) -> None:
    bound = bindings.bindings(Config("p"), schema(*columns))
    own = {getattr(one.role, "id", one.role) for one in bound if one.account == "provision"}
    assert own == {"pixelpipeProvisioner", *roles}
