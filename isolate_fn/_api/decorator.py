"""`isolated`: a function that runs inside its own sandbox, and looks like itself otherwise."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from isolate_fn.errors import PolicyError, Unsupported
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt

if TYPE_CHECKING:
    from isolate_fn._runtime.report import Enforcement

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class Isolated(Generic[P, R]):
    """A function that runs inside its own sandbox; made by `isolated`.

    Calling it sends the call to an isolate and returns the function's value or raises its exception. Importing or
    decorating starts nothing.

    Attributes:
        policy: what a call may do.
        __wrapped__: the plain function; calling it runs it unprotected, in this process.
    """

    __isolate_fn__ = True

    def __init__(self, function: Callable[P, R], policy: Policy) -> None:
        self.policy = policy
        self.__wrapped__: Callable[P, R] = _plain(function)
        functools.update_wrapper(self, self.__wrapped__)
        self._decorated = function  # a staticmethod or classmethod binds in its own way
        self._signatures: dict[object, Any] = {}
        self._found: Any = None
        self._last: tuple[Any, Any] = (None, None)  # circumstances, and what was prepared under them
        self._warm: Any = None  # the short way, once a worker has the function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        warm = self._warm  # which another thread may change
        if warm is not None and not kwargs:
            answer: R = warm.call(args)
            if answer is not warm.MISSED:
                return answer
        if _inside():
            return self._inside_call(args, kwargs)
        from isolate_fn._transport.calls import encode_call, function_part

        function = self.__wrapped__
        if type(function) is not FunctionType:
            from isolate_fn._transport.calls import unbind

            function, args, kwargs = unbind(function, args, kwargs)  # type: ignore[assignment]
        reference = self._reference()
        encoded = encode_call(reference, args, kwargs)  # what cannot be sent is told before anything is started
        part = b"" if reference.location is not None else function_part(reference)
        prepared = self._prepared(start=True)
        from isolate_fn._runtime.call import run  # after a spawner was started, which boots meanwhile

        signature = self._signature(prepared)
        result: R = run(prepared, signature, encoded, part or signature.part)
        if prepared.terms.reuse != 1 and (warm is None or warm.outdated()) and self._prepared() is prepared:
            self._warm = _warm_calls(prepared, signature)
        return result

    def _reference(self) -> Any:
        """Say where the function is found, looked up once."""
        if self._found is None:
            from isolate_fn._transport.calls import function_reference

            self._found = function_reference(self.__wrapped__)
        return self._found

    def _signature(self, prepared: Any) -> Any:
        signature = self._signatures.get(prepared)
        if signature is None:
            from isolate_fn._runtime.signature import sign

            self._signatures.clear()
            signature = self._signatures[prepared] = sign(self._reference(), prepared)
        return signature

    def _prepared(self, *, start: bool = False) -> Any:
        from isolate_fn._api.prepare import circumstances, prepare

        around, (before, prepared) = circumstances(), self._last
        if around == before:
            return prepared
        prepared = prepare(self.policy, by_value=self._reference().location is None, start=start)
        self._last = (around, prepared)
        return prepared

    def _inside_call(self, args: Any, kwargs: Any) -> R:
        """A call from inside an isolate: of the very function that runs here it is plain recursion, else an error."""
        from isolate_fn._runtime import serve
        from isolate_fn._transport.received import NESTED

        if serve.runs(self.__wrapped__):
            return self.__wrapped__(*args, **kwargs)
        name = getattr(self, "__name__", "function")
        raise PolicyError(
            NESTED,
            f"{name}() is isolated itself and was called inside an isolate, which cannot start another",
            f"call {name}.__wrapped__(...) there, to run it in the isolate that is already around",
        )

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Isolated[P, R]: ...

    @overload
    def __get__(
        self: Isolated[Concatenate[Any, Q], T], instance: object, owner: type | None = None
    ) -> Callable[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function, so that methods work; the instance travels as the first argument."""
        function = self._decorated
        if isinstance(function, staticmethod):
            return self
        if isinstance(function, classmethod):
            return MethodType(self, owner if owner is not None else type(instance))
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<isolated {getattr(self, '__qualname__', self.__wrapped__)}>"

    def __reduce__(self) -> Any:
        """Pickle as a function does, by name, so that multiprocessing can send it; without a name by its parts.

        Arguments of isolated calls do not get here: see `isolate_fn._transport.pickling`.
        """
        found: Any = sys.modules.get(self.__module__)
        qualname: str = getattr(self, "__qualname__", "")
        for part in qualname.split("."):
            found = getattr(found, part, None)
        return qualname if found is self else (Isolated, (self._decorated, self.policy))

    def options(self, **changes: Any) -> Isolated[P, R]:
        """Return the same function under changed options.

        Args:
            **changes: options of `isolated`; each replaces the present value as a whole.

        Raises:
            PolicyError: an option does not exist or has a wrong value.
        """
        return Isolated(self._decorated, Policy.from_options(self.policy, **changes))

    def enforcement(self) -> Enforcement:
        """Start one isolate, check its walls, and return what is in force for calls of this function.

        Raises:
            Unsupported, SetupError: the same that a call would raise.
        """
        from isolate_fn._runtime import call, outcome, pool

        prepared = self._prepared()
        isolate = pool.start(prepared)
        try:
            call.make_ready(isolate, prepared)
            return outcome.enforcement_of(isolate, prepared)
        finally:
            isolate.end()

    def warm_up(self, n: int = 1) -> None:
        """Have ``n`` isolates built and waiting, so that the next calls find them.

        Args:
            n: how many, at least 1.

        Raises:
            PolicyError: ``n`` is not a positive number.
            Unsupported, SetupError: the same that a call would raise.
        """
        from isolate_fn._runtime import pool

        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise PolicyError("warm_up", f"{n!r} is not a positive whole number", "pass how many isolates shall wait")
        prepared = self._prepared()
        pool.top_up(prepared, n, self._signature(prepared).part)

    def close(self) -> None:
        """End the isolates that wait for calls of this function's policy. Later calls start new ones."""
        from isolate_fn._runtime import pool

        pool.close(self._prepared(start=False))


def _warm_calls(prepared: Any, signature: Any) -> Any:
    from isolate_fn._runtime.warm import WarmCalls

    return WarmCalls(prepared, signature) if WarmCalls.possible(prepared, signature) else None


def _plain(function: Any) -> Any:
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function


def _inside() -> bool:
    """True inside an isolate; only its worker has this module imported."""
    serve = sys.modules.get("isolate_fn._runtime.serve")
    return serve is not None and bool(serve.serving)


@overload
def isolated(function: Callable[P, R], /) -> Isolated[P, R]: ...


@overload
def isolated(*, policy: Policy | None = None, **options: Any) -> Callable[[Callable[P, R]], Isolated[P, R]]: ...


def isolated(function: Any = None, /, *, policy: Policy | None = None, **options: Any) -> Any:
    """Run a function inside its own Linux sandbox: same call, same result, nothing of the host within reach.

    Args:
        function: when used without parentheses.
        policy: options to start from; the others override it.
        **options: see `Policy`, whose fields they are.

    Returns:
        An `Isolated` that is called like the function, or a decorator.

    Raises:
        PolicyError: an option does not exist, has the wrong type or is out of range; the decorated object is a class
            or no function. Nothing was started.
        Unsupported: an option that this version cannot enforce.
    """
    made = Policy.from_options(policy, **options)
    refuse_unbuilt(made)
    if function is None:
        return lambda target: _decorate(target, made)
    return _decorate(function, made)


def _decorate(function: Any, policy: Policy) -> Isolated[Any, Any]:
    if isinstance(function, type):
        raise PolicyError(
            "isolated",
            f"{function.__qualname__} is a class",
            "decorate its methods one by one, or a function that uses it",
        )
    plain = _plain(function)
    if isinstance(plain, Isolated):
        raise PolicyError("isolated", f"{plain!r} is isolated already", "use .options(...) to change its policy")
    if not callable(plain):
        raise PolicyError("isolated", f"{function!r:.100} is no function", "decorate a function or a method")
    for kind, what in (
        (inspect.iscoroutinefunction, "an async function"),
        (inspect.isgeneratorfunction, "a generator function"),
        (inspect.isasyncgenfunction, "an async generator function"),
    ):
        if kind(plain):
            name = getattr(plain, "__qualname__", "the function")
            raise Unsupported(
                f"isolating {what}",
                "a plain function in this version",
                name,
                "decorate a plain function that returns a value or a list, and call it from here",
            )
    if policy.name is None:
        policy = Policy.from_options(policy, name=getattr(plain, "__qualname__", None))
    return Isolated(function, policy)
