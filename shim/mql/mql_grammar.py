"""The grammar of MQL, for lark's LALR(1) parser. Pure."""

from __future__ import annotations

from typing import Final

GRAMMAR: Final = r"""
start: sum
?sum: product
    | sum "+" product           -> plus
    | sum "-" product           -> minus
?product: unary
    | product "*" unary         -> multiply
    | product "/" unary         -> divide
?unary: scoped
    | "-" unary                 -> negate
scoped: atom [filters] [by]
?atom: NUMBER                   -> number
    | metric
    | name "(" arguments ")"    -> call
    | name "(" arguments ")" "(" arguments ")" -> parametric
    | "(" sum ")"
arguments: sum ("," sum)*
metric: MRI | QUOTED_NAME | STRING
    | name                      -> plain_metric
name: NAME

filters: "{" [any_of] "}"
any_of: all_of (OR all_of)*
all_of: _factor (_and _factor)*
_and: AND | ","
     |
_factor: condition | negation | "(" any_of ")"
negation: "!" _factor
    | NOT _factor
condition: key ":" value
    | key ":" "[" [value ("," value)*] "]" -> any_value
key: NAME | QUOTED_NAME | STRING
value: VALUE                    -> plain_value
    | STRING                    -> quoted_value
by: BY key
    | BY "(" key ("," key)* ")"

MRI.3: /[a-z]{1,2}:[A-Za-z0-9_.-]+\/[^@\s{}(),]+@[A-Za-z0-9_.-]+/
NUMBER: /(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z_])/
NAME: /[A-Za-z_][A-Za-z0-9_.]*/
QUOTED_NAME: /`(?:[^`\\\n]|\\[^\n])+`/
STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
VALUE: /[^\s,\[\]{}()"'`:!][^\s,\[\]{}()"'`]*/
AND.2: /AND(?![A-Za-z0-9_.])/i
OR.2: /OR(?![A-Za-z0-9_.])/i
NOT.2: /NOT(?![A-Za-z0-9_.])/i
BY.2: /BY(?![A-Za-z0-9_.])/i
SPACE: /\s+/
%ignore SPACE
"""
