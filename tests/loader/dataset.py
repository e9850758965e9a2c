"""The dataset of a test in the BigQuery emulator."""

from __future__ import annotations

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.shared import resource_names, schema


class Dataset:
    """The dataset of one project, made as the schema file says."""

    def __init__(self, project: str, address: str) -> None:
        self.client = bigquery.Client(
            project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": address}
        )
        self.client.create_dataset(resource_names.DATASET)

    def table(self, made_of: schema.Table, without: str = "") -> bigquery.Table:
        """A log table of the columns in the file, but for one."""
        fields = [
            bigquery.SchemaField(column.name, column.type, mode=schema.MODES[column.required])
            for column in made_of.columns
            if column.name != without
        ]
        table = bigquery.Table(f"{self.client.project}.{resource_names.DATASET}.{made_of.log_name}", schema=fields)
        table.time_partitioning = bigquery.TimePartitioning(field=made_of.partition)
        return self.client.create_table(table)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in self.client.query_and_wait(sql)]
