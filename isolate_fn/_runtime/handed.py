"""What a conversation hands to whoever drives it, beside seconds to wait: an item, or something to be awaited.

`until` is a conversation about a conversation: it ends where the inner one hands something over, so that the drivers,
which know of nothing but waiting, need not know more for streams and for host functions that are awaited.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from isolate_fn._runtime.talk import Talk


class Over:
    """The inner conversation has ended.

    Attributes:
        value: what it returned.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class Item:
    """An item of a stream; sent back is a `Command`.

    Attributes:
        value: of the item.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class Awaited:
    """Something to be awaited; sent back, or thrown, is what comes of it.

    Attributes:
        awaitable: it.
        latest: when to give up, by time.monotonic(); None for never. Thrown is then `OutOfTime`.
    """

    def __init__(self, awaitable: Awaitable[Any], latest: float | None) -> None:
        self.awaitable, self.latest = awaitable, latest


def until(talk: Talk[Any], sent: Any = None, thrown: BaseException | None = None) -> Talk[Over | Item | Awaited]:
    """Have a conversation go on until it hands something over, and return that.

    Args:
        talk: it.
        sent: what it is sent first; None where it has not begun.
        thrown: what is thrown into it first, instead.

    Raises:
        Whatever it raises.
    """
    step: Callable[[], Any] = (lambda: talk.send(sent)) if thrown is None else (lambda: talk.throw(thrown))
    while True:
        try:
            wait: Any = step()
        except StopIteration as done:
            return Over(done.value)
        if isinstance(wait, (Item, Awaited)):
            return wait
        try:
            events = yield wait
        except GeneratorExit:  # nobody waits with us any more
            talk.close()
            raise
        except BaseException as interrupt:
            step = _bound(talk.throw, interrupt)
        else:
            step = _bound(talk.send, events)


def _bound(function: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    return lambda: function(argument)
