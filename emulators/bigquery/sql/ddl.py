"""CREATE, DROP and ALTER to what the REST API would be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import named_throughout
from emulators.bigquery.sql import dialect, translate
from emulators.bigquery.sql.casts import sql_type
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.translate import Query

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Definition:
    """A change of the catalog."""

    kind: str  # CREATE_TABLE, CREATE_TABLE_AS_SELECT, CREATE_VIEW, DROP_TABLE, DROP_VIEW, ALTER_TABLE
    key: Key
    body: dict[str, Any] = field(default_factory=dict)  # as tables.insert takes it
    query: Query | None = None
    replace: bool = False  # OR REPLACE
    unless: bool = False  # IF NOT EXISTS of CREATE, IF EXISTS of DROP and ALTER
    added: tuple[tuple[dict[str, Any], bool], ...] = ()  # fields, and whether IF NOT EXISTS


def read(node: exp.Expression, context: Context) -> Definition:
    if isinstance(node, exp.Create):
        return _create(node, context)
    if isinstance(node, exp.Drop):
        return _drop(node, context)
    if isinstance(node, exp.Alter):
        return _alter(node, context)
    raise unsupported(f"this statement: {node.sql(dialect='bigquery')[:200]}")


def _key(node: exp.Expression | None, context: Context) -> Key:
    if not isinstance(node, exp.Table):
        raise invalid_query("Syntax error: a table name is expected")
    only(node, "this", "db", "catalog")
    if node.db:
        return node.catalog or context.project, node.db, node.name
    if context.default is None:
        raise invalid_query(f'Table "{node.name}" must be qualified with a dataset (e.g. dataset.table).')
    return *context.default, node.name


def _create(node: exp.Create, context: Context) -> Definition:
    only(node, "this", "kind", "replace", "expression", "exists", "properties")
    kind = str(node.args.get("kind")).upper()
    if kind not in ("TABLE", "VIEW"):
        raise unsupported(f"CREATE {kind}")
    schema = node.this if isinstance(node.this, exp.Schema) else None
    key = _key(schema.this if schema is not None else node.this, context)
    body = _properties(node.args.get("properties"), kind)
    replace, unless = bool(node.args.get("replace")), bool(node.args.get("exists"))
    expression = node.args.get("expression")
    if kind == "VIEW":
        if schema is not None or expression is None:
            raise unsupported("CREATE VIEW with a list of columns")
        text = expression.sql(dialect="bigquery")
        if dialect.parse(text) != expression:
            raise unsupported(
                "CREATE VIEW of this query: create the view through the API, which takes its text as it is"
            )
        body["view"] = {"query": text, "useLegacySql": False}
        return Definition("CREATE_VIEW", key, body, replace=replace, unless=unless)
    query = translate.translate(expression, context) if expression is not None else None
    if schema is not None:
        body["schema"] = {"fields": [_field(item) for item in schema.expressions]}
    elif query is None:
        raise invalid_query("CREATE TABLE needs a list of columns or a query")
    else:
        for output in query.outputs:
            if not named_throughout(output.type):
                raise invalid_query(f"CREATE TABLE columns must be named, but {output.name} has a field without a name")
        body["schema"] = {"fields": query.schema()}
    if query is not None and len(query.outputs) != len(body["schema"]["fields"]):
        raise invalid_query("The list of columns and the query have different numbers of columns")
    as_select = "CREATE_TABLE_AS_SELECT" if query is not None else "CREATE_TABLE"
    return Definition(as_select, key, body, query, replace, unless)


def _field(node: exp.Expression) -> dict[str, Any]:
    if not isinstance(node, exp.ColumnDef):
        raise unsupported(f"{node.sql(dialect='bigquery')} in a list of columns")
    only(node, "this", "kind", "constraints", "exists")
    if node.kind is None:
        raise unsupported("a column without a type")
    found: dict[str, Any] = {"name": node.name, **_type(node.kind)}
    for constraint in node.args.get("constraints") or []:
        kind = constraint.args["kind"]
        if isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
            if found["mode"] == "REPEATED":
                raise invalid_query(f"NOT NULL cannot be applied to the ARRAY field {node.name}")
            found["mode"] = "REQUIRED"
        elif isinstance(kind, exp.Properties):
            options = _options(kind.expressions)
            found["description"] = options.pop("description", None)
            if options:
                raise unsupported(f"the column options {', '.join(options)}")
        else:
            raise unsupported(f"{constraint.sql(dialect='bigquery')} of a column")
    return found


def _type(node: exp.DataType) -> dict[str, Any]:
    """Type, mode and fields of a column, as the REST API spells them."""
    kind = exp.DataType.Type
    if node.this == kind.ARRAY and len(node.expressions) == 1:
        inner = node.expressions[0]
        if inner.this == kind.ARRAY:
            raise invalid_query("Array of array types are not supported")
        return {**_type(inner), "mode": "REPEATED"}
    if node.this == kind.STRUCT and node.expressions:
        return {"type": "RECORD", "mode": "NULLABLE", "fields": [_field(item) for item in node.expressions]}
    return {"type": sql_type(node), "mode": "NULLABLE"}


def _options(nodes: list[exp.Expression]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in nodes:
        value = node.args.get("value")
        if isinstance(value, exp.Literal) and value.is_string:
            found[node.name.lower()] = value.this
        elif isinstance(value, exp.Boolean):
            found[node.name.lower()] = bool(value.this)
        else:
            raise unsupported(f"the option {node.sql(dialect='bigquery')}")
    return found


def _properties(node: exp.Expression | None, kind: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    options: list[exp.Expression] = []
    for item in node.expressions if node is not None else []:
        if isinstance(item, exp.PartitionedByProperty) and kind == "TABLE":
            body["timePartitioning"] = {"type": "DAY", "field": _partition(item.this)}
        elif isinstance(item, exp.Cluster | exp.ClusterProperty) and kind == "TABLE":
            body["clustering"] = {"fields": [column.name for column in item.expressions]}
        elif type(item) is exp.Property:
            options.append(item)
        else:
            raise unsupported(f"{item.sql(dialect='bigquery')} in CREATE {kind}")
    for name, value in _options(options).items():
        if name in ("description", "friendly_name"):
            body["friendlyName" if name == "friendly_name" else name] = value
        elif name == "require_partition_filter" and kind == "TABLE":
            body["requirePartitionFilter"] = value
        else:
            raise unsupported(f"the option {name} in CREATE {kind}")
    return body


def _partition(node: exp.Expression) -> str:
    """The column of PARTITION BY day, DATE(ts) or TIMESTAMP_TRUNC(ts, DAY)."""
    if isinstance(node, exp.Identifier) or (isinstance(node, exp.Column) and not node.table):
        return node.name
    if isinstance(node, exp.Anonymous) and node.expressions and isinstance(node.expressions[0], exp.Column):
        part = node.expressions[1].name.upper() if len(node.expressions) == 2 else ""
        if (node.name.upper(), part) in (("DATE", ""), ("TIMESTAMP_TRUNC", "DAY")):
            return node.expressions[0].name
    raise unsupported(f"PARTITION BY {node.sql(dialect='bigquery')}")


def _drop(node: exp.Drop, context: Context) -> Definition:
    only(node, "tables", "this", "kind", "exists")
    kind = str(node.args.get("kind")).upper()
    tables = node.args.get("tables") or [node.this]
    if kind not in ("TABLE", "VIEW") or len(tables) != 1:
        raise unsupported(f"DROP {kind}")
    return Definition(f"DROP_{kind}", _key(tables[0], context), unless=bool(node.args.get("exists")))


def _alter(node: exp.Alter, context: Context) -> Definition:
    only(node, "this", "kind", "actions", "exists")
    if str(node.args.get("kind")).upper() != "TABLE":
        raise unsupported(f"ALTER {node.args.get('kind')}")
    added: list[tuple[dict[str, Any], bool]] = []
    for action in node.args.get("actions") or []:
        if not isinstance(action, exp.ColumnDef):
            raise unsupported(f"ALTER TABLE {action.sql(dialect='bigquery')}: only ADD COLUMN")
        added.append((_field(action), bool(action.args.get("exists"))))
    key = _key(node.this, context)
    return Definition("ALTER_TABLE", key, unless=bool(node.args.get("exists")), added=tuple(added))
