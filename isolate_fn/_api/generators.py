"""Generator functions that run inside their own sandbox."""

from __future__ import annotations

import inspect
from typing import Any, ParamSpec, TypeVar

from isolate_fn._api.function import Isolated, inside
from isolate_fn._api.items import AwaitedItems, Items
from isolate_fn._api.suspending import refuse_suspending
from isolate_fn._runtime.generating import Sent
from isolate_fn._transport.calls import BY_VALUE, dump

P = ParamSpec("P")
R = TypeVar("R")


class IsolatedGenerator(Isolated[P, R]):
    """A generator function that runs inside its own sandbox; made by `isolated`.

    Calling it starts nothing and returns a generator; its first item starts the isolate. It looks enough like a function
    for ``inspect.isgeneratorfunction`` (or ``isasyncgenfunction``) to find that it is one.
    """

    _awaited = False

    def __init__(self, function: Any, policy: Any) -> None:
        super().__init__(function, policy)
        plain: Any = self.__wrapped__
        while (behind := getattr(plain, "__func__", None) or getattr(plain, "func", None)) is not None:
            plain = behind  # of a bound method or a partial
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if inside():
            return self._inside_call(args, kwargs)
        _check_arguments(self.__wrapped__, args, kwargs)
        made: Any = (AwaitedItems if self._awaited else Items)(self, args, kwargs)
        return made  # type: ignore[no-any-return]

    def call_async(self, /, *args: Any, **kwargs: Any) -> Any:
        """Refuse: there is no one value to wait for.

        Raises:
            Unsupported: always.
        """
        refuse_suspending(self.__wrapped__)

    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """Refuse, as `call_async` does.

        Raises:
            Unsupported: always.
        """
        refuse_suspending(self.__wrapped__)

    def map(self, iterable: Any, *more: Any, timeout: float | None = None, chunksize: int = 1) -> Any:
        """Refuse, as `call_async` does.

        Raises:
            Unsupported: always.
        """
        refuse_suspending(self.__wrapped__)

    def _signature(self, prepared: Any) -> Any:
        """Return what the caller knows of the function; it is sent with what runs it item by item."""
        signature = self._signatures.get(prepared)
        if signature is None:
            signature = super()._signature(prepared)
            if signature.part:
                signature = signature.__replace__(part=self._part(signature))
            self._signatures[prepared] = signature
        return signature

    def _make_ready(self, args: Any, kwargs: Any, *more: Any) -> tuple[Any, Any, Any, bytes]:
        prepared, signature, encoded, _ = super()._make_ready(args, kwargs, *more)
        return prepared, signature, encoded, signature.part or self._part(signature)

    def _part(self, signature: Any) -> bytes:
        sent = Sent(self._reference(), signature.encoders, signature.trust, self._awaited)
        return dump(sent, BY_VALUE)  # what cannot be pickled was told by the function's own part


class IsolatedAsyncGenerator(IsolatedGenerator[P, R]):
    """An async generator function that runs inside its own sandbox, driven by an event loop there; made by `isolated`."""

    _awaited = True

    def _reference(self) -> Any:
        return super()._reference().__replace__(awaited=True)  # it needs an event loop


def _check_arguments(function: Any, args: Any, kwargs: Any) -> None:
    """Raise the TypeError for wrong arguments at the call, as a generator function does."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{getattr(function, '__qualname__', 'function')}() {error}") from None
