"""Which parts of a node of the syntax tree are read; a part that no one reads would be dropped without a word."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

# Beside `this` and `expression`, which every node may have.
PARTS: dict[type[Any], tuple[str, ...]] = {
    exp.Literal: ("this", "is_string"),
    exp.HexString: ("this", "is_integer"),
    exp.Column: ("this", "table", "db", "catalog"),
    exp.Cast: ("this", "to"),
    exp.TryCast: ("this", "to", "safe"),
    exp.ParseJSON: ("this", "is_literal"),
    exp.Array: ("expressions", "struct_name_inheritance", "value_constructor"),
    exp.Bracket: ("this", "expressions", "offset", "safe"),
    exp.If: ("this", "true", "false"),
    exp.Case: ("this", "ifs", "default"),
    exp.Like: ("this", "expression", "negate"),
    exp.Between: ("this", "low", "high"),
    exp.In: ("this", "expressions", "query", "unnest"),
    exp.DPipe: ("this", "expression", "safe"),
    exp.Div: ("this", "expression", "typed", "safe"),
    exp.Window: ("this", "partition_by", "order", "spec", "alias", "over"),
    exp.Anonymous: ("this", "expressions"),
    exp.NetFunc: ("this",),
    exp.Tuple: ("expressions",),
    exp.Struct: ("expressions",),
    exp.Subquery: ("this", "with_", "order", "limit", "offset"),
}
