"""How often and how long a host function may run for one call."""

from __future__ import annotations

from collections.abc import Callable

from isolate_fn._frozen import dataclass
from isolate_fn.errors import PolicyError

from . import checks
from .values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Host(Value):
    """A host function with limits, for ``expose={"lookup": Host(lookup, calls=1000, seconds=5)}``.

    Args:
        function: runs in the caller, with arguments that come from the isolate and are hostile data.
        calls: how often one isolated call may call it; None for any number of times.
        seconds: how long all calls of it during one isolated call may take together; None for no end. A coroutine
            function is cancelled when they are over; another one cannot be interrupted: the isolated call ends when it
            returns.

    Raises:
        PolicyError: a value has the wrong type or is out of range.
    """

    function: Callable[..., Any]
    calls: int | None
    seconds: float | None

    _prefix = "expose."

    def __init__(
        self, function: Callable[..., Any], *, calls: int | None = None, seconds: float | None = None
    ) -> None:
        if not callable(function) or isinstance(function, Host):
            raise PolicyError("expose", f"{checks.show(function)} is not callable", "pass a function")
        self._keep(
            function=function,
            calls=None if calls is None else checks.number_of("expose.calls", calls),
            seconds=None if seconds is None else checks.seconds("expose.seconds", seconds),
        )

    def __repr__(self) -> str:
        options = "".join(
            f", {name}={value!r}" for name in ("calls", "seconds") if (value := getattr(self, name)) is not None
        )
        return f"Host({self.function!r}{options})"

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the very same function under the same limits."""
        return type(other) is Host and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        function = self.function
        # A bound method is made anew each time that it is looked up.
        same = (id(getattr(function, "__self__", None)), id(getattr(function, "__func__", function)))
        return (*same, self.calls, self.seconds)
