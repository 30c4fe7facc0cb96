"""Generator functions inside an isolate: run item by item, each one sent when it is asked for, and none ahead.

One call of a generator function is one call like any other, whose answer is how the generator ended. Before it come
questions: each sends an item and is answered by what the caller's side was asked to do next.
"""

from __future__ import annotations

from _pickle import loads
from collections.abc import Callable

from isolate_fn._runtime import asides
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.received import load_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SEND, THROW, CLOSE = b'"send"', b'"throw"', b'"close"'
"""What the caller's side wants done to the generator: the JSON of its replies. The first two come with a pickled value."""


class Generating:
    """A generator function, which calling runs to its end.

    Args:
        function: it.
        registered: pickled encode functions of registered classes, empty for none.
        trusted: items are pickled.
        awaited: it is an async generator function.
    """

    def __init__(self, function: Callable[..., Any], registered: bytes, trusted: bool, awaited: bool) -> None:
        self.__func__ = function
        self._registered = loads(registered) if registered else None
        self._trusted = trusted
        self._stepper: type[_Steps] = _Steps
        if awaited:
            import asyncio  # noqa: F401 - before a filter denies it

            self._stepper = _AwaitedSteps

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        steps = self._stepper(self.__func__(*args, **kwargs))
        try:
            command, value = SEND, None
            while command != CLOSE:
                try:
                    item = steps.throw(value) if command == THROW else steps.send(value)
                except steps.end as done:
                    return getattr(done, "value", None)
                command, pickled = self._hand_over(item)
                value = loads(pickled[0]) if pickled else None
            return None
        finally:
            steps.close()

    def _hand_over(self, item: Any) -> Any:
        """Send an item, and return what is wanted next."""
        from isolate_fn._runtime.flushing import flush

        if self._trusted:
            from isolate_fn._transport.calls import dump

            text, buffers = b"true", [dump(item)]
        else:
            text, buffers = encode(item, registered=self._registered)
        flush()
        return asides.ask(Kind.ITEM, text, buffers)


class _Steps:
    """A generator."""

    end: type[Exception] = StopIteration

    def __init__(self, generator: Any) -> None:
        self.generator = generator
        self.send, self.throw, self.close = generator.send, generator.throw, generator.close


class _AwaitedSteps(_Steps):
    """An async generator, driven by an event loop of its own, which stands still between two items."""

    end = StopAsyncIteration

    def __init__(self, generator: Any) -> None:
        import asyncio

        self.generator = generator
        self.runner = asyncio.Runner()

    def send(self, value: Any) -> Any:
        return self._run(self.generator.asend(value))

    def throw(self, error: Any) -> Any:
        return self._run(self.generator.athrow(error))

    def close(self) -> None:
        with self.runner:
            self._run(self.generator.aclose())

    def _run(self, awaitable: Any) -> Any:
        value, error = self.runner.run(_result(awaitable))
        if error is not None:
            raise error
        return value


async def _result(awaitable: Any) -> tuple[Any, BaseException | None]:
    """Return what comes of it, exceptions as well: their tracebacks shall not show how the loop got here."""
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


def by_name(location: Any, registered: bytes, trusted: bool, awaited: bool) -> Generating:
    """Rebuild a generator function that is found by name; called from inside pickles."""
    return Generating(load_location(location), registered, trusted, awaited)


class Sent:
    """Stands for a generator function on its way in; arrives as a `Generating`.

    Args:
        reference: where it is found.
        registered, trusted, awaited: as for `Generating`.
    """

    def __init__(self, reference: Any, registered: bytes, trusted: bool, awaited: bool) -> None:
        self.reference, self.rest = reference, (registered, trusted, awaited)

    def __reduce__(self) -> tuple[Any, ...]:
        location = self.reference.location
        if location is not None:
            return by_name, (tuple(location), *self.rest)
        return Generating, (self.reference.function, *self.rest)
