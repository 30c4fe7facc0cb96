"""Named tuples for what the spawner and the isolates load: declared as typing's, made without it.

Importing ``typing`` costs a spawner a tenth of its start, and each class of ``typing.NamedTuple`` compiles a constructor.
Modules that every isolate shares therefore say::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from isolate_fn._records import NamedTuple
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class NamedTuple(tuple):  # type: ignore[type-arg]
    """A tuple whose elements have names: one for each annotation of the subclass, in order, with what is assigned as default."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}
        for index, name in enumerate(cls._fields):
            setattr(cls, name, _tuplegetter(index, None))

    def __new__(cls, *values: Any, **named: Any) -> Any:
        """Make one of positional and named values.

        Raises:
            TypeError: a field without a default is missing, given twice, or unknown.
        """
        if named or len(values) != len(cls._fields):
            values = cls._complete(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _complete(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        left = cls._fields[len(values) :]
        wrong = [name for name in left if name not in named and name not in cls._defaults]
        wrong += [name for name in named if name not in left]
        if wrong or len(values) > len(cls._fields):
            raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}; wrong, missing or given twice: {wrong or values}")
        return (*values, *(named[name] if name in named else cls._defaults[name] for name in left))

    def _replace(self, **changes: Any) -> Any:
        return type(self)(**{**dict(zip(self._fields, self, strict=True)), **changes})

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)]
        return f"{type(self).__name__}({', '.join(parts)})"
