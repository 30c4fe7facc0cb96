"""What `Sandbox` does for tasks of an asyncio event loop; see `isolate_fn._api.box_tasks` for what each of these is."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from isolate_fn._runtime import asynchronous, deaths
from isolate_fn._runtime.isolate import SETUP_SECONDS, Isolate
from isolate_fn._runtime.toolbox import Toolbox
from isolate_fn.errors import PolicyError, SetupError

if TYPE_CHECKING:
    from isolate_fn._api.context import Sandbox
    from isolate_fn._runtime.talk import Talk
    from isolate_fn._transport.frames import Frame


async def enter(box: Sandbox) -> None:
    """Build the isolate and check its walls, as ``with`` does."""
    box._only_once()
    isolate = await asynchronous.built(box._prepared, output=box._output)
    try:
        box._toolbox = Toolbox(isolate, box._prepared)
        if not await asynchronous.readable(box._toolbox.connection, SETUP_SECONDS):
            raise SetupError("build the isolate", "poll", 0, f"its tool process took longer than {SETUP_SECONDS:.0f} s")
        box._toolbox.make_ready()  # what it says is there, and it is trusted: it has seen no input
    except BaseException:
        isolate.end()
        raise
    box._isolate = isolate


async def leave(
    box: Sandbox, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
) -> None:
    """End the isolate, as the end of a ``with`` block does; also where the task is cancelled meanwhile."""
    leaving = asyncio.ensure_future(_leave(box, functools.partial(box.__exit__, kind, error, traceback)))
    cancelled = None
    while not leaving.done():
        try:
            await asyncio.wait((leaving,))
        except asyncio.CancelledError as again:
            cancelled = again
    if cancelled is not None:
        leaving.exception()  # less telling than that it was cancelled
        raise cancelled
    leaving.result()


async def _leave(box: Sandbox, finish: Callable[[], object]) -> None:
    box._leaving = True
    while box._tasks:  # calls that other tasks await end like those of other threads
        if box._isolate is not None:
            box._isolate.condemn()
        async with box._lock.of_task():  # they come first
            pass
        await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, finish)


async def call(box: Sandbox, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function in the sandbox's worker."""
    if box._leaving:
        raise PolicyError("sandbox", "the block is not open", "use it as `async with sandbox(...) as box:`")
    box._tasks += 1
    try:
        async with box._lock.of_task():
            return await _call(box, function, args, kwargs)
    finally:
        box._tasks -= 1


async def _call(box: Sandbox, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    isolate, _ = box._open()
    signature, encoded, talk = box._conversation(isolate, function, args, kwargs)
    try:
        answer = await asynchronous.with_the_caller(isolate, _or_ended(isolate, talk), box._prepared, encoded)
        if isolate.wrote:
            isolate.drain()
    except asyncio.CancelledError as cancelled:
        box._ended_by(cancelled, isolate)
        box._why = deaths.cancelled(box._report)
        raise
    except PolicyError:  # nothing was sent
        raise
    except BaseException as reason:
        raise box._ended_by(reason, isolate) from None
    return box._judged(answer, isolate, signature)


def _or_ended(isolate: Isolate, talk: Talk[Frame]) -> Talk[Frame]:
    """Have a conversation; where the task is cancelled, end the isolate without holding up the loop."""
    try:
        return (yield from talk)
    except asyncio.CancelledError:
        yield from isolate.ending()
        raise
