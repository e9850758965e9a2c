"""NET.HOST, as GoogleSQL reads it from what need not be a URL at all."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.compiler import compile_, handles
from emulators.bigquery.sql.expr import Expr, coercible, combined, signature
from emulators.bigquery.sql.scope import Scope

MACROS = (
    # After a scheme and two slashes, or from the start, to the next slash, question mark or hash.
    r"""CREATE OR REPLACE MACRO bq_net_authority(u) AS
        regexp_extract(regexp_replace(u, '^[^/\\?#:]*:[/\\]{2}|^[/\\]{2}', ''), '^[^/\\?#]*')""",
    # Without user, port, dots before it and all but one behind it. A bracket keeps its colons.
    r"""CREATE OR REPLACE MACRO bq_net_host(u) AS nullif(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        bq_net_authority(regexp_replace(u, '^[\x00-\x20]+|[\x00-\x20]+$', '', 'g')),
        '(?s)^.*@', ''), '(?s)^(\[[^\]]*\][^:]*|\[[^\]]*$|[^:\[][^:]*|):.*$', '\1'),
        '^\.+', ''), '\.{2,}$', '.'), '')""",
)


@handles(exp.NetFunc)
def _net(node: exp.NetFunc, scope: Scope) -> Expr:
    call = node.this
    name = f"NET.{call.name.upper()}"
    if name != "NET.HOST":
        # NET.REG_DOMAIN and NET.PUBLIC_SUFFIX follow a list of suffixes that changes, and that is not here.
        raise unsupported(f"the function {name}")
    arguments = [compile_(argument, scope) for argument in call.expressions]
    if len(arguments) != 1 or not coercible(arguments[0], "STRING"):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    value = coerce(arguments[0], "STRING")
    return combined(f"bq_net_host({value.sql})", "STRING", [value])
