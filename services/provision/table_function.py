"""BigQuery: a table function for analysts, unless there is a routine of its name that is not ours."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import Routine, RoutineArgument, StandardSqlDataType
from google.cloud.bigquery.enums import StandardSqlTypeNames as Kinds

from services.provision.analyst_views import AnalystView
from services.provision.resource import CALL, Step
from services.shared.schema import Schema

KIND = "TABLE_VALUED_FUNCTION"
OURS = " (managed-by: pixelpipe)"  # at the end of the description, since a routine has no labels
# An update replaces the routine: https://cloud.google.com/bigquery/docs/reference/rest/v2/routines/update
_FIELDS = ("type_", "language", "arguments", "body", "description")


class TableFunction:
    def __init__(self, client: Any, project: str, dataset: str, wanted: AnalystView, schema: Schema) -> None:
        self._client, self._wanted, self._missing = client, wanted, wanted.missing(schema)
        self._routine = Routine(
            bigquery.DatasetReference(project, dataset).routine(wanted.name),
            type_=KIND,
            language="SQL",
            arguments=[
                RoutineArgument(name=name, data_type=_data_type(one.type)) for name, one in wanted.arguments.items()
            ],
            description=wanted.description + OURS,
        )
        self.name, self.source = f"table function {dataset}.{wanted.name}", "`views` in the schema file"
        if self._missing is None:
            self._routine.body = wanted.sql(schema, project, dataset)

    def plan(self) -> Step:
        if self._missing:
            return Step("keep", f"left out: {self._missing}")
        wanted = self._routine
        try:
            found = self._client.get_routine(wanted.reference, **CALL)
        except exceptions.NotFound:
            return Step("create", self._wanted.description, lambda: self._client.create_routine(wanted, **CALL))
        if found.type_ != KIND or not (found.description or "").endswith(OURS):
            return Step("keep", f"left out: there is a {found.type_} of this name that is not ours")
        changed = [
            text
            for text, same in (
                ("SQL", (found.body or "").strip() == wanted.body),
                ("arguments", _signature(found) == _signature(wanted)),
                ("description", found.description == wanted.description),
            )
            if not same
        ]
        return Step("update", ", ".join(changed), lambda: self._replace(found)) if changed else Step("keep")

    def _replace(self, found: Any) -> None:
        """With the etag of `found`, so nothing that another run changed meanwhile is undone."""
        for field in _FIELDS:
            setattr(found, field, getattr(self._routine, field))
        self._client.update_routine(found, list(_FIELDS), **CALL)


def _data_type(type_: str) -> StandardSqlDataType:
    if type_.startswith("ARRAY<"):
        return StandardSqlDataType(Kinds.ARRAY, array_element_type=_data_type(type_[len("ARRAY<") : -1]))
    return StandardSqlDataType(Kinds[type_])


def _signature(routine: Any) -> list[tuple[str, Any]]:
    return [(one.name, one.data_type.to_api_repr()) for one in routine.arguments]
