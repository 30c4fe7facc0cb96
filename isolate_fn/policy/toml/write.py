"""Policies as TOML, which reads back as an equal policy."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.host import Host
from isolate_fn.policy.limits import _SIZES, Limits
from isolate_fn.policy.mounts import Mount
from isolate_fn.policy.network import Network
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.toml.locate import _BARE_KEY
from isolate_fn.policy.toml.objects import name_of
from isolate_fn.policy.toml.rules import write_rule_set

_TABLES = ("limits", "env", "expose")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_WIDTH = 100


def to_text(policy: Policy, table: str = "") -> str:
    """Return a policy as TOML; see `Policy.to_toml`."""
    plain = Policy()
    said = {
        name: _WRITERS.get(name, _as_it_is)(getattr(policy, name))
        for name in Policy.__annotations__
        if getattr(policy, name) != getattr(plain, name)
    }
    lines = [f"[{table}]"] if table else []
    lines += [line for name, value in said.items() if name not in _TABLES for line in _pair(name, value)]
    for name in _TABLES:
        if name in said:
            lines += ["", f"[{table}.{name}]" if table else f"[{name}]"]
            lines += [line for key, value in said[name].items() for line in _pair(key, value)]
    return "\n".join(lines).strip("\n") + "\n"


def _pair(key: str, value: Any) -> Iterator[str]:
    """Write a key: a list that is long, or whose elements are tables, with an element on each line."""
    start = f"{_key(key)} = "
    text = _value(value)
    if (
        isinstance(value, list)
        and value
        and (len(start + text) > _WIDTH or any(isinstance(one, dict) for one in value))
    ):
        yield f"{start}["
        yield from (f"    {_value(one)}," for one in value)
        yield "]"
    else:
        yield start + text


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PolicyError("to_toml", f"{text!r} is no text: TOML is UTF-8", "rename what is not")
    plain = (_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else c) for c in text)
    return f'"{"".join(plain)}"'


def _as_it_is(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _mounts(value: tuple[Mount, ...]) -> list[Any]:
    return [_mount(mount) for mount in value]


def _mount(mount: Mount) -> Any:
    found: dict[str, Any] = {mount.word: mount.source or mount.destination}
    if mount.source and mount.moved:
        found["dst"] = mount.destination
    if mount.word == "tmpfs":
        found["size"] = checks.show_size(mount.size)
    if mount.word == "symlink":
        found["target"] = mount.target
    if mount.word == "file":
        found |= _content(mount.data)
    found |= {flag: True for flag in ("noexec", "optional", "allow_code") if getattr(mount, flag)}
    return mount.source if list(found) == ["ro"] else found


def _content(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _limits(value: Limits) -> dict[str, Any]:
    plain, found = Limits(), {}
    for name in Limits.__annotations__:
        each = getattr(value, name)
        if each != getattr(plain, name):
            found[name] = "none" if each is None else checks.show_size(each) if name in _SIZES else each
    return found


def _network(value: bool | Network) -> Any:
    if isinstance(value, bool):
        return value
    found: dict[str, Any] = {"connect": list(value.connect)} if value.connect else {}
    found |= {"loopback": list(value.loopback)} if value.loopback else {}
    return found | ({"dns": True} if value.dns else {})


def _returns(value: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for index, entry in enumerate(value):
        if isinstance(entry, tuple):
            keys = zip(("class", "encode", "decode"), entry, strict=True)
            found.append({key: name_of(each, f"returns[{index}]") for key, each in keys})
        else:
            found.append(name_of(entry, f"returns[{index}]"))
    return found


def _raises(value: tuple[Any, ...]) -> list[Any]:
    return [name_of(entry, f"raises[{index}]") for index, entry in enumerate(value)]


def _output(value: Any) -> Any:
    return value if isinstance(value, str) else {"call": name_of(value, "output")}


def _require(value: frozenset[str] | None) -> list[str]:
    return sorted(value or ())


def _accept(value: tuple[type, ...]) -> list[str]:
    return [f"isolate_fn.dangerous.{token.__name__}" for token in value]


def _expose(value: Any) -> dict[str, Any]:
    return {name: _host(name, each) for name, each in value.items()}


def _host(name: str, each: Any) -> Any:
    field = f"expose[{name!r}]"
    if not isinstance(each, Host):
        return name_of(each, field)
    more = {key: value for key in ("calls", "seconds") if (value := getattr(each, key)) is not None}
    return {"function": name_of(each.function, field), **more}


def _rules(value: tuple[Any, ...]) -> list[Any]:
    return [write_rule_set(entry, f"rules[{index}]") for index, entry in enumerate(value)]


_WRITERS: dict[str, Any] = {
    "mounts": _mounts,
    "limits": _limits,
    "network": _network,
    "returns": _returns,
    "raises": _raises,
    "output": _output,
    "require": _require,
    "accept": _accept,
    "expose": _expose,
    "rules": _rules,
}
