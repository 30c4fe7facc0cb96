"""Inside an isolate: the functions of the caller's that the policy exposes, and no others.

    @isolated(expose={"lookup": lookup})
    def enrich(names):
        from isolate_fn import host

        return [host.lookup(name) for name in names]

Each call waits for the caller, which runs the function in its own process. Arguments must be values that results could
hold. What the function raises arrives as an exception of the same builtin class, or as RuntimeError, without traceback.
"""

from __future__ import annotations

import builtins
import pickle

from isolate_fn.errors import PolicyError, ResultRejected
from isolate_fn.policy.inside import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_names: list[tuple[str, ...]] = []


class HostFunction:
    """A function of the caller's that can be called from here.

    Args:
        name: under which it is exposed.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name

    def __repr__(self) -> str:
        return f"<host function {self.__name__}>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it and return what it returns, or raise what it raises.

        Raises:
            TypeError: an argument cannot leave the isolate, or what came back does not go in.
            RuntimeError: no call of the caller's runs any more.
        """
        from isolate_fn._transport.codec_encode import encode

        try:
            text, buffers = encode([self.__name__, list(args), kwargs])
        except ResultRejected as rejected:
            what = f"an argument of host.{self.__name__}() cannot leave the isolate: {rejected.type_name}"
            raise TypeError(what) from None
        try:
            how, value = _asked(text, buffers)
        except (ImportError, AttributeError) as error:  # the caller has such a module or class, and the isolate has not
            raise TypeError(f"what host.{self.__name__}() returned is of a class that is not here: {error}") from None
        if how == b'"value"':
            return value
        raise _exception(*value)

    def __reduce__(self) -> Any:
        return HostFunction, (self.__name__,)


def _asked(text: bytes, buffers: Any = ()) -> tuple[bytes, Any]:
    from isolate_fn._runtime import asides
    from isolate_fn._transport.frames import Kind

    how, pickled = asides.ask(Kind.HOST_CALL, text, buffers)
    return how, pickle.loads(pickled[0])  # noqa: S301 - the caller's word


def _exception(name: str, args: tuple[Any, ...]) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, (StopIteration, StopAsyncIteration)):
        try:
            return kind(*args)
        except TypeError:  # it wants more than a message
            pass
    return RuntimeError(f"{name}: {args[-1] if args else ''}")


def _exposed() -> tuple[str, ...]:
    """Return the names, asked for once in the life of a worker, which serves one policy."""
    if not _names:
        _names.append(_asked(b"null")[1])
    return _names[0]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not inside():
        remedy = "use it in a function that runs isolated, not where its module is imported; tests can pass a function in"
        raise PolicyError(f"host.{name}", "host functions exist only inside an isolate, while a call runs", remedy)
    names = _exposed()
    if name not in names:
        have = f"exposed are {', '.join(names)}" if names else "nothing is exposed"
        raise AttributeError(f"host.{name} is not exposed: {have}; see expose= of isolated and sandbox", name=name)
    function = globals()[name] = HostFunction(name)
    return function


def __dir__() -> list[str]:
    return sorted(_exposed()) if inside() else []
