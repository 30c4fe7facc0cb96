"""Which classes may be built from an answer: a closed table on the receiver's side. The wire only names them.

Being in the table means: *its constructor may be called with attacker-chosen field values of supported
types.*
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from isolate_fn._frozen import dataclass
from isolate_fn._transport.codec_types import class_name
from isolate_fn.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._transport.exception_table import ExceptionTable

Codec = Callable[["Any"], "Any"]

# Types that the codec carries without being told; naming one of them in returns= is harmless.
KNOWN_MODULES = frozenset(
    (
        *(
            "builtins",
            "array",
            "collections",
            "datetime",
            "zoneinfo",
            "decimal",
            "fractions",
            "uuid",
            "types",
        ),
        *("pathlib", "ipaddress", "typing", "numpy", "pandas", "pyarrow", "PIL"),
    )
)
_MOST_CLASSES = 10_000
# Identities of annotations that need no entry and have no parts.
_PLAIN = frozenset(map(id, (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)))


@dataclass(frozen=True)
class Entry:
    """One class of the table.

    Attributes:
        tag: the kind of value on the wire: ``k`` dataclass, ``at`` attrs, ``nt`` named tuple, ``E`` Enum,
            ``Fl`` Flag, ``reg`` registered.
        cls: the class itself.
        fields: the constructor's argument names (for ``nt`` in order).
        encode: for registered classes, value to plain value; runs in the isolate.
        decode: for registered classes, plain value to value; runs here, on hostile data.
    """

    tag: str
    cls: type
    fields: frozenset[str] | tuple[str, ...] = ()
    encode: Codec | None = None
    decode: Codec | None = None


class ClassTable:
    """An immutable table from ``module:qualname`` to the class that a result may hold.

    Args:
        entries: by class name.
        exceptions: which classes exceptions may have that are part of a result; the builtin ones unless
            given.
    """

    __slots__ = ("entries", "exceptions")

    def __init__(self, entries: Mapping[str, Entry] | None = None, exceptions: ExceptionTable | None = None) -> None:
        self.entries: Mapping[str, Entry] = MappingProxyType(dict(entries or {}))
        self.exceptions = exceptions

    def __repr__(self) -> str:
        return f"ClassTable({sorted(self.entries)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassTable) and dict(self.entries) == dict(other.entries)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_annotation(cls, *annotations: object) -> ClassTable:
        """Collect the value classes that annotations mention, and those that their fields mention.

        Args:
            annotations: types and generics of any nesting: ``Point``, ``list[Point]``, ``dict[str, Point |
                None]``, ``Iterator[Point]``. Text that could not be resolved and everything else is passed
                over.
        """
        collector = _Collector()
        for annotation in annotations:
            collector.annotation(annotation)
        return cls(collector.entries, collector.table(None))

    @classmethod
    def for_function(cls, function: Callable[..., Any]) -> ClassTable:
        """Collect the classes in a function's return annotation, resolved in the function's own module."""
        return cls.from_annotation(_return_annotation(function))

    def with_classes(self, items: Iterable[Any]) -> ClassTable:
        """Return a table that also knows these classes, and the classes in their fields.

        Args:
            items: classes (Enum, dataclass, named tuple, attrs, exceptions), generics of them, or triples
                ``(class, encode, decode)``.

        Raises:
            PolicyError: an item is neither.
        """
        collector = _Collector(dict(self.entries))
        for item in items:
            if isinstance(item, tuple):
                collector.triple(item)
            elif isinstance(item, type):
                if not collector.value_class(item) and item.__module__.partition(".")[0] not in KNOWN_MODULES:
                    raise PolicyError(
                        "returns",
                        f"{class_name(item)} is not an Enum, dataclass, named tuple or attrs class",
                        f"give functions for it: returns=(({item.__qualname__}, encode, decode),)",
                    )
            else:
                collector.annotation(item)
        return ClassTable(collector.entries, collector.table(self.exceptions))

    def with_exceptions(self, table: ExceptionTable) -> ClassTable:
        """Return a table for results that may hold these exceptions as values."""
        return ClassTable(self.entries, table)

    def encoders(self) -> dict[type, Codec]:
        """The encode functions of registered classes, for ``encode(registered=...)`` in the isolate."""
        return {entry.cls: entry.encode for entry in self.entries.values() if entry.encode is not None}


EMPTY = ClassTable()


def entry_of(kind: type) -> Entry | None:
    """Describe a class, or return None where it is not a value class."""
    from isolate_fn._transport import codec_classes

    enum = sys.modules["enum"]
    if issubclass(kind, enum.Flag):
        return Entry("Fl", kind)
    if issubclass(kind, enum.Enum):
        return Entry("E", kind)
    if issubclass(kind, tuple) and codec_classes.is_namedtuple(kind):
        return Entry("nt", kind, tuple(kind._fields))  # type: ignore[attr-defined]
    if "__dataclass_fields__" in kind.__dict__:
        return Entry("k", kind, frozenset(argument for _, argument in codec_classes.dataclass_fields(kind)))
    if "__attrs_attrs__" in kind.__dict__:
        return Entry("at", kind, frozenset(argument for _, argument in codec_classes.attrs_fields(kind)))
    return None


class _Collector:
    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries = entries or {}
        self.seen = set(_PLAIN)
        self.exceptions: dict[str, type[Exception]] = {}

    def table(self, before: ExceptionTable | None) -> ExceptionTable | None:
        """The table of exceptions that results may hold: those before, and those found."""
        if not self.exceptions:
            return before
        from isolate_fn._transport.exception_table import ExceptionTable

        return (before or ExceptionTable()).with_classes(self.exceptions)

    def triple(self, item: tuple[Any, ...]) -> None:
        if len(item) != 3 or not isinstance(item[0], type) or not callable(item[1]) or not callable(item[2]):
            raise PolicyError(
                "returns", f"{item!r:.200} is not (class, encode, decode)", "give a class and two functions"
            )
        kind, encode, decode = item
        self.entries[class_name(kind)] = Entry("reg", kind, (), encode, decode)

    def value_class(self, kind: type) -> bool:
        """Add a class and what its fields mention; False where it is not a value class."""
        name = class_name(kind)
        known = self.entries.get(name)
        if known is not None and known.cls is kind:
            return True
        entry = entry_of(kind)
        if entry is None:
            return issubclass(kind, BaseException) and self.exception(kind)
        self.entries[name] = entry
        for annotation in _field_annotations(kind):
            self.annotation(annotation)
        return True

    def exception(self, kind: type) -> bool:
        """Add a class of exceptions that a result may hold as values; others there become RemoteError."""
        from isolate_fn._transport.exception_table import allowed

        if allowed(kind):
            self.exceptions[class_name(kind)] = kind
        return True

    def annotation(self, annotation: object) -> None:
        """Walk one annotation. Parts that nobody can resolve are passed over."""
        waiting = [annotation]
        while waiting and len(self.seen) < _MOST_CLASSES:
            part = waiting.pop()
            if part is None or id(part) in self.seen:
                continue
            self.seen.add(id(part))
            import typing  # a program whose annotations need it has it; for the others it would be a slow import

            if isinstance(part, type) and typing.get_origin(part) is None:
                if not self.value_class(part) and typing.is_typeddict(part):
                    waiting.extend(_field_annotations(part))
                continue
            waiting.extend(_parts(part))


def _parts(part: object) -> list[object]:
    import typing

    origin = typing.get_origin(part)
    if origin is typing.Literal:
        return [type(choice) for choice in typing.get_args(part)]
    parts: list[object] = []
    for argument in typing.get_args(part):
        parts.extend(argument if isinstance(argument, list) else [argument])
    if origin is not None:
        parts.append(origin)
    for attribute in ("__supertype__", "__value__", "__bound__"):  # NewType, type X = ..., TypeVar
        inner = getattr(part, attribute, None)
        if inner is not None and origin is None:
            parts.append(inner)
    if isinstance(part, typing.TypeVar):
        parts.extend(part.__constraints__)
    return parts


def _field_annotations(kind: type) -> list[object]:
    import typing

    try:
        return list(typing.get_type_hints(kind).values())
    except Exception:
        # A name that exists only for type checkers. Take the fields that are classes already, and resolve
        # others one by one.
        module = sys.modules.get(kind.__module__)
        space = vars(module) if module is not None else {}
        return _resolved(list(getattr(kind, "__annotations__", {}).values()), space)


def _return_annotation(function: Callable[..., Any]) -> object:
    annotation = getattr(function, "__annotations__", {}).get("return")
    if not isinstance(annotation, str):
        return annotation
    found = _resolved([annotation], getattr(function, "__globals__", {}), _closure(function))
    return found[0] if found else None


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """Names of the enclosing function that the function uses: classes defined in a test are found there."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _resolved(annotations: list[Any], space: Mapping[str, Any], local: Mapping[str, Any] | None = None) -> list[object]:
    found = []
    for annotation in annotations:
        if not isinstance(annotation, str):
            found.append(annotation)
            continue
        try:
            # The program's own source text, as typing.get_type_hints would evaluate it.
            found.append(eval(annotation, dict(space), dict(local or {})))  # noqa: S307
        except Exception:  # noqa: S112
            continue
    return found
