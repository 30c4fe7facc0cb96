"""What all words share: how they print, how they are changed, and the dictionary that can be hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isolate_fn.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _K = TypeVar("_K")
    _V = TypeVar("_V")


class Value:
    """Base of the frozen dataclasses whose constructors check and normalise their arguments.

    A subclass writes its own ``__init__``, so that it can accept more (``"64M"``, a list) than it keeps (an
    int, a tuple); the dataclass machinery adds comparison, hashing and immutability.
    """

    # Where its fields live in an error: "limits." for Limits, nothing for Policy, whose fields are the
    # options.
    _prefix = ""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Refuse unknown names before ``__init__`` sees them: there they would be a bare TypeError."""
        for name in options:
            if name not in cls.__annotations__:
                raise unknown_option(f"{cls._prefix}{name}", name, tuple(cls.__annotations__))
        return super().__new__(cls)

    def __repr__(self) -> str:
        plain = type(self)()
        changed = [name for name in self.__annotations__ if getattr(self, name) != getattr(plain, name)]
        return f"{type(self).__name__}({', '.join(f'{name}={self._show(name)}' for name in changed)})"

    def _show(self, name: str) -> str:
        return repr(getattr(self, name))

    def _keep(self, **values: Any) -> None:
        """Set the fields; only for ``__init__``."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def unknown_option(field: str, name: str, known: tuple[str, ...], hint: str = "") -> PolicyError:
    """Make the error for an option that does not exist, naming the nearest one that does."""
    import difflib  # only on the way to an error

    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    remedy = hint or (f"did you mean {nearest[0]}=?" if nearest else f"the options are {', '.join(known)}")
    return PolicyError(field, f"there is no option {name!r}", remedy)


class FrozenDict(Mapping["_K", "_V"]):
    """A dictionary that never changes, so that it can be hashed; equal to any mapping with the same items.

    Args:
        items: the mapping to copy; its values must be hashable if this one is to be hashed.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[_K, _V] | None = None) -> None:
        self._items: dict[_K, _V] = dict(items or {})

    def __getitem__(self, key: _K) -> _V:
        return self._items[key]

    def __iter__(self) -> Iterator[_K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (self._items,))
