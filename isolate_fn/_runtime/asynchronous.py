"""Have an event loop do the waiting: no thread for a call, one descriptor of an isolate in the loop's selector.

What an isolate says is read only when it is there, and a little at a time, so that no isolate, however slowly it speaks
or however much it says, holds up the loop. What takes long and waits for no isolate is done in the loop's threads, once
for all tasks that want the same.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
import weakref
from collections.abc import Callable, Hashable

from isolate_fn._runtime import pool
from isolate_fn._runtime.call import Later, make_ready, whole
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, TypeVar

    from isolate_fn._runtime.output import Output
    from isolate_fn._runtime.signature import Signature
    from isolate_fn._runtime.talk import Talk
    from isolate_fn._transport.calls import EncodedCall

    T = TypeVar("T")

IN_THE_MAKING = 8
"""Isolates that one loop has built at a time. A spawner builds one after another; what is ordered far ahead would only
hold descriptors, and at last hold up the loop, because orders go through a socket."""

_TURNS = 8
"""Batches of events that are dealt with before everybody else in the loop has a turn; at most 256 KiB are read in each."""


class _Shared:
    """What the calls of one event loop share."""

    def __init__(self) -> None:
        self.in_the_making = asyncio.Semaphore(IN_THE_MAKING)
        self.running: dict[Hashable, asyncio.Future[Any]] = {}


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


def check_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that runs here.

    Raises:
        RuntimeError: none does, or one of another kind.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as none:
        raise RuntimeError(
            "there is no running event loop of asyncio's to wait in; in trio, call the function through "
            "trio.to_thread.run_sync(...) or anyio.to_thread.run_sync(...)"
        ) from none


def _of_this_loop() -> _Shared:
    loop = check_loop()
    known = _shared.get(loop)
    if known is None:
        known = _shared[loop] = _Shared()
    return known


async def once(key: Hashable, function: Callable[..., T], *args: Any) -> T:
    """Run what takes long beside the loop; tasks that ask for the same meanwhile get the same answer.

    Args:
        key: what it is.
        function: run in a thread of the loop's. It goes on when a task that waits for it is cancelled.
        *args: its arguments.
    """
    shared = _of_this_loop()
    running = shared.running.get(key)
    if running is None:
        running = asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args))
        shared.running[key] = running
        running.add_done_callback(lambda _: shared.running.pop(key))
    result: T = await asyncio.shield(running)
    return result


async def built(prepared: Prepared, function: bytes = b"", output: Output | None = None) -> Isolate:
    """Return a new isolate, when it is its turn to be built, and its walls stand and are checked.

    Args:
        prepared: the policy.
        function: what its worker imports ahead, empty for nothing.
        output: takes what it writes.

    Raises:
        Unsupported, SetupError.
    """
    async with _of_this_loop().in_the_making:
        return await _built(prepared, function, output)


async def _built(prepared: Prepared, function: bytes, output: Output | None = None) -> Isolate:
    if not pool.has_spawner(prepared):
        await once(prepared.spawner, pool.start_spawner, prepared)
    isolate = pool.start(prepared, function)
    isolate.output = output
    await to_the_end(isolate, _ready_or_gone(isolate, prepared))
    return isolate


async def take(prepared: Prepared, function: bytes) -> Isolate:
    """Return an isolate, as `pool.take` does; a new one waits until it is its turn to be built, and then until it is.

    Raises:
        Unsupported, SetupError.
    """
    isolate = pool.take_waiting(prepared, function)
    if isolate is not None:
        return isolate
    async with _of_this_loop().in_the_making:
        isolate = pool.take_waiting(prepared, function)  # another call may have given one back meanwhile
        return isolate or await _built(prepared, function)


def _ready_or_gone(isolate: Isolate, prepared: Prepared) -> Talk[None]:
    ready = False
    try:
        yield from make_ready(isolate, prepared)
        ready = True
    except GeneratorExit:  # nobody waits with us any more
        isolate.end()
        raise
    finally:
        if not ready:
            yield from isolate.ending()


async def run(prepared: Prepared, signature: Signature, encoded: EncodedCall, part: bytes) -> Any:
    """Do what `call.run` does, waiting in the running event loop; cancelling the task kills the isolate.

    Args:
        prepared: the policy.
        signature: of the function.
        encoded: the arguments.
        part: the function, as it is sent to a worker that does not have it.
    """
    isolate = await take(prepared, signature.part)
    answer = await with_the_caller(isolate, whole(isolate, prepared, signature, encoded, part, later=True), prepared, encoded)
    if isinstance(answer, Later):
        return await asyncio.get_running_loop().run_in_executor(None, answer.read)
    return answer


async def with_the_caller(isolate: Isolate, talk: Talk[T], prepared: Prepared, encoded: EncodedCall) -> T:
    """Drive a conversation, awaiting host functions and iterators of the caller's where the call has some."""
    if not (encoded.iterators or prepared.terms.expose):
        return await to_the_end(isolate, talk)
    from isolate_fn._runtime.handed_async import awaiting

    isolate.awaits = True
    value: T = (await awaiting(isolate, talk)).value
    return value


async def readable(connection: socket.socket, seconds: float) -> bool:
    """Wait until something can be read; return whether it can."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _set, future)
    try:
        done, _ = await asyncio.wait((future,), timeout=seconds)
        return bool(done)
    finally:
        loop.remove_reader(connection)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def to_the_end(isolate: Isolate, talk: Talk[T]) -> T:
    """Drive a conversation by waiting in the running event loop.

    Args:
        isolate: whose descriptors are waited for; its conversation ends in this task.
        talk: the conversation, which has not begun. It ends the isolate when it is interrupted.

    Raises:
        Whatever it raises; asyncio.CancelledError: the task was cancelled, and the conversation has been told.
    """
    try:
        waiter = _Waiter(isolate)
    except BaseException:  # no descriptor is left, or the loop can watch none; the conversation cannot clean up
        isolate.end()
        raise
    told = False
    try:
        latest = _latest(next(talk))
        while True:
            try:
                events = await waiter.events(latest)
            except GeneratorExit:  # the loop is gone: nothing can wait any more
                talk.close()
                raise
            except BaseException as interrupt:
                if told and isinstance(interrupt, asyncio.CancelledError):
                    continue  # cancelled again, while it cleans up after the first time, which it will tell
                told = True
                latest = _latest(talk.throw(interrupt))
            else:
                latest = _latest(talk.send(events))
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        waiter.close()


def _latest(wait: float | None) -> float | None:
    return None if wait is None else time.monotonic() + wait


class _Waiter:
    """Watches one isolate's epoll(7) descriptor in the running loop.

    By a copy of the descriptor: the conversation closes its own when it ends the isolate, and the loop must be told
    before the number can mean something else.
    """

    def __init__(self, isolate: Isolate) -> None:
        self.poll = isolate.poll
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] | None = None
        self.turns = 0
        self.descriptor = os.dup(isolate.poll.fileno())
        try:
            self.loop.add_reader(self.descriptor, self._wake)
        except BaseException:
            os.close(self.descriptor)
            raise

    def _wake(self) -> None:
        if self.future is not None:
            _set(self.future)

    async def events(self, latest: float | None) -> list[tuple[int, int]]:
        """Return what has happened, nothing where nothing has until ``latest``, by time.monotonic()."""
        self.turns += 1
        if self.turns > _TURNS:
            self.turns = 0
            await asyncio.sleep(0)
        while True:
            found = self.poll.poll(0)  # the loop may wake us for what was dealt with meanwhile
            left = None if latest is None else latest - time.monotonic()
            if found or (left is not None and left <= 0):
                return found
            self.turns = 0
            self.future = self.loop.create_future()
            timer = None if left is None else self.loop.call_later(left, self._wake)
            try:
                await self.future
            finally:
                self.future = None
                if timer is not None:
                    timer.cancel()

    def close(self) -> None:
        """Watch no longer."""
        if not self.loop.is_closed():
            self.loop.remove_reader(self.descriptor)
        os.close(self.descriptor)
