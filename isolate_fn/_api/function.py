"""What `isolated` makes of a function: it runs inside its own sandbox, and looks like itself otherwise."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType

from isolate_fn._api.bound import Bound
from isolate_fn._api.granted import is_grant
from isolate_fn._api.other_ways import OtherWays
from isolate_fn.errors import PolicyError, Unsupported
from isolate_fn.policy.inside import inside as inside
from isolate_fn.policy.policy import Policy

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from isolate_fn._api.other_ways import overload
else:
    from typing import Any, Concatenate, ParamSpec, TypeVar, overload

    from isolate_fn._runtime.report import Enforcement

    P = ParamSpec("P")
    Q = ParamSpec("Q")
    R = TypeVar("R")
    T = TypeVar("T")

_NEVER = (None, None)


class Isolated(OtherWays["P", "R"]):
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
        self.__wrapped__: Callable[P, R] = plain_function(function)
        functools.update_wrapper(self, self.__wrapped__)
        self._decorated = function  # a staticmethod or classmethod binds in its own way
        self._signatures: dict[object, Any] = {}
        self._found: Any = None
        self._last: tuple[Any, Any] = _NEVER  # circumstances, and what was prepared under them
        self._warm: Any = None  # the short way, once a worker has the function

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        warm = self._warm  # which another thread may change
        if warm is not None and not kwargs:
            answer: R = warm.call(args)
            if answer is not warm.MISSED:
                return answer
        if inside():
            return self._inside_call(args, kwargs)
        prepared, signature, encoded, part = self.made_ready(args, kwargs)
        from isolate_fn._runtime.call import run  # after a spawner was launched, which boots meanwhile

        result: R = run(prepared, signature, encoded, part)
        if prepared.terms.reuse != 1 and (warm is None or warm.outdated()) and self._prepared() is prepared:
            self._warm = _warm_calls(prepared, signature)
        return result

    def made_ready(self, args: Any, kwargs: Any) -> tuple[Any, Any, Any, bytes]:
        """Return what a call needs: the policy's preparation, the function's signature, the packed call and function.

        Args:
            args: positional arguments, bound ones included.
            kwargs: keyword arguments.
        """
        if not self.is_prepared:
            from isolate_fn._api.ahead import LaunchedAhead

            with LaunchedAhead(self.policy) as ahead:
                return self._make_ready(args, kwargs, ahead)
        return self._make_ready(args, kwargs)

    @property
    def is_prepared(self) -> bool:
        """True once there was a call: what the next one needs is known, and looking takes no time."""
        return self._last is not _NEVER

    def is_up_to_date(self) -> bool:
        """Tell whether what was prepared for an earlier call still holds, so that `made_ready` takes no time."""
        if not self.is_prepared:
            return False
        from isolate_fn._api.prepare import circumstances

        return bool(circumstances() == self._last[0])

    def _make_ready(self, args: Any, kwargs: Any, ahead: Any = None) -> tuple[Any, Any, Any, bytes]:
        from isolate_fn._transport.calls import encode_call, function_part

        function = self.__wrapped__
        if type(function) is not FunctionType:
            from isolate_fn._transport.calls import unbind

            function, args, kwargs = unbind(function, args, kwargs)
        reference, granted, loan = self._reference(), None, None
        if any(map(is_grant, (*args, *kwargs.values()))):
            from isolate_fn._api.grants import give  # few calls have more than data

            granted, args, kwargs, loan = give(function, args, kwargs, self._prepared())
        if ahead is not None and reference.location is None:
            ahead.by_value()
        encoded = encode_call(reference, args, kwargs, loan=loan)  # what cannot be sent is told before an isolate is made
        part = b"" if reference.location is not None else function_part(reference)
        prepared = self._prepared()
        signature = self._signature(prepared)
        return granted or prepared, signature, encoded, part or signature.part

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

    def _prepared(self) -> Any:
        from isolate_fn._api.prepare import circumstances, prepare

        around, (before, prepared) = circumstances(), self._last
        if around == before:
            return prepared
        reference = self._reference()
        prepared = prepare(self.policy, by_value=reference.location is None, awaited=reference.awaited)
        self._last = (around, prepared)
        return prepared

    def _inside_call(self, args: Any, kwargs: Any) -> R:
        """A call from inside an isolate: of the very function that runs here it is plain recursion, else an error."""
        from isolate_fn._runtime import serve

        if serve.runs(self.__wrapped__):
            return self.__wrapped__(*args, **kwargs)
        raise self._nested()

    def _nested(self) -> PolicyError:
        from isolate_fn._transport.received import NESTED

        name = getattr(self, "__name__", "function")
        return PolicyError(
            NESTED,
            f"{name}() is isolated itself and was called inside an isolate, which cannot start another",
            f"call {name}.__wrapped__(...) there, to run it in the isolate that is already around",
        )

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Isolated[P, R]: ...

    @overload
    def __get__(
        self: Isolated[Concatenate[Any, Q], T], instance: object, owner: type | None = None
    ) -> Bound[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function, so that methods work; the instance travels as the first argument."""
        function = self._decorated
        if isinstance(function, staticmethod):
            return self
        if isinstance(function, classmethod):
            return Bound(self, owner if owner is not None else type(instance))
        return self if instance is None else Bound(self, instance)

    def __repr__(self) -> str:
        return f"<isolated {getattr(self, '__qualname__', self.__wrapped__)}>"

    def __reduce__(self) -> Any:
        """Pickle as a function does, by name, so that multiprocessing can send it; without a name by its parts.

        cloudpickle, also the copies in Ray and joblib, sends functions of ``__main__`` by value; so it gets the parts.
        Arguments of isolated calls do not get here: see `isolate_fn._transport.pickling`.
        """
        found: Any = sys.modules.get(self.__module__)
        qualname: str = getattr(self, "__qualname__", "")
        for part in qualname.split("."):
            found = getattr(found, part, None)
        # The pickler itself is in C; the last frame of Python's is that of whoever asked it, for cloudpickle its dump().
        asking = sys._getframe(1).f_globals.get("__name__", "").rpartition(".")[2]
        by_value = self.__module__ in ("__main__", "__mp_main__") and asking == "cloudpickle"
        return qualname if found is self and not by_value else (type(self), (self._decorated, self.policy))

    def options(self, *, policy: Policy | str | None = None, **changes: Any) -> Isolated[P, R]:
        """Return the same function under changed options.

        Args:
            policy: to start from instead of the present one, as for `isolated`; its name stays, if that one has none.
            **changes: options of `isolated`; each replaces the present value as a whole.

        Raises:
            PolicyError: an option does not exist or has a wrong value.
        """
        made = Policy.from_options(self.policy if policy is None else policy, **changes)
        if made.name is None and "name" not in changes:
            made = Policy.from_options(made, name=self.policy.name)
        return type(self)(self._decorated, made)

    def explain(self, *, form: str = "text") -> str:
        """Say what calls of this function may do: read, write, reach, run, use; see `isolate_fn.explain`. Runs nothing.

        Args:
            form: ``"text"``, ``"json"`` or ``"html"``.
        """
        from isolate_fn._api.explain import explain

        return explain(self, form=form)

    def enforcement(self) -> Enforcement:
        """Start one isolate, check its walls, and return what is in force for calls of this function.

        Raises:
            Unsupported, SetupError: the same that a call would raise.
        """
        from isolate_fn._runtime import call, outcome, pool
        from isolate_fn._runtime.talk import to_the_end

        prepared = self._prepared()
        isolate = pool.start(prepared)
        try:
            to_the_end(isolate, call.make_ready(isolate, prepared))
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

        try:
            prepared = self._prepared()
        except (PolicyError, Unsupported):
            return  # what cannot be prepared has none
        pool.close(prepared)


def _warm_calls(prepared: Any, signature: Any) -> Any:
    from isolate_fn._runtime.warm import WarmCalls

    return WarmCalls(prepared, signature) if WarmCalls.possible(prepared, signature) else None


def plain_function(function: Any) -> Any:
    """Return what a staticmethod or classmethod holds; anything else as it is."""
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
