"""The grammar of SnQL, for lark's LALR(1) parser. Pure.

It is the published grammar and the additions that the seed's examples need: comments, `as` in any case, an
alias on any expression, `GROUP BY` before or after WHERE, ORDER BY without a direction, and a plain SELECT.
Keywords are words in any case; a name that is a reserved one is written in backticks.
"""

from __future__ import annotations

from typing import Final

#: Words of the language. Each is a terminal of its own name.
KEYWORDS: Final = (
    "MATCH", "SELECT", "FROM", "BY", "GROUP", "WHERE", "HAVING", "ORDER", "ASC", "DESC", "LIMIT", "OFFSET",
    "GRANULARITY", "TOTALS", "AS", "AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "TRUE", "FALSE",
)  # fmt: skip
#: Those that are a name in backticks alone; the others are names wherever no keyword fits.
RESERVED: Final = ("SELECT", "FROM", "BY", "WHERE", "HAVING", "AS", "NOT", "IS")
#: And those that are functions, too, where an expression begins: `and(a, b)`.
OPERATORS: Final = ("AND", "OR", "IN", "LIKE")

_RULES: Final = r"""
start: match select table by filtered having order limits offset granularity totals

match:                          -> nothing
    | MATCH "(" [label] name ")"
label: name ":"
select: SELECT items
table:                          -> nothing
    | FROM name
by:                             -> nothing
    | [GROUP] BY items
filtered:                       -> nothing
    | WHERE expr by
having:                         -> nothing
    | HAVING expr
order:                          -> nothing
    | ORDER BY ordering ("," ordering)*
ordering: expr [ASC | DESC]
limits:                         -> nothing
    | LIMIT INT                 -> limit
    | LIMIT INT BY items        -> limit_by
    | LIMIT INT BY items LIMIT INT -> both_limits
offset:                         -> nothing
    | OFFSET INT
granularity:                    -> nothing
    | GRANULARITY INT
totals:                         -> nothing
    | TOTALS [TRUE | FALSE]

items: item ("," item)*
item: expr [AS name]

?expr: any_of
any_of: all_of (OR all_of)*
all_of: _negatable (AND _negatable)*
_negatable: negation | comparison
negation: NOT _negatable
comparison: sum
    | sum COMPARES sum          -> compares
    | sum IN sum                -> within
    | sum NOT IN sum            -> not_within
    | sum LIKE sum              -> like
    | sum NOT LIKE sum          -> not_like
    | sum IS NULL               -> is_null
    | sum IS NOT NULL           -> is_not_null
?sum: product
    | sum "+" product           -> plus
    | sum "-" product           -> minus
?product: unary
    | product "*" unary         -> multiply
    | product "/" unary         -> divide
    | product "%" unary         -> modulo
?unary: primary
    | "-" unary                 -> negate
?primary: constant
    | name                      -> column
    | name "[" tag_key "]"      -> tag
    | name "(" [items] ")"      -> call
    | name "(" [items] ")" "(" [items] ")" -> parametric
    | "(" item ")"              -> group
    | "(" item ("," item)+ ")"  -> tuple
    | "[" [items] "]"           -> tuple_of

constant: INT -> integer
    | FLOAT   -> number
    | STRING  -> string
    | NULL    -> null
    | TRUE    -> true
    | FALSE   -> false
tag_key: INT -> integer
    | STRING -> string
    | DOUBLE_QUOTED -> string
    | name   -> key_name
name: NAME | QUOTED_NAME

COMPARES: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NAME: /(?!(?i:RESERVED)(?![A-Za-z0-9_.]))(?!(?i:OPERATORS)(?![A-Za-z0-9_.]|\s*\())[A-Za-z_][A-Za-z0-9_.]*/
QUOTED_NAME: /`(?:[^`\\\n]|\\[^\n])+`/
STRING: /'(?:[^'\\]|\\.|'')*'/s
DOUBLE_QUOTED: /"(?:[^"\\\n]|\\[^\n])*"/
FLOAT.2: /(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+/
INT: /[0-9]+(?![0-9A-Za-z_.])/
COMMENT: /--[^\n]*/
SPACE: /[\s\u00a0]+/
%ignore COMMENT
%ignore SPACE
"""

GRAMMAR: Final = _RULES.replace("RESERVED", "|".join(RESERVED)).replace(
    "OPERATORS", "|".join(OPERATORS)
) + "".join(f"{word}.1: /{word}(?![A-Za-z0-9_.])/i\n" for word in KEYWORDS)
