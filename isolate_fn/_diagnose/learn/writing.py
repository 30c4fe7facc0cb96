"""A learned policy as text: a decorator to write above a function, and TOML."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

from isolate_fn._diagnose.learn.findings import Flag
from isolate_fn._transport.text import visible
from isolate_fn.policy.host import Host
from isolate_fn.policy.policy import Policy

_WIDTH = 118
_WORDS = frozenset(("isolated", "Limits", "Network", "Host", "ro", "rw", "tmpfs", "overlay", "file", "dev", "symlink"))
_SHOWN = 200


def decorator(policy: Policy, home: str = "") -> str:
    """Return a policy as ``@isolated(...)``, on several lines where it is long, below remarks on what cannot be written.

    Args:
        policy: the policy.
        home: module of the function, whose own names need no import.
    """
    written = _Written(policy, home)
    line = f"@isolated({', '.join(map(_in_one_line, written.options.items()))})" if written.options else "@isolated"
    lines = [line] if len(line) <= _WIDTH else ["@isolated(", *map(_broken, written.options.items()), ")"]
    return "\n".join([*written.remarks, *lines])


def imports(policy: Policy, home: str = "") -> str:
    """Return the import lines that the decorator needs beside the function's own; see `decorator`."""
    written = _Written(policy, home)
    lines = [f"import {module}" for module in sorted(written.modules)]
    for module, names in sorted(written.names.items(), key=lambda item: (item[0].partition(".")[0] == "isolate_fn", item)):
        lines.append(f"from {module} import {', '.join(sorted(names, key=str.lower))}")
    return "\n".join(lines)


class _Written:
    """Options as Python, and the names that it needs.

    Args:
        policy: the policy.
        home: as for `decorator`.

    Attributes:
        options: name -> its text; a list's elements apart.
        names: module -> what is imported from it.
        modules: those that are imported as a whole, because the name is taken.
        remarks: what has no name by which it could be written, as comments.
    """

    def __init__(self, policy: Policy, home: str) -> None:
        self.home = home
        self.names: dict[str, set[str]] = {"isolate_fn": {"isolated"}}
        self.modules: set[str] = set()
        self.remarks: list[str] = []
        plain = Policy()
        changed = [name for name in Policy.__annotations__ if getattr(policy, name) != getattr(plain, name)]
        writers: dict[str, Callable[[str, Any], str | list[str]]] = {"mounts": self._mounts, "rules": self._rules}
        writers |= {"limits": self._word, "network": self._word}
        writers |= {"returns": self._classes, "raises": self._classes, "accept": self._accept}
        writers |= {"output": self._output, "expose": self._expose}
        # Rule sets first: their names are shared by no other module's.
        self.options: dict[str, str | list[str]] = dict.fromkeys(changed, "")
        for name in sorted(changed, key=lambda name: name != "rules"):
            write = writers.get(name)
            self.options[name] = policy._show(name) if write is None else write(name, getattr(policy, name))

    def _mounts(self, name: str, value: Any) -> list[str]:
        return [self._word(name, mount) for mount in value]

    def _word(self, name: str, value: Any) -> str:
        word = repr(value).partition("(")[0]
        if word in _WORDS:
            self.names["isolate_fn"].add(word)
        return repr(value)

    def _rules(self, name: str, value: Any) -> list[str]:
        """Write rule sets, which learning makes of the package's own alone."""
        nodes = [node for entry in value for node in ast.walk(ast.parse(repr(entry), mode="eval"))]
        self.names["isolate_fn.rules"] = {node.id for node in nodes if isinstance(node, ast.Name)}
        return [repr(entry) for entry in value]

    def _classes(self, name: str, value: Any) -> str:
        return _tuple(
            _tuple(self._object(f"{name}[{index}]", each) for each in entry)
            if isinstance(entry, tuple)
            else self._object(f"{name}[{index}]", entry)
            for index, entry in enumerate(value)
        )

    def _accept(self, name: str, value: Any) -> str:
        names = [each.__name__ for each in value]
        self.names.setdefault("isolate_fn.dangerous", set()).update(names)
        return _tuple(names)

    def _output(self, name: str, value: Any) -> str:
        return repr(value) if isinstance(value, str) else self._object(name, value)

    def _expose(self, name: str, value: Any) -> str:
        parts = [f"{key!r}: {self._host(f'{name}[{key!r}]', each)}" for key, each in value.items()]
        return f"{{{', '.join(parts)}}}"

    def _host(self, where: str, each: Any) -> str:
        if not isinstance(each, Host):
            return self._object(where, each)
        self.names["isolate_fn"].add("Host")
        more = {key: value for key in ("calls", "seconds") if (value := getattr(each, key)) is not None}
        return f"Host({', '.join([self._object(where, each.function), *(f'{key}={value!r}' for key, value in more.items())])})"

    def _object(self, where: str, value: Any) -> str:
        module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__qualname__", ""))
        if not _is_there(module, name, value) or (module == "__main__" and module != self.home):
            return self._nameless(where, value)
        if module in ("builtins", self.home):
            return name
        first = name.partition(".")[0]
        others = (names for other, names in self.names.items() if other != module)
        if first in _WORDS or hasattr(builtins, first) or any(first in names for names in others):
            self.modules.add(module)
            return f"{module}.{name}"
        self.names.setdefault(module, set()).add(first)
        return name

    def _nameless(self, where: str, value: Any) -> str:
        """Write what Python reads, and `isolated` refuses."""
        name = getattr(value, "__qualname__", None) or f"a {type(value).__qualname__}"
        self.remarks.append(f"# {where}: {visible(str(name), _SHOWN)}: no import reaches it; write it where ... stands")
        return "..."


def _is_there(module: str, name: str, value: Any) -> bool:
    """Tell whether a name leads to an object, and not to another one or nowhere: lambdas, what is local, partial objects."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value or (isinstance(value, MethodType) and found == value)


def _tuple(parts: Any) -> str:
    parts = tuple(parts)
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _in_one_line(option: tuple[str, str | list[str]]) -> str:
    name, text = option
    return f"{name}={text if isinstance(text, str) else '[' + ', '.join(text) + ']'}"


def _broken(option: tuple[str, str | list[str]]) -> str:
    """Break a list that is too long for one line after each of its elements; never within one, which may hold any text."""
    line, (name, text) = _in_one_line(option), option
    if len(line) <= _WIDTH - 5 or isinstance(text, str):
        return f"    {line},"
    return "\n".join([f"    {name}=[", *(f"        {each}," for each in text), "    ],"])


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
