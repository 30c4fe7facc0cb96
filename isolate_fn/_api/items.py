"""Generators whose body runs in an isolate.

Nothing runs ahead: as with any generator, the body runs while the next item is waited for, and stands still otherwise.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Any

from isolate_fn._api.function import Isolated
from isolate_fn._runtime import lifetime, pool, streams
from isolate_fn._runtime.handed import Over, until
from isolate_fn._runtime.talk import to_the_end
from isolate_fn.errors import PolicyError, TimedOut


class _Stream:
    """One call of a generator function.

    Args:
        function: it.
        args, kwargs: its arguments, which are read when the first item is asked for.
    """

    def __init__(self, function: Isolated[Any, Any], args: Any, kwargs: Any) -> None:
        self.__name__ = getattr(function, "__name__", "generator")
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self._call: Any = (function, args, kwargs)
        self._isolate: Any = None
        self._talk: Any = None
        self._closed = self._serves_on = False
        self._process = lifetime.generation
        self._running = threading.Lock()

    def __repr__(self) -> str:
        return f"<isolated generator {self.__qualname__} at {id(self):#x}>"

    def _begin(self, isolate: Any, prepared: Any, signature: Any, encoded: Any, part: bytes) -> None:
        self._call = None
        self._process = lifetime.generation
        self._isolate = isolate
        self._serves_on = prepared.terms.reuse != 1
        self._talk = streams.stream(isolate, prepared, signature, encoded, part)

    def _check_process(self) -> None:
        if self._talk is not None and self._process != lifetime.generation:
            raise PolicyError(
                self.__name__,
                "the generator was started in another process, of which this one is a fork",
                "call the function again in this process",
            )

    def _end(self) -> None:
        """Let go of everything, after the conversation has ended."""
        self._closed, self._call, self._talk = True, None, None
        if self._isolate is not None:
            self._isolate.asides.clear()  # where it refers to itself
            self._isolate = None

    def _kill(self) -> None:
        """End the isolate at once, without a word to the generator inside."""
        talk, isolate = self._talk, self._isolate
        if talk is not None:
            if self._process != lifetime.generation:  # the isolate belongs to another process
                isolate.output = None
            talk.close()
        self._end()

    def _abandoned(self) -> bool:
        """Tell whether nobody can speak to the isolate any more."""
        return self._process != lifetime.generation or sys.is_finalizing()


class Items(_Stream, Generator[Any, Any, Any]):
    """A generator whose body runs in an isolate; what calling an isolated generator function returns."""

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Have the generator go on, and return its next item.

        Args:
            value: what ``yield`` inside returns. It travels as an argument does.

        Raises:
            StopIteration: it has ended; the value is what it returned.
            Whatever a call of a plain function raises, for each item.
        """
        with _Turn(self._running, ValueError("generator already executing")):
            self._check_process()
            if self._closed:
                raise StopIteration
            if self._talk is None and value is not None:
                raise TypeError("can't send non-None value to a just-started generator")
            return self._next(None if self._talk is None else streams.to_send(value))

    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """Raise an exception inside, where the generator waits, and return its next item.

        Args:
            kind: the exception. It travels as an argument does.
            value: of the older way to call it, as is the next one.
            traceback: it.
        """
        error = _exception(kind, value, traceback)
        with _Turn(self._running, ValueError("generator already executing")):
            self._check_process()
            if self._closed or self._talk is None:
                self._end()
                raise error
            if not isinstance(error, GeneratorExit):
                return self._next(streams.to_throw(error))
        self.close()
        raise error

    def close(self) -> None:
        """End the generator: a fresh isolate is killed at once; in one that serves on, the generator is closed inside.

        One that takes longer than a second to close is killed as well.

        Raises:
            What the generator raises when it is closed, and RuntimeError where it yields instead.
        """
        with _Turn(self._running, ValueError("generator already executing")):
            if self._closed or self._talk is None or not self._serves_on or self._abandoned():
                self._kill()
                return
            try:
                self._next(streams.to_close())
            except (StopIteration, TimedOut):
                return
            self._kill()

    def _next(self, command: Any) -> Any:
        try:
            if self._talk is None:
                function, args, kwargs = self._call
                ready = function.made_ready(args, kwargs)
                self._begin(pool.take(ready[0], ready[1].part), *ready)
            found = to_the_end(self._isolate, until(self._talk, command))
        except BaseException:
            self._end()
            raise
        if isinstance(found, Over):
            self._end()
            raise StopIteration(found.value)
        return found.value  # type: ignore[union-attr]

    def __del__(self) -> None:
        if self._talk is not None:
            try:
                self.close()
            except Exception:
                self._kill()


class AwaitedItems(_Stream, AsyncGenerator[Any, Any]):
    """An async generator whose body runs in an isolate; what calling an isolated async generator function returns."""

    async def __anext__(self) -> Any:
        return await self.asend(None)

    async def asend(self, value: Any) -> Any:
        """Have the generator go on, and return its next item; see `Items.send`.

        Raises:
            StopAsyncIteration: it has ended.
        """
        with _Turn(self._running, RuntimeError("anext(): asynchronous generator is already running")):
            self._check_process()
            if self._closed:
                raise StopAsyncIteration
            if self._talk is None and value is not None:
                raise TypeError("can't send non-None value to a just-started async generator")
            return await self._next(None if self._talk is None else streams.to_send(value))

    async def athrow(self, kind: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """Raise an exception inside, where the generator waits, and return its next item; see `Items.throw`."""
        error = _exception(kind, value, traceback)
        with _Turn(self._running, RuntimeError("athrow(): asynchronous generator is already running")):
            self._check_process()
            if self._closed or self._talk is None:
                self._end()
                raise error
            if not isinstance(error, GeneratorExit):
                return await self._next(streams.to_throw(error))
        await self.aclose()
        raise error

    async def aclose(self) -> None:
        """End the generator, as `Items.close` does."""
        with _Turn(self._running, RuntimeError("aclose(): asynchronous generator is already running")):
            if self._closed or self._talk is None or not self._serves_on or self._abandoned():
                self._kill()
                return
            try:
                await self._next(streams.to_close())
            except (StopAsyncIteration, TimedOut):
                return
            self._kill()

    async def _next(self, command: Any) -> Any:
        try:
            if self._talk is None:
                await self._start()
            from isolate_fn._runtime.handed_async import awaiting  # asyncio is here already

            found = await awaiting(self._isolate, self._talk, command)
        except BaseException:
            self._end()
            raise
        if isinstance(found, Over):
            self._end()
            raise StopAsyncIteration
        return found.value

    async def _start(self) -> None:
        from isolate_fn._runtime import asynchronous

        function, args, kwargs = self._call
        asynchronous.check_loop()
        if not function.is_up_to_date():
            await asynchronous.once(function, function.made_ready, (), {})
        ready = function.made_ready(args, kwargs)
        self._begin(await asynchronous.take(ready[0], ready[1].part), *ready)
        self._isolate.awaits = True

    def __del__(self) -> None:
        if self._talk is not None:  # nobody can await it here
            self._kill()


class _Turn:
    """One at a time: a generator that runs is not entered again, from no thread."""

    def __init__(self, lock: threading.Lock, otherwise: Exception) -> None:
        self.lock, self.otherwise = lock, otherwise

    def __enter__(self) -> None:
        if not self.lock.acquire(blocking=False):
            raise self.otherwise

    def __exit__(self, *raised: object) -> None:
        self.lock.release()


def _exception(kind: Any, value: Any, traceback: TracebackType | None) -> BaseException:
    error = kind if isinstance(kind, BaseException) else value
    if not isinstance(error, BaseException):
        error = kind() if error is None else kind(*error) if isinstance(error, tuple) else kind(error)
    if not isinstance(error, BaseException):
        raise TypeError("exceptions must be classes or instances deriving from BaseException")
    return error if traceback is None else error.with_traceback(traceback)
