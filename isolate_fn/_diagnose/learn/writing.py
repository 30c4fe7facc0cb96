"""A learned policy as text: a decorator to write above a function, and TOML."""

from __future__ import annotations

import re
from collections.abc import Sequence

from isolate_fn._diagnose.learn.findings import Flag
from isolate_fn.policy.policy import Policy

_WIDTH = 118
_LISTS = ("mounts", "rules")
_NAMES = re.compile(r"\b(Limits|Network|Policy|ro|rw|tmpfs|overlay|file|dev|symlink)\(")
_SETS = re.compile(r"\b([A-Z][A-Za-z]+)(?=\(|\.[a-z_]+\()")


def decorator(policy: Policy) -> str:
    """Return a policy as ``@isolated(...)``, on several lines where it is long."""
    plain = Policy()
    options = [
        f"{name}={_option(policy, name)}"
        for name in Policy.__annotations__
        if getattr(policy, name) != getattr(plain, name)
    ]
    line = f"@isolated({', '.join(options)})" if options else "@isolated"
    if len(line) <= _WIDTH:
        return line
    names = [option.partition("=")[0] for option in options]
    return "\n".join(["@isolated(", *(f"    {_broken(policy, name)}," for name in names), ")"])


def imports(policy: Policy) -> str:
    """Return the import lines that the decorator needs beside the function's own."""
    text = decorator(policy)
    names = sorted({"isolated", *_NAMES.findall(text)}, key=str.lower)
    lines = [f"from isolate_fn import {', '.join(names)}"]
    if policy.rules is not None:
        sets = sorted(set(_SETS.findall(_option(policy, "rules"))))
        lines.append(f"from isolate_fn.rules import {', '.join(sets)}")
    return "\n".join(lines)


def toml(policy: Policy, flags: Sequence[Flag]) -> str:
    """Return a policy as TOML, with remarks as comments above it."""
    lines = [f"# {flag}" for flag in flags]
    return "\n".join([*lines, _harmless(policy.to_toml())])


def _harmless(text: str) -> str:
    """Write what could steer a terminal as escapes: it can only stand in quotes."""
    return "".join(
        each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" if ord(each) < 1 << 16 else f"\\U{ord(each):08x}"
        for each in text
    )


def _option(policy: Policy, name: str) -> str:
    value = getattr(policy, name)
    if name in _LISTS and value:
        return f"[{', '.join(map(repr, value))}]"
    return policy._show(name)


def _broken(policy: Policy, name: str) -> str:
    """Break a list that is too long for one line after each of its elements; never within one, which may hold any text."""
    option = f"{name}={_option(policy, name)}"
    if len(option) <= _WIDTH - 5 or name not in _LISTS:
        return option
    return "\n".join([f"{name}=[", *(f"        {each!r}," for each in getattr(policy, name)), "    ]"])
