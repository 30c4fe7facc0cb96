"""Talking with an isolate without saying how to wait: a generator yields for how long, and is sent what happened.

Who drives it decides: `to_the_end` waits in the calling thread; `isolate_fn._runtime.asynchronous` leaves the waiting to an
event loop. Either way there is one text of the conversation.
"""

from __future__ import annotations

from isolate_fn._runtime import lifetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeVar

    from isolate_fn._runtime.listening import Listening

    T = TypeVar("T")
    Events = list[tuple[int, int]]
    # Yields seconds to wait, None for as long as it takes; is sent descriptors and what happened to them, as epoll tells
    # it, none where the time was over; returns what the conversation was for.
    Talk = Generator[float | None, Events, T]


def to_the_end(isolate: Listening, talk: Talk[T]) -> T:
    """Drive a conversation by waiting in this thread.

    Args:
        isolate: whose descriptors are waited for.
        talk: the conversation.

    Raises:
        Whatever it raises. An exception that comes while waiting, from a signal handler, is thrown into it.
    """
    poll = isolate.poll.poll
    try:
        wait = next(talk)
        while True:
            try:
                events = poll(wait)
            except BaseException as interrupt:
                wait = talk.throw(interrupt)
            else:
                wait = talk.send(events)
    except StopIteration as done:
        value: T = done.value
        return value
    except BaseException:
        lifetime.stay_if_over()
        raise
