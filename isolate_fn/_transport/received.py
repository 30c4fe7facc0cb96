"""The call on its way in, at the worker: get the function, then, behind the narrower filter, the arguments.

Two steps, because the policy's own system call filter comes between them: importing a module needs far more
system calls than running a function of it. Both raise `CallRejected`, which the parent shows as the answer:
the function has not run.

Light on purpose: what is needed only for odd modules is imported only for them.
"""

from __future__ import annotations

import marshal
from _pickle import loads  # the module without the underscore imports what it has in Python as well
from collections.abc import Callable, Iterable, Sequence

from isolate_fn._transport.importing import EditableFinder as EditableFinder
from isolate_fn._transport.importing import import_as_at_the_caller, origin
from isolate_fn._transport.naming import Location, follow, walk
from isolate_fn.errors import CallRejected, PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AWAITED = ord("A")
"""First byte of a function whose calls return coroutines; what follows says which function it is."""

_BY_NAME = ord("N")
PLAIN = ord("(")
"""First byte of arguments that were marshalled, a tuple; pickles begin with 0x80."""

asking: list[Callable[[int, bytes], Any]] = []
"""How a worker asks its caller for something; empty anywhere else."""

# The function that `load_function` got last: the one that this worker runs.
_running: list[object] = []


def load_function(part: bytes | memoryview) -> Callable[..., Any]:
    """Import or rebuild the function. First step; runs code of the function's module.

    Args:
        part: what `function_part` wrote.

    Raises:
        CallRejected: it cannot be had inside; says why and what to try.
    """
    if part[0] == _BY_NAME:
        function = load_location(loads(part[1:]))
    else:
        try:
            function = loads(part[1:])
        except BaseException as error:  # what it imports may raise anything, such as SystemExit
            raise _unpickling_failed("the function, sent by value,", error) from error
    if not callable(function):
        raise CallRejected("the function", f"it arrived as a {type(function).__name__}", "send a callable")
    _running[:] = [function, getattr(function, "__func__", function)]
    return function  # type: ignore[no-any-return]


def load_arguments(part: bytes | memoryview, buffers: Iterable[Any] = ()) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Unpickle the arguments. Second step, after the narrower filter.

    Args:
        part: `EncodedCall.arguments`.
        buffers: the buffers of `EncodedCall`, in order. Arrays keep them, and can be written to where they
            are writable: a private, writable mapping gives the function arrays that behave as the caller's
            do.

    Returns:
        (args, kwargs)

    Raises:
        CallRejected: a class cannot be imported inside, or refuses to be rebuilt.
    """
    if part[0] == PLAIN:
        return marshal.loads(part), {}  # noqa: S302 - the caller's own data
    try:
        received = loads(part, buffers=buffers) if buffers else loads(part)
    except Exception as error:
        raise _unpickling_failed("an argument", error) from error
    if type(received) is tuple:
        return received, {}
    args, kwargs = received
    return args, kwargs


def load_location(location: Sequence[Any]) -> Any:
    """Import what a `Location` speaks of; also called from inside pickles.

    Raises:
        CallRejected: the module cannot be imported inside, or is another one.
    """
    where = Location(*location)
    module = import_as_at_the_caller(where.module, where.file)
    try:
        return follow(walk(module, where.qualname), where.behind)
    except AttributeError as error:
        raise CallRejected(
            f"function {where.module}.{where.qualname}",
            f"its module {origin(module)} was imported inside, but {error}",
            "restart the caller if the file has changed since; define the function at the top of the module, "
            "under no condition that is false inside",
        ) from error


def load_instance(kind: Callable[..., Any], fields: dict[str, Any]) -> Any:
    """Rebuild an instance of which only the fields were sent; called from inside pickles."""
    return kind(**fields)


def load_view(buffer: Any, item_format: str, shape: tuple[int, ...]) -> memoryview:
    """Rebuild a memoryview; called from inside pickles."""
    flat = memoryview(buffer).cast("B")
    if item_format == "B" and len(shape) == 1:
        return flat
    return flat.cast(item_format, shape)  # type: ignore[call-overload,no-any-return]


def load_stand_in(function: Callable[..., Any]) -> NestedCall:
    """Rebuild a decorated function that a function sent by value uses; called from inside pickles."""
    return NestedCall(function)


NESTED = "nested isolation"
"""The field of the PolicyError that a call of an isolated function inside an isolate raises."""


class NestedCall:
    """What a decorated function of ``__main__`` is inside an isolate.

    Calling the very function that runs there is plain recursion. Any other is callable only behind
    ``__wrapped__``: an isolate cannot start isolates, and running the function under this isolate's policy
    instead of its own, without a word, would be a silent weakening.
    """

    __isolate_fn__ = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", "function")
        self.__doc__ = getattr(function, "__doc__", None)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if any(self.__wrapped__ is function for function in _running):
            return self.__wrapped__(*args, **kwargs)
        raise PolicyError(
            NESTED,
            f"{self.__name__}() is isolated and was called inside an isolate, which cannot start another",
            f"call {self.__name__}.__wrapped__(...) there, to run it in the isolate that is already around",
        )

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        from types import MethodType

        return self if instance is None else MethodType(self, instance)


def _unpickling_failed(what: str, error: BaseException) -> CallRejected:
    problem = f"rebuilding it inside failed: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        remedy = f"mount the directory that holds {error.name!r} with mounts=[ro(...)], keep it on sys.path"
    elif isinstance(error, AttributeError):
        remedy = "its class must be importable inside under the name it has in the caller"
    else:
        remedy = "pass plain data and build the object inside the function"
    if isinstance(error, CallRejected):
        return error
    return CallRejected(what, problem, remedy)
