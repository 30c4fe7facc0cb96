"""Where an executor's tasks run: isolates of one policy that serve nobody else, each opened by the initializer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor
from concurrent.futures._base import LOGGER
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from isolate_fn._api.chunks import Chunk
from isolate_fn._api.granted import is_grant
from isolate_fn._api.grants import give
from isolate_fn._api.prepare import circumstances, prepare
from isolate_fn._api.suspending import refuse_suspending
from isolate_fn._runtime import call, outcome, pool
from isolate_fn._runtime.cancel import Cancel
from isolate_fn._runtime.conversation import converse
from isolate_fn._runtime.endings import Cancelled
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.signature import Signature, sign
from isolate_fn._runtime.talk import to_the_end
from isolate_fn._transport.calls import EncodedCall, encode_call, function_part, function_reference, unbind
from isolate_fn.policy.policy import Policy

if TYPE_CHECKING:
    from isolate_fn._runtime.talk import Talk

_MOST_KNOWN = 8  # functions for each of which isolates may wait


class _Function(NamedTuple):
    """A function as the isolates of one preparation get it.

    Attributes:
        signature: whose ``part`` says which waiting isolates are meant for it; those that serve on are for all.
        part: as it is sent; empty where it must be written anew for each call.
    """

    signature: Signature
    part: bytes


class Repeated:
    """A function that many tasks of one `map` call: looked at, and where it travels by value written down, once.

    Args:
        function: it.
    """

    __slots__ = ("function", "made")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.made: tuple[Prepared, _Function] | None = None

    def __call__(self) -> None:
        """Is never called: it stands for its function."""


class Initializer:
    """A function that runs in each isolate before its first task.

    Args:
        function: it.
        args: its arguments, written down when the first isolate needs them.
    """

    def __init__(self, function: Callable[..., Any], args: Iterable[Any]) -> None:
        self.function, self.args, keywords = unbind(function, tuple(args), {})
        self.keywords = keywords
        self.by_value = function_reference(self.function).location is None
        self._sent: tuple[Signature, bytes, EncodedCall] | None = None

    def opening(self, prepared: Prepared) -> _Opening:
        """Return what is said to one isolate."""
        return _Opening(self, prepared)

    def ready(self, prepared: Prepared) -> tuple[Signature, bytes, EncodedCall]:
        """Return how it is called; the same each time, also for the next preparation.

        Raises:
            CallRejected: it, or an argument, cannot be sent.
        """
        if self._sent is None:
            reference = function_reference(self.function)
            encoded = encode_call(reference, self.args, self.keywords)
            self._sent = sign(reference, prepared), function_part(reference), encoded
        return self._sent


class _Opening:
    """The initializer's call in one isolate.

    Attributes:
        under_way: it has begun and not ended well.
    """

    def __init__(self, initializer: Initializer, prepared: Prepared) -> None:
        self.initializer, self.prepared = initializer, prepared
        self.under_way = False

    def __call__(self, isolate: Isolate) -> Talk[None]:
        self.under_way = True
        signature, part, encoded = self.initializer.ready(self.prepared)
        if signature not in isolate.functions:  # else this isolate has served before
            calls, timeout = isolate.calls, self.prepared.terms.timeout
            deadline = None if timeout is None else time.monotonic() + timeout
            answer = yield from converse(isolate, self.prepared, signature, part, encoded, deadline)
            outcome.judge(answer, isolate, self.prepared, signature)
            isolate.calls = calls  # it is none of the ``reuse=N`` calls
        self.under_way = False


class Workers:
    """Isolates of one policy.

    Args:
        policy: what a task may do.
        initializer: runs in each first, None for none.

    Attributes:
        broken: why no task can run any more, None while they can; its cause is the initializer's error.
    """

    def __init__(self, policy: Policy, initializer: Initializer | None) -> None:
        self.policy, self.initializer = policy, initializer
        self.broken: BrokenExecutor | None = None
        self.at_fork()
        self._by_value = initializer is not None and initializer.by_value
        self._around: tuple[object, ...] = ()
        self._found: Prepared | None = None  # as anybody gets it
        self._own: Prepared | None = None
        self._made: list[Prepared] = []  # all that were our own: what still ran when one was replaced comes back to it
        self._known: OrderedDict[Callable[..., Any], _Function] = OrderedDict()

    def at_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that only the parent has."""
        self._lock = threading.RLock()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], cancel: Cancel) -> Any:
        """Call a function in an isolate and return its value or raise its exception.

        Args:
            function: whatever `isolated` could decorate.
            args: positional arguments.
            kwargs: keyword arguments.
            cancel: ends the call.

        Raises:
            BrokenExecutor: the initializer failed, in this call or an earlier one.
        """
        self.check()
        repeated = None
        if type(function) is Repeated:
            repeated, function = function, function.function
        if not callable(function):
            raise TypeError(f"{function!r:.100} is not callable")
        function, args, kwargs = unbind(function, args, kwargs)
        refuse_suspending(function)
        prepared, (signature, part) = self._ready(function, repeated)
        loan = None
        if any(map(is_grant, (*args, *kwargs.values()))):
            prepared, args, kwargs, loan = give(function, args, kwargs, prepared)
        # What cannot be sent is told before an isolate is made.
        encoded = encode_call(signature.reference, args, kwargs, loan=loan)
        part = part or function_part(signature.reference)
        opening = None if self.initializer is None else self.initializer.opening(prepared)
        isolate = pool.take(prepared, signature.part)
        try:
            return to_the_end(isolate, call.whole(isolate, prepared, signature, encoded, part, cancel, opening))
        except Cancelled:
            raise
        except BaseException as error:
            if opening is None or not opening.under_way:
                raise
            self._break(error)
            self.check()

    def check(self) -> None:
        """Refuse to go on with an initializer that has failed.

        Raises:
            BrokenExecutor: it has.
        """
        if self.broken is not None:
            raise BrokenExecutor(*self.broken.args) from self.broken.__cause__

    def _break(self, error: BaseException) -> None:
        with self._lock:
            if self.broken is None:
                LOGGER.critical("Exception in initializer:", exc_info=error)
                broken = BrokenExecutor("the initializer failed in an isolate, the executor is not usable any more")
                broken.__cause__ = error
                self.broken = broken

    def _ready(self, function: Callable[..., Any], repeated: Repeated | None) -> tuple[Prepared, _Function]:
        """Return the preparation, and the function as its isolates get it."""
        with self._lock:
            known = self._known.get(function) if _can_be_key(function) else None
            if known is not None and self._around == circumstances():
                self._known.move_to_end(function)
                assert self._own is not None
                return self._own, known
            made = None if repeated is None else repeated.made
            if made is not None and made[0] is self._own and self._around == circumstances():
                return made
            reference = function_reference(function)
            by_value = function.by_value if isinstance(function, Chunk) else reference.location is None
            prepared = self._prepare(by_value=by_value)
            if reference.location is not None:
                return prepared, self._keep(sign(reference, prepared), prepared)
            # It may hold anything: nothing of it is kept for longer than its tasks.
            signature = replace(sign(reference, prepared), part=b"")
            if repeated is None:
                return prepared, _Function(signature, b"")
            repeated.made = prepared, _Function(signature, function_part(reference))
            return repeated.made

    def _keep(self, signature: Signature, prepared: Prepared) -> _Function:
        """Keep what is known of a function with a name; too many of them would have too many isolates waiting."""
        part = signature.part
        if prepared.terms.reuse != 1:
            signature = replace(signature, part=b"")
        made = self._known[signature.reference.function] = _Function(signature, part)
        if len(self._known) > _MOST_KNOWN:
            _, old = self._known.popitem(last=False)
            if old.signature.part:
                pool.close(prepared, old.signature.part)
        return made

    def _prepare(self, *, by_value: bool) -> Prepared:
        """Return the policy's preparation, with a plan of our own, so that nobody else's calls use its isolates."""
        around = circumstances()
        if self._own is not None and self._around == around and self._by_value >= by_value:
            return self._own
        self._by_value |= by_value  # for good: the spawner of such functions has cloudpickle, and serves the others too
        found = prepare(self.policy, by_value=self._by_value)
        if found is not self._found:
            self.close()
            self._known.clear()
            self._found, self._own = found, replace(found, plan=found.plan._replace())
            self._made.append(self._own)
        self._around = around
        assert self._own is not None
        return self._own

    def close(self) -> None:
        """End the isolates that wait for tasks."""
        for own in list(self._made):
            pool.close(own)


def _can_be_key(function: Callable[..., Any]) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


__all__ = ["Initializer", "Workers"]
