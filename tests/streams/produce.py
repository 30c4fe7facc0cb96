"""What the tests of streams run inside isolates."""

from __future__ import annotations

import asyncio
import enum
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from isolate_fn import host, isolated


@dataclass
class Point:
    """A class that an annotation names."""

    x: int
    y: int = 0


class Pair(NamedTuple):
    """Another one."""

    left: object
    right: int


class Colour(enum.Enum):
    """Another one."""

    RED = 1


class OwnError(Exception):
    """An exception of this module."""


class Opaque:
    """A class that no result may hold."""


def numbers(stop: int, start: int = 0) -> Iterator[int]:
    """Yield numbers, and return their sum."""
    yield from range(start, stop)
    return sum(range(start, stop))


def processes(times: int = 1 << 30) -> Iterator[int]:
    """Yield the number of the process."""
    for _ in range(times):
        yield os.getpid()


def marking(stop: int) -> Iterator[int]:
    """Tell the caller before each item, and at the end."""
    try:
        for number in range(stop):
            host.mark(number)
            yield number
    finally:
        host.mark("closed")


def remembering() -> Iterator[str]:
    """Leave a file behind when it is closed."""
    try:
        while True:
            yield os.path.exists("/tmp/closed") and "closed before"
    finally:
        with open("/tmp/closed", "w"):
            pass


def stubborn(how: str) -> Iterator[int]:
    """Do not let itself be closed."""
    try:
        yield 1
    finally:
        if how == "sleep":
            time.sleep(600)
        elif how == "raise":
            raise OwnError("while closing")
        else:
            yield 2


def echo() -> Iterator[Any]:
    """Yield what was sent, or the text of what was thrown."""
    received: Any = "begun"
    while received != "stop":
        try:
            received = yield received
        except OwnError as error:
            received = f"caught {error}"


def fail_after(count: int, kind: str) -> Iterator[int]:
    """Yield some numbers, then end badly."""
    yield from range(count)
    ends = {
        "raise": lambda: _raise(OwnError("in the middle")),
        "exit": lambda: os._exit(7),
        "abort": os.abort,
        "sleep": lambda: time.sleep(600),
        "system exit": lambda: _raise(SystemExit(3)),
    }
    ends[kind]()


def _raise(error: BaseException) -> None:
    raise error


def sized(*sizes: int) -> Iterator[bytes]:
    """Yield bytes."""
    for size in sizes:
        yield bytes(size)


def points(count: int) -> Iterator[Point]:
    """Yield instances of a class that the annotation names."""
    for number in range(count):
        yield Point(number, -number)


def opaque() -> Iterator[Any]:
    """Yield one item that can leave, and one that cannot."""
    yield 1
    yield Opaque()


def talkative(count: int) -> Iterator[int]:
    """Print before each item."""
    for number in range(count):
        print("before", number)
        yield number


@isolated
def countdown(start: int) -> Iterator[int]:
    """Call itself."""
    yield start
    if start:
        yield from countdown(start - 1)


class Tool:
    """A class whose methods are generators."""

    def __init__(self, base: int) -> None:
        self.base = base

    @isolated
    def above(self, count: int) -> Iterator[int]:
        """Yield numbers above its base."""
        for number in range(count):
            yield self.base + number

    @isolated
    @classmethod
    def named(cls) -> Iterator[str]:
        """Yield the class's name."""
        yield cls.__name__

    @staticmethod
    @isolated
    def static(count: int) -> Iterator[int]:
        """Yield numbers."""
        yield from range(count)


# --- async -----------------------------------------------------------------------------------------------------------


async def ticks(count: int, pause: float = 0.0) -> AsyncIterator[int]:
    """Yield numbers, with a turn of the loop between them."""
    for number in range(count):
        await asyncio.sleep(pause)
        yield number


async def async_echo() -> AsyncIterator[Any]:
    """Yield what was sent, or the text of what was thrown; raise it where it is a ValueError."""
    received: Any = "begun"
    while True:
        try:
            received = yield received
        except OwnError as error:
            received = f"caught {error}"


async def async_fail(count: int) -> AsyncIterator[int]:
    """Yield some numbers, then raise."""
    for number in range(count):
        yield number
    raise OwnError("in the middle")


async def async_remembering() -> AsyncIterator[bool]:
    """Leave a file behind when it is closed."""
    try:
        while True:
            yield os.path.exists("/tmp/closed")
    finally:
        await asyncio.sleep(0)
        with open("/tmp/closed", "w"):
            pass


async def with_background(count: int) -> AsyncIterator[int]:
    """Yield how far a task of the same loop has come."""
    done = 0

    async def work() -> None:
        nonlocal done
        while True:
            done += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(work())
    for _ in range(count):
        await asyncio.sleep(0.01)
        yield done
    task.cancel()


# --- iterators of the caller's -----------------------------------------------------------------------------------------


def total(items: Any, *, more: Any = ()) -> int:
    """Add up everything."""
    return sum(items) + sum(more)


def first(items: Iterator[Any], count: int) -> list[Any]:
    """Take some items only."""
    return [next(items) for _ in range(count)]


def kinds(*values: Any) -> list[str]:
    """Tell as what arguments arrive."""
    return [type(value).__name__ for value in values]


def twice(items: Iterator[int]) -> Iterator[int]:
    """Yield the double of each item."""
    for item in items:
        yield 2 * item


def exhaust_and_ask_again(items: Iterator[Any]) -> tuple[list[Any], list[Any]]:
    """Go on asking after the end."""
    return list(items), list(items)


_kept: list[Any] = []


def keep(items: Iterator[Any]) -> None:
    """Keep an iterator beyond the call."""
    _kept.append(items)


def use_kept() -> str:
    """Ask an iterator of an earlier call."""
    try:
        return str(next(_kept[0]))
    except RuntimeError as error:
        return str(error)


def in_threads(items: Iterator[Any], threads: int) -> list[Any]:
    """Read one iterator in several threads at once."""
    found: list[Any] = []
    running = [threading.Thread(target=lambda: found.extend(items)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(found)


class Counter:
    """An iterator with an isolated method."""

    def __init__(self) -> None:
        self.count = 5

    def __iter__(self) -> Counter:
        return self

    def __next__(self) -> int:
        raise StopIteration

    @isolated
    def get(self) -> int:
        """Return its state."""
        return self.count


async def async_total(items: AsyncIterator[int]) -> AsyncIterator[int]:
    """Yield running totals."""
    found = 0
    async for item in items:
        found += item
        yield found


# --- host functions --------------------------------------------------------------------------------------------------


def ask(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a host function."""
    return getattr(host, name)(*args, **kwargs)


def take_and_ask(name: str) -> int:
    """Use memory and processor time, then a host function twice."""
    kept = b"x" * (50 << 20)
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    ask(name)
    ask(name)
    return len(kept)


def attributes(name: str) -> list[str]:
    """Return the names of what is in an object that a host function returns."""
    return sorted(vars(ask(name)))


def ask_often(name: str, times: int) -> list[Any]:
    """Call a host function several times."""
    return [getattr(host, name)(number) for number in range(times)]


def fate(name: str, *args: Any) -> tuple[str, str]:
    """Call a host function, and tell what it raises."""
    try:
        return "returned", repr(getattr(host, name)(*args))
    except Exception as error:
        return type(error).__name__, str(error)


def what_is_there() -> tuple[list[str], bool, str]:
    """Tell which host functions there are."""
    try:
        error = str(host.missing)
    except AttributeError as missing:
        error = str(missing)
    return dir(host), hasattr(host, "lookup"), error


def ask_in_threads(name: str, threads: int, times: int) -> list[Any]:
    """Call a host function in several threads at once."""
    found: list[Any] = []

    def work(number: int) -> None:
        found.extend(getattr(host, name)(number * times + each) for each in range(times))

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(found)


def give_opaque(name: str) -> str:
    """Pass what cannot leave."""
    try:
        getattr(host, name)(Opaque())
    except TypeError as error:
        return str(error)
    return "passed"


def give_point(name: str) -> Any:
    """Pass an instance of a class."""
    return getattr(host, name)(Point(1, 2))


async def async_asks(name: str, times: int) -> AsyncIterator[Any]:
    """Yield what a host function returns."""
    for number in range(times):
        yield getattr(host, name)(number)


async def async_ask(name: str, *args: Any) -> Any:
    """Call a host function from a coroutine."""
    return getattr(host, name)(*args)
