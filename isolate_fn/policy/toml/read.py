"""Policies from TOML files: checked against the table of keys, then said with the words of Python."""

from __future__ import annotations

import base64
import binascii
import importlib
import os
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from isolate_fn.errors import PolicyError
from isolate_fn.policy import mounts as words
from isolate_fn.policy.host import Host
from isolate_fn.policy.inside import inside
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.network import Network
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.toml.locate import lines_of
from isolate_fn.policy.toml.objects import named
from isolate_fn.policy.toml.place import File, Place, nearest
from isolate_fn.policy.toml.rules import read_rule_sets
from isolate_fn.policy.toml.vocabulary import dangers, file_shape

T = TypeVar("T")

PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = ("tool", "isolate_fn")
_PRESETS = (
    "isolate_fn.presets"  # looked up by name like all that a file names: presets are made of words, not words of them
)
_MOST_BYTES = 1 << 22  # no file of policies is as long; one that never ends would be read for ever


def load(path: str | os.PathLike[str]) -> File:
    """Read a file.

    Raises:
        PolicyError: it cannot be read, or is not TOML; names the line.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PolicyError(name, f"cannot be read: {error.strerror}", "check the path") from None
    if len(data) > _MOST_BYTES:
        raise PolicyError(name, f"is longer than {_MOST_BYTES >> 20} MiB", "name a file of policies")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at = Place(File(name, {}, {("",): data.count(b"\n", 0, error.start) + 1}), ("",))
        raise at.tell(PolicyError("", "is not UTF-8", "save it as UTF-8, as TOML demands")) from None
    return parse(text, name)


def parse(text: str, name: str) -> File:
    """Parse a document.

    Args:
        text: its content.
        name: of the file, for errors.

    Raises:
        PolicyError: it is not TOML; names the line.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        said, _, where = str(error).partition(" (at ")
        digits = "".join(char for char in where.partition(",")[0] if char.isdigit())
        line = int(digits) if digits else text.count("\n") + 1
        at = Place(File(name, {}, {("",): line}), ("",))
        failure = at.tell(PolicyError("", f"is not TOML: {said}", "see https://toml.io"))
        failure.field = "the file"
        raise failure from None
    return File(name, document, lines_of(text))


def policies_of(file: File) -> tuple[Mapping[str, Any], Place]:
    """Return the table of a file that holds policies, checked, and its place; ``[tool.isolate_fn]`` of a pyproject.toml.

    Raises:
        PolicyError: a key does not exist or has a value of the wrong type.
    """
    table: Any = file.document
    at = Place(file)
    if os.path.basename(file.name) == PROJECT_FILE:
        for key in PROJECT_TABLE:
            table, at = table.get(key, {}) if isinstance(table, dict) else {}, at.down(key)
    file_shape().check(table, at)
    options = [key for key in table if key != "policies"]
    if at.path and options:
        raise at.down(options[0]).wrong("the policy has no name", "write it into [tool.isolate_fn.policies.NAME]")
    if "policies" in table:
        if options:
            remedy = "move them into a table of their own, such as [policies.main]"
            raise at.down(options[0]).wrong("a policy without a name beside named ones", remedy)
        for name in table["policies"]:
            if name in presets():
                raise at.down("policies", name).wrong(f"{name!r} is a preset", "give it another name")
    return table, at


def from_file(path: str | os.PathLike[str], name: str | None) -> Policy:
    """Return a policy of a file; see `Policy.from_toml`."""
    if inside() and not os.path.exists(path):
        return Policy()
    table, at = policies_of(load(path))
    if name is not None:
        return named_policy(table, at, name)
    if "policies" in table or at.path:
        known = ", ".join(table.get("policies", {})) or "none"
        raise at.wrong(f"the policies here have names: {known}", "pass the name of one")
    return build(table, at, at, ())


def named_policy(table: Mapping[str, Any], at: Place, name: str) -> Policy:
    """Return one of the named policies of a file.

    Raises:
        PolicyError: there is none of that name; says which ones there are.
    """
    options = table.get("policies", {}).get(name)
    if options is None:
        raise unknown_policy(name, table.get("policies", {}), at)
    return build(options, at.down("policies", name), at, (name,))


def unknown_policy(name: str, known: Mapping[str, Any], at: Place) -> PolicyError:
    """Make the error for a policy that does not exist."""
    near = nearest(name, [*known, *presets()])
    listed = f"policies there: {', '.join(known) or 'none'}; presets: {', '.join(presets())}"
    error = at.wrong(f"there is no policy {name!r}", f"{near} {listed}" if near.startswith("did") else listed)
    error.field = "policy"
    return error


def presets() -> dict[str, Policy]:
    """Return the presets by name."""
    module = importlib.import_module(_PRESETS)
    return {name: getattr(module, name) for name in module.__all__}


def build(options: Mapping[str, Any], at: Place, root: Place, seen: tuple[str, ...]) -> Policy:
    """Return the policy that checked options say.

    Args:
        options: key -> value.
        at: where they stand.
        root: of the file's table, in which bases are looked up.
        seen: names of policies that are being read, this one last.

    Raises:
        PolicyError: the words refuse a value, a base or an object does not exist, bases go round in a circle.
    """
    base = _base(options["base"], at.down("base"), root, seen) if "base" in options else Policy()
    made = {key: _READERS.get(key, _as_it_is)(value, at.down(key)) for key, value in options.items() if key != "base"}
    if "limits" in made:
        kept = {name: getattr(base.limits, name) for name in Limits.__annotations__}
        made["limits"] = _said(at, Limits, **{**kept, **made["limits"]})
    return _said(at, Policy.from_options, base, **made)


def _base(name: str, at: Place, root: Place, seen: tuple[str, ...]) -> Policy:
    if name in seen:
        raise at.wrong(f"{' -> '.join((*seen, name))} goes round in a circle", "start from another policy")
    if name in presets():
        return presets()[name]
    table: Any = root.file.document
    for key in root.path:
        table = table[key]
    policies = table.get("policies", {})
    if name not in policies:
        error = unknown_policy(name, policies, at)
        error.field = at.key
        raise error
    return build(policies[name], root.down("policies", name), root, (*seen, name))


def _said(at: Place, make: Callable[..., T], *args: Any, **options: Any) -> T:
    """Make a value of words, whose errors name options, and tell where those stand."""
    try:
        return make(*args, **options)
    except PolicyError as error:
        raise (error if error.file else at.tell_option(error)) from None


def _as_it_is(value: Any, at: Place) -> Any:
    return None if value == "none" and at.path[-1] != "name" else value


def _mounts(value: list[Any], at: Place) -> list[words.Mount]:
    made = []
    for index, entry in enumerate(value):
        place = at.down(index)
        try:
            made.append(words.ro(entry) if isinstance(entry, str) else _mount(dict(entry), place))
        except PolicyError as error:
            raise (error if error.file else place.tell(error)) from None
    return made


def _mount(entry: dict[str, Any], at: Place) -> words.Mount:
    word = next(word for word in ("ro", "rw", "overlay", "tmpfs", "file", "dev", "symlink") if word in entry)
    path = entry.pop(word)
    if word == "file":
        return words.file(path, entry["text"] if "text" in entry else _decoded(entry["base64"], at.down("base64")))
    make: Callable[..., words.Mount] = getattr(words, word)
    return make(path, **entry)


def _decoded(text: str, at: Place) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise at.wrong(f"is not base64: {error}", "write what `base64 -w0 FILE` prints") from None


def _limits(value: dict[str, Any], at: Place) -> dict[str, Any]:
    return {key: None if each == "none" else each for key, each in value.items()}


def _network(value: Any, at: Place) -> bool | Network:
    if isinstance(value, bool):
        return value
    try:
        return Network(**value)
    except PolicyError as error:
        error.field = error.field.removeprefix("network.")
        raise at.tell_option(error) from None


def _classes(value: list[Any], at: Place) -> list[Any]:
    return [_class(entry, at.down(index)) for index, entry in enumerate(value)]


def _class(entry: Any, at: Place) -> Any:
    if isinstance(entry, str):
        return named(entry, at)
    return tuple(named(entry[key], at.down(key)) for key in ("class", "encode", "decode"))


def _output(value: Any, at: Place) -> Any:
    return value if isinstance(value, str) else named(value["call"], at.down("call"))


def _require(value: Any, at: Place) -> Any:
    return None if value == "all" else value


def _accept(value: list[str], at: Place) -> Any:
    return tuple(dangers()[name] for name in value)


def _expose(value: Any, at: Place) -> Any:
    return None if value == "none" else {name: _host(each, at.down(name)) for name, each in value.items()}


def _host(entry: Any, at: Place) -> Any:
    if isinstance(entry, str):
        return named(entry, at)
    function = named(entry["function"], at.down("function"))
    more = {key: entry[key] for key in ("calls", "seconds") if key in entry}
    return _said(at, Host, function, **more)


def _rules(value: Any, at: Place) -> Any:
    return None if value == "none" else read_rule_sets(value, at)


_READERS: dict[str, Callable[[Any, Place], Any]] = {
    "mounts": _mounts,
    "limits": _limits,
    "network": _network,
    "returns": _classes,
    "raises": _classes,
    "output": _output,
    "require": _require,
    "accept": _accept,
    "expose": _expose,
    "rules": _rules,
}
