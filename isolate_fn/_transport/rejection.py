"""Why a call cannot be sent: find the one value at fault and say what to pass instead.

Imported only when pickling has failed, so it may be slow and thorough: it pickles the parts one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isolate_fn._transport.pickling import dump
from isolate_fn.errors import CallRejected

# The search goes this deep into an argument, and looks at this many parts of each container.
_DEPTH = 8
_PARTS = 1000

# First match wins: (module prefix of the type, type name) -> remedy. A type name of "" matches every name.
_REMEDIES = (
    ("_thread", "", "create locks inside the function"),
    ("threading", "", "create threads and locks inside the function"),
    # A file's class is in _io, or in tempfile.
    ("_io", "", "pass an open file as an argument of its own, not inside another value; or its content as bytes"),
    ("tempfile", "", "pass an open file as an argument of its own, not inside another value; or its content as bytes"),
    ("socket", "", "pass a connected socket as an argument of its own, not inside another value"),
    ("isolate_fn.policy.mounts", "", "pass ro(path) or rw(path) as an argument of its own, not inside another value"),
    ("ssl", "", "open the connection inside the function: its keys are in this process"),
    ("_ssl", "", "open the connection inside the function and grant it with network="),
    ("sqlite3", "", "open the database inside the function and grant its file with mounts="),
    ("builtins", "generator", "pass it as an argument of its own, not inside another one, or pass a list of the items"),
    ("builtins", "coroutine", "await it first and pass its result"),
    ("builtins", "async_generator", "pass it as an argument of its own, or pass a list of the items"),
    ("builtins", "frame", "pass the text of the traceback"),
    ("builtins", "traceback", "pass the text of the traceback"),
    ("builtins", "module", "import the module inside the function"),
    ("_ctypes", "", "pass the bytes it points to"),
    ("_asyncio", "", "await it first and pass its result"),
)


def explain_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> CallRejected:
    """Name the parameter whose value cannot be pickled.

    Args:
        function: for the parameters' names.
        args: the call's positional arguments.
        kwargs: its keyword arguments.
        error: what pickling all of them raised.
    """
    for name, value in named_arguments(function, args, kwargs):
        failure = _failure(value)
        if failure is not None:
            return _explain(f"argument {name!r}", value, failure)
    return CallRejected("the arguments", _reason(error), "pass plain data")


def explain_function(function: Callable[..., Any], because: str, error: Exception) -> CallRejected:
    """Name the global or enclosing variable that keeps a function from travelling by value.

    Args:
        function: the function.
        because: why it does not travel by name.
        error: what pickling it raised.
    """
    label = getattr(function, "__qualname__", None) or type(function).__name__
    what = f"function {label}"
    for kind, name, value in _used_by(function, set()):
        failure = _failure(value)
        if failure is not None:
            found = _explain(what, value, failure)
            return CallRejected(
                what,
                f"it travels by value ({because}), and the {kind} {name!r} it uses cannot: {found.problem}",
                f"{found.remedy}; or move the function into a module, which is then imported inside",
            )
    return CallRejected(
        what,
        f"it travels by value ({because}), and pickling it failed: {_reason(error)}",
        "move the function into a module, which is then imported inside",
    )


def _explain(what: str, value: Any, failure: Exception) -> CallRejected:
    # cloudpickle turns RecursionError into a PicklingError of this text.
    if isinstance(failure, RecursionError) or "recursion" in str(failure):
        return CallRejected(what, "it is nested too deeply to be pickled", "pass a flat structure, as a list")
    path, value, failure = _culprit(value, failure)
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    place = f"its part {path}" if path else "it"
    return CallRejected(
        what, f"{place} is {article} {name}, which cannot be pickled ({_reason(failure)})", _remedy(kind)
    )


def _remedy(kind: type) -> str:
    for module, name, remedy in _REMEDIES:
        if f"{kind.__module__}.".startswith(f"{module}.") and name in ("", kind.__name__):
            return remedy
    return "pass plain data and build the object inside the function"


def _culprit(value: Any, failure: Exception) -> tuple[str, Any, Exception]:
    """Descend to the smallest part that fails by itself: the path to it, the part, and its own failure."""
    path = ""
    for _ in range(_DEPTH):
        for step, part in _parts(value):
            inner = _failure(part)
            if inner is not None:
                path, value, failure = path + step, part, inner
                break
        else:
            break
    return path, value, failure


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    from itertools import islice

    if isinstance(value, Mapping):
        for key, part in islice(value.items(), _PARTS):
            yield f"[{_short(key)}]", part
            yield f" key {_short(key)}", key
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(islice(value, _PARTS)):
            yield (f"[{index}]" if isinstance(value, (list, tuple)) else f" member {index}"), part
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type):
        for name, part in islice(vars(value).items(), _PARTS):
            yield f".{name}", part


def named_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str | int, Any]]:
    """Pair every argument with its parameter's name, or with its position from 1 without a signature.

    Args:
        function: called.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    import inspect

    try:
        bound = inspect.signature(function, follow_wrapped=False).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):  # no signature, or a call that does not fit it, which Python says later
        yield from enumerate(args, 1)
        yield from kwargs.items()
        return
    parameters = bound.signature.parameters
    for name, value in bound.arguments.items():
        if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(value))
        elif parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


def _used_by(function: Any, seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    """Everything that a function sent by value takes along: (kind, name, value), also through its helpers."""
    code = getattr(function, "__code__", None)
    if code is None or id(function) in seen:
        return
    seen.add(id(function))
    used: list[tuple[str, str, Any]] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            used.append(("enclosing variable", name, cell.cell_contents))
        except ValueError:  # an empty cell: a variable that is not assigned yet
            continue
    found = function.__globals__
    used += [("global", name, found[name]) for name in _names(code) if name in found]
    for name, value in zip(code.co_varnames, function.__defaults__ or (), strict=False):
        used.append(("default of", name, value))
    for kind, name, value in used:
        # A helper fails because of what it uses itself: name that, not the helper.
        yield from _used_by(getattr(value, "__wrapped__", value), seen)
        yield kind, name, value


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from _names(constant)


def _failure(value: Any) -> Exception | None:
    try:
        # Buffers are only pointed at, so that a big argument is not copied once more to explain another one.
        dump(value, buffer_callback=lambda buffer: False)
    except Exception as error:
        return error
    return None


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a class's own repr may do anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 40 else text[:40] + "..."
