"""Rule sets from the command line: Python's notation, and nothing of Python beyond it.

    SystemIO.nothing().allow_stdout()
    Custom("mine", "reboot", Rule("socket", Arg(0) == 2))
    Threads
    write

The text is parsed and walked by hand. Names are those of `isolate_fn.rules`, attributes are public ones of its values,
and that is all there is to call: no builtins, no imports, no attribute that begins with an underscore.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from isolate_fn import rules
from isolate_fn.errors import PolicyError

_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.Invert: operator.invert}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.LShift: operator.lshift,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_LONGEST_SHIFT = 63


class NotARuleSet(Exception):
    """The text is not an expression of a rule set; the message says why."""


def read_rule_set(text: str) -> rules.RuleSet | str:
    """Return the rule set that a text stands for, or the text itself where it is a plain name.

    Args:
        text: an expression, the name of a class of `isolate_fn.rules`, or of a system call.

    Raises:
        NotARuleSet: anything else.
        PolicyError: from the set that is being made.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise NotARuleSet(f"{text!r} is not an expression: {error.msg}") from None
    if isinstance(tree.body, ast.Name) and tree.body.id not in _names():
        if tree.body.id.islower():
            return tree.body.id  # a system call; whoever compiles it knows whether there is one
        raise NotARuleSet(_unknown(tree.body.id))
    try:
        value = _value(tree.body)
    except PolicyError:
        raise
    except (TypeError, ValueError) as error:
        raise NotARuleSet(f"{text}: {error}") from error
    if isinstance(value, type) and issubclass(value, rules.RuleSet):
        value = value()
    if isinstance(value, str):
        return value
    if not isinstance(value, rules.RuleSet):
        hint = "; call it: add ()" if callable(value) else ""
        raise NotARuleSet(f"{text} is not a rule set{hint}")
    return value


def _names() -> dict[str, Any]:
    return {name: value for name, value in vars(rules).items() if _is_ours(value) and not name.startswith("_")}


def _is_ours(value: object) -> bool:
    """Tell whether it belongs to the vocabulary: a class, function, value or the module of access words."""
    if isinstance(value, ModuleType):
        return value is rules.access
    owner = value if isinstance(value, type) or callable(value) else type(value)
    return str(getattr(owner, "__module__", "")).startswith("isolate_fn.policy.")


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _names(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(_names()))}"
    return f"isolate_fn.rules has no {name!r}; {hint}"


def _value(node: ast.expr) -> Any:
    """Return what an expression means; the recursion is as deep as the text is nested."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, str | int):
            return value
        case ast.Name(id=name):
            if name not in _names():
                raise NotARuleSet(_unknown(name))
            return _names()[name]
        case ast.Tuple(elts=entries) | ast.List(elts=entries) | ast.Set(elts=entries):
            return tuple(map(_value, entries))
        case ast.Attribute(value=owner, attr=name):
            return _attribute(_value(owner), name)
        case ast.Call(func=function, args=arguments, keywords=keywords):
            return _call(_value(function), arguments, keywords)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(op, _value(left), _value(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(left), _value(right))
    raise NotARuleSet(f"{ast.unparse(node)!r} is more than names, literals and calls of isolate_fn.rules")


def _attribute(owner: Any, name: str) -> Any:
    if name.startswith("_") or not _is_ours(owner):
        raise NotARuleSet(f".{name} is not a public attribute of a value of isolate_fn.rules")
    found = getattr(owner, name, None)
    if found is None:
        near = difflib.get_close_matches(name, [entry for entry in dir(owner) if not entry.startswith("_")], n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotARuleSet(f"{getattr(owner, '__name__', owner)!s} has no {name!r}{hint}")
    return found


def _call(function: Any, arguments: list[ast.expr], keywords: list[ast.keyword]) -> Any:
    if not callable(function) or not _is_ours(function):
        raise NotARuleSet(f"{function!r} cannot be called here")
    if any(keyword.arg is None for keyword in keywords):
        raise NotARuleSet("** is not understood")
    return function(*map(_value, arguments), **{str(word.arg): _value(word.value) for word in keywords})


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.LShift) and not (isinstance(right, int) and 0 <= right <= _LONGEST_SHIFT):
        raise NotARuleSet(f"shifts go from 0 to {_LONGEST_SHIFT}")
    return _BINARY[type(op)](left, right)
