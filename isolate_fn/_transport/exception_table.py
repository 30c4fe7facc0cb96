"""Which exception classes may come out of an isolate as themselves."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType

from isolate_fn._transport.codec_types import class_name
from isolate_fn.errors import IsolationError, PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# They steer the program. Raised by surprise they end a generator, a loop or a task quietly.
_STEERING = (StopIteration, StopAsyncIteration)
_STEERING_NAMES = frozenset({"CancelledError"})  # asyncio's is no Exception; concurrent.futures' is


def allowed(kind: object) -> bool:
    """Whether instances of a class only report.

    They do if it is an ordinary Exception, not one that steers the program, and not one of this package's
    own: those say what the walls did. Only the caller's side may say that.
    """
    return (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, (*_STEERING, IsolationError))
        and _STEERING_NAMES.isdisjoint(base.__name__ for base in kind.__mro__)
    )


BUILTINS: Mapping[str, type[Exception]] = MappingProxyType(
    {f"builtins:{kind.__name__}": kind for kind in vars(builtins).values() if allowed(kind)}
)


class ExceptionTable:
    """The builtin classes, those named in ``raises=``, and those that the function's module can see.

    Args:
        named: classes by name, as on the wire.
        space: the global names of the function's module, or None.
        home: that module's name.
    """

    __slots__ = ("_home", "_named", "_space")

    def __init__(
        self,
        named: Mapping[str, type[Exception]] | None = None,
        space: dict[str, Any] | None = None,
        home: str = "",
    ) -> None:
        self._named = dict(named or {})
        self._space = space
        self._home = home

    @classmethod
    def for_function(cls, function: Callable[..., Any], raises: Iterable[type[BaseException]] = ()) -> ExceptionTable:
        """The table for calls of a function.

        Args:
            function: the plain function.
            raises: more classes that may come back as themselves.

        Raises:
            PolicyError: a class in ``raises`` is not an ordinary Exception.
        """
        named = {}
        for kind in raises:
            if not allowed(kind):
                raise PolicyError(
                    "raises",
                    f"{kind!r:.200} can never come out of an isolate as itself",
                    "name subclasses of Exception only; the others arrive as RemoteError",
                )
            named[class_name(kind)] = kind
        home = getattr(function, "__module__", None)
        space = getattr(function, "__globals__", None)
        if space is None and isinstance(home, str):
            space = getattr(sys.modules.get(home), "__dict__", None)
        return cls(named, space, home if isinstance(home, str) else "")  # type: ignore[arg-type]

    def with_classes(self, named: Mapping[str, type[Exception]]) -> ExceptionTable:
        """Return a table that also holds these classes, given by their names on the wire."""
        return ExceptionTable({**self._named, **named}, self._space, self._home)

    def find(self, name: object) -> type[Exception] | None:
        """The class of this name, or None. Nothing is imported, no attribute of any module is computed."""
        if type(name) is not str:
            return None
        kind = BUILTINS.get(name) or self._named.get(name)
        if kind is not None:
            return kind
        module, _, qualname = name.partition(":")
        for space in self._spaces(module):
            found = _walk(space, qualname)
            if found is not None and allowed(found) and class_name(found) == name:
                return found
        return None

    def _spaces(self, module: str) -> list[Mapping[str, Any]]:
        """The function's own globals, and the module where it is loaded and of a package that they use."""
        if self._space is None:
            return []
        spaces: list[Mapping[str, Any]] = [self._space] if module == self._home else []
        root = module.partition(".")[0]
        loaded = sys.modules.get(module)
        if isinstance(loaded, ModuleType) and root in self._roots():
            spaces.append(vars(loaded))
        return spaces

    def _roots(self) -> set[str]:
        """Top-level names of the packages that the function's module belongs to or uses."""
        names: list[object] = [self._home]
        for value in list((self._space or {}).values()):
            # Exactly these: other objects may be proxies that answer every question with an error.
            kind = type(value)
            if issubclass(kind, ModuleType):
                names.append(value.__dict__.get("__name__"))
            elif kind in (FunctionType, BuiltinFunctionType) or issubclass(kind, type):
                names.append(value.__module__)
        return {name.partition(".")[0] for name in names if type(name) is str} - {"builtins", "isolate_fn"}


def _walk(space: Mapping[str, Any], qualname: str) -> type | None:
    found: type | None = None
    for part in qualname.split("."):
        inner = space.get(part)
        if not issubclass(type(inner), type):  # isinstance() would ask the object, which may be a proxy
            return None
        found = inner
        space = vars(inner)
    return found
