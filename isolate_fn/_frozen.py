"""Frozen values: the part of `dataclasses` that this package's words and facts use, at a fraction of its cost.

dataclasses imports inspect, and compiles source text for every class: together a large part of what a script with one
isolated call waited for before its plan was ready. Here all classes share one set of methods. What is rarely asked for
(signature, `dataclasses.fields`, the text of a TypeError) comes from the real dataclass of the same fields, which is
made then, so that `dataclasses.replace` and `dataclasses.asdict` work. Type checkers see dataclasses alone.
"""

from __future__ import annotations

from functools import cached_property
from operator import attrgetter

TYPE_CHECKING = False  # type checkers take it for typing's, whose import would be a cost of the same kind
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from typing import Any
else:

    def dataclass(**options):
        """Make a class one of frozen values; see `dataclasses.dataclass`. Fields of base classes are not looked at."""
        return lambda cls: _complete(cls, options)

    def field(*, default_factory):
        """Say that a field's default is made anew for each value."""
        return _Anew(default_factory)


class _Anew:
    def __init__(self, make: Any) -> None:
        self.make = make


class _Shape:
    """The fields of one class."""

    def __init__(self, cls: Any, options: dict[str, bool]) -> None:
        self.cls, self.options = cls, options
        self.names = tuple(cls.__annotations__)
        self.defaults = {name: vars(cls)[name] for name in self.names if name in vars(cls)}
        self.values_of = attrgetter(*self.names)

    @cached_property
    def real(self) -> Any:
        """The dataclass that the class would have been."""
        import dataclasses
        import inspect

        body: dict[str, Any] = {"__annotations__": self.cls.__annotations__, "__module__": self.cls.__module__}
        for name, default in self.defaults.items():
            body[name] = dataclasses.field(default_factory=default.make) if isinstance(default, _Anew) else default
        make: Any = dataclasses.dataclass
        made = make(**self.options)(type(self.cls.__name__, (), body))
        made.__signature__ = inspect.signature(made)
        return made

    def read(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a new value, by name and in order, from what its class was called with."""
        given = {**dict(zip(self.names, args, strict=False)), **named}
        values = {**self.defaults, **given}
        exact = len(given) == len(args) + len(named) and values.keys() == set(self.names)
        if not exact or (args and self.options.get("kw_only")):
            self.real(*args, **named)  # raises the TypeError that says what is wrong
        return {n: v.make() if isinstance(v := values[n], _Anew) else v for n in self.names}


class _OfReal:
    """An attribute of the dataclass that the class would have been, read there when it is asked for."""

    def __init__(self, shape: _Shape, name: str) -> None:
        self.shape, self.name = shape, name

    def __get__(self, value: object, owner: type) -> Any:
        return getattr(self.shape.real, self.name)


class _Methods:
    """What the classes share."""

    __shape__: _Shape

    def __init__(self, *args: Any, **named: Any) -> None:
        vars(self).update(self.__shape__.read(args, named))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__shape__.names)
        return f"{type(self).__qualname__}({fields})"

    def __eq__(self, other: object) -> Any:
        values_of = self.__shape__.values_of
        return values_of(self) == values_of(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.__shape__.values_of(self))

    def __setattr__(self, name: str, *value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")

    __delattr__ = __setattr__

    def __replace__(self, /, **changes: Any) -> Any:
        return type(self)(**{name: getattr(self, name) for name in self.__shape__.names} | changes)


_BY_OPTION = {
    "init": ("__init__",),
    "repr": ("__repr__",),
    "eq": ("__eq__", "__hash__"),
    "frozen": ("__setattr__", "__delattr__", "__replace__"),
}


def _complete(cls: Any, options: dict[str, bool]) -> Any:
    shape = cls.__shape__ = _Shape(cls, options)
    for option, methods in _BY_OPTION.items():
        for name in methods if options.get(option, True) else ():
            setattr(cls, name, vars(_Methods)[name])
    for name in ("__dataclass_fields__", "__dataclass_params__", "__match_args__"):
        setattr(cls, name, _OfReal(shape, name))
    if options.get("init", True):
        cls.__signature__ = _OfReal(shape, "__signature__")
    for name, default in shape.defaults.items():
        if isinstance(default, _Anew):
            delattr(cls, name)
    return cls
