"""CREATE and DROP of row access policies, which sqlglot reads as a plain command.

The filter is compiled like a WHERE of the table, so that what BigQuery could not evaluate is refused here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from emulators.bigquery.catalog import RowPolicy, Table, TableKey
from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql import dialect, translate
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.words import Words, key_of

_ASKED = re.compile(r"(CREATE(\s+OR\s+REPLACE)?|DROP(\s+ALL)?)\s+ROW\b", re.IGNORECASE)


@dataclass(frozen=True)
class PolicyChange:
    """A policy made or dropped; without `policy` and `name` all of the table are dropped."""

    kind: str  # CREATE_ROW_ACCESS_POLICY, DROP_ROW_ACCESS_POLICY, DROP_ALL_ROW_ACCESS_POLICIES
    key: TableKey
    policy: RowPolicy | None = None
    name: str = ""
    replace: bool = False  # OR REPLACE
    unless: bool = False  # IF NOT EXISTS of CREATE, IF EXISTS of DROP


def asked(node: exp.Expression) -> bool:
    return isinstance(node, exp.Command) and _ASKED.match(_text(node)) is not None


def read(node: exp.Command, context: Context) -> PolicyChange:
    """ApiError invalidQuery for any other command, and for a policy that BigQuery would not take."""
    words = Words(_text(node))
    return _create(words, context) if str(node.this).upper() == "CREATE" else _drop(words, context)


def _text(node: exp.Expression) -> str:
    rest = node.args.get("expression")  # a text, or the literal that holds it
    return f"{node.this} {rest.name if isinstance(rest, exp.Expression) else rest}"


def _create(words: Words, context: Context) -> PolicyChange:
    words.expect("CREATE")
    replace = words.take("OR", "REPLACE")
    words.expect("ROW")
    words.take("ACCESS")
    words.expect("POLICY")
    unless = words.take("IF", "NOT", "EXISTS")
    if replace and unless:
        raise invalid_query("CREATE ROW ACCESS POLICY cannot have both OR REPLACE and IF NOT EXISTS")
    name = words.name("a row access policy")
    words.expect("ON")
    key = key_of(words.until("GRANT", "FILTER"), context)
    if not words.take("GRANT", "TO"):
        raise invalid_query("Missing TO <grantee_list> clause")
    words.expect("(")
    grantees = [words.text_literal()]
    while words.take(","):
        grantees.append(words.text_literal())
    words.expect(")")
    words.expect("FILTER", "USING")
    filter_ = words.parenthesized()
    words.end()
    if not filter_:
        raise invalid_query('Syntax error: Unexpected ")" after FILTER USING (')
    _check_filter(context.catalog.table(*key), filter_, context)
    policy = RowPolicy(name, filter_, tuple(_member(grantee) for grantee in grantees))
    return PolicyChange("CREATE_ROW_ACCESS_POLICY", key, policy, name, replace, unless)


def _drop(words: Words, context: Context) -> PolicyChange:
    words.expect("DROP")
    if words.take("ALL", "ROW"):
        words.take("ACCESS")
        words.expect("POLICIES")
        words.expect("ON")
        return PolicyChange("DROP_ALL_ROW_ACCESS_POLICIES", key_of(words.until(), context))
    words.expect("ROW")
    words.take("ACCESS")
    words.expect("POLICY")
    unless = words.take("IF", "EXISTS")
    name = words.name("a row access policy")
    words.expect("ON")
    return PolicyChange("DROP_ROW_ACCESS_POLICY", key_of(words.until(), context), name=name, unless=unless)


def _check_filter(table: Table, filter_: str, context: Context) -> None:
    """The filter stands on a table, is BOOL, and reads columns that are there and not JSON."""
    if table.view is not None:
        raise invalid_query(f"Row access policies cannot be created on {table.title}, which is a VIEW")
    path = f"`{table.project}`.`{table.dataset}`.`{table.name}`"
    apart = Context(context.catalog, context.project, None, {}, [], context.now, filters_required=False)
    node = dialect.parse(f"SELECT 1 FROM {path} WHERE ({filter_}\n)")  # noqa: S608 - compiled, not run
    if not isinstance(node, exp.Select) or not isinstance(node.args.get("where"), exp.Where):
        raise invalid_query("Syntax error: FILTER USING takes one expression")
    translate.translate(node, apart)
    for column in node.args["where"].find_all(exp.Column):
        found = table.column(column.parts[0].name) or table.column(column.name)
        if found is not None and found.type == "JSON":
            raise invalid_query(f"Row access policies cannot be applied to column {found.name} of type JSON")


def _member(text: str) -> str:
    """ApiError where it has not the form of an IAM member; whether it exists nobody knows here."""
    kind, colon, rest = text.partition(":")
    if text in ("allUsers", "allAuthenticatedUsers"):
        return text
    if not colon or not rest or kind not in ("user", "group", "serviceAccount", "domain", "principal", "principalSet"):
        raise invalid_query(f"Invalid grantee: {text[:200]}")
    return text
