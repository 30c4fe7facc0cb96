"""Process pools with one worker each: no isolation at all, the convenience that ours is compared to."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool
from typing import Any, NamedTuple

Call = Callable[[Any], Any]


class Pools(NamedTuple):
    """Started pools.

    Attributes:
        calls: by name, each calls the function with one argument in its worker and returns what comes back.
        missing: why a pool is not there, by name.
        close: ends them all.
    """

    calls: dict[str, Call]
    missing: dict[str, str]
    close: Callable[[], None]


def start(function: Call) -> Pools:
    """Start every pool that is installed. Call this before anything else starts: most of them fork this process.

    Args:
        function: of an importable module.
    """
    executor = ProcessPoolExecutor(1)
    pool = Pool(1)
    calls: dict[str, Call] = {
        "ProcessPoolExecutor": lambda payload: executor.submit(function, payload).result(),
        "multiprocessing.Pool": lambda payload: pool.apply(function, (payload,)),
    }
    ends: list[Callable[[], Any]] = [executor.shutdown, pool.terminate]
    missing: dict[str, str] = {}
    for name, add in (("loky", _loky), ("pebble", _pebble)):
        try:
            call, end = add(importlib.import_module(name), function)
            call(0)
        except ImportError:
            missing[name] = "not installed"
        except Exception as failure:  # whatever it raises, it cannot take part
            missing[name] = f"{type(failure).__name__}: {failure}"
        else:
            calls[name] = call
            ends.append(end)

    def close() -> None:
        for end in ends:
            end()

    return Pools(calls, missing, close)


def _loky(library: Any, function: Call) -> tuple[Call, Callable[[], Any]]:
    executor = library.ProcessPoolExecutor(1)
    return lambda payload: executor.submit(function, payload).result(), executor.shutdown


def _pebble(library: Any, function: Call) -> tuple[Call, Callable[[], Any]]:
    pool = library.ProcessPool(1)

    def end() -> None:
        pool.stop()
        pool.join()

    return lambda payload: pool.schedule(function, args=[payload]).result(), end
