"""Drive a conversation in an event loop, and await for it what it hands over."""

from __future__ import annotations

import asyncio
import time

from isolate_fn._runtime.asynchronous import to_the_end
from isolate_fn._runtime.endings import OutOfTime
from isolate_fn._runtime.handed import Awaited, Item, Over, until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.talk import Talk


async def awaiting(isolate: Isolate, talk: Talk[Any], sent: Any = None) -> Over | Item:
    """Drive a conversation in the running event loop until it ends or hands over an item, awaiting what it wants awaited.

    Args:
        isolate: whose descriptors are waited for.
        talk: the conversation.
        sent: what it is sent first.

    Raises:
        Whatever it raises; asyncio.CancelledError: the task was cancelled, and the conversation has been told.
    """
    thrown: BaseException | None = None
    while True:
        found = await to_the_end(isolate, until(talk, sent, thrown))
        if not isinstance(found, Awaited):
            return found
        sent = thrown = None
        try:
            sent = await _in_time(found)
        except GeneratorExit:  # the loop is gone
            talk.close()
            raise
        except BaseException as failure:
            thrown = failure


async def _in_time(wanted: Awaited) -> Any:
    left = None if wanted.latest is None else wanted.latest - time.monotonic()
    limit = asyncio.timeout(left)
    try:
        async with limit:
            return await wanted.awaitable
    except TimeoutError:
        if limit.expired():
            raise OutOfTime from None
        raise
