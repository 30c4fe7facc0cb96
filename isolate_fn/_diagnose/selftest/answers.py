"""Promise 5: attacks on the caller by what comes back. The worker is taken over; whatever it says, the caller goes on."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from isolate_fn._diagnose.selftest import liar
from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.liar import HONEST, RESULT, frame, header
from isolate_fn._diagnose.selftest.world import Outcome, World
from isolate_fn.errors import IsolationError

ANSWERS = Promise(
    5,
    "answers",
    "Nothing that comes back executes in the caller, or crashes it: not by pickles, exceptions, descriptors, sizes or timing.",
)

OWN_FORMAT = "only this library reads the format that is attacked"
REFUSED = "the call ends in an error soon, and the caller is as before"
SOON = 20.0
"""Seconds after which an answer that is refused held up the caller."""

_MEMORY = 128 << 20


class _State:
    """What the caller holds before an attack, to be compared with what it holds after."""

    def __init__(self) -> None:
        self.descriptors, self.memory, self.began = self._descriptors(), self._memory(), time.monotonic()

    @staticmethod
    def _descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    @staticmethod
    def _memory() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def harm(self, calls: int) -> Found:
        found: Found = {}
        if self._descriptors() > self.descriptors + 3:  # what is started once and stays
            found["descriptors"] = f"{self._descriptors() - self.descriptors} more are open"
        if self._memory() - self.memory > _MEMORY:
            found["memory"] = f"the caller grew by {(self._memory() - self.memory) >> 20} MiB"
        if time.monotonic() - self.began > SOON * calls:
            found["time"] = f"the caller waited {time.monotonic() - self.began:.0f} s"
        return found


def suffer(world: World, attacks: Iterable[tuple[str, Callable[[], Outcome]]], allowed: tuple[Any, ...] = ()) -> Found:
    """Make calls that must fail, or give one of the allowed values; say what went otherwise.

    Args:
        world: for an honest call afterwards.
        attacks: (name, the call).
        allowed: values that are harmless.
    """
    state, count = _State(), 0
    found: Found = {}
    for name, attack in attacks:
        ended = attack()
        count += 1
        if ended.error is None and ended.value not in allowed:
            found[name] = f"it returned {ended.value!r:.60}"
        elif ended.error is None:
            found[name] = -1
        elif not isinstance(ended.error, IsolationError):
            found[name] = f"{type(ended.error).__name__} in the caller"
        else:
            found[name] = -1 if ended.error.ran else f"it did not run: {ended.error}"
    found |= state.harm(count)
    after = world.call(liar.honest)
    if after.value != "honest":
        found["the next call"] = f"{after.error or after.value!r}"
    return found


def lies(world: World, payloads: dict[str, bytes], allowed: tuple[Any, ...] = (), **options: Any) -> Found:
    """Have each payload said by a worker of its own; see `suffer`."""
    return suffer(
        world,
        ((name, lambda data=data: world.call(liar.say, data, **options)) for name, data in payloads.items()),  # type: ignore[misc]
        allowed,
    )


# --- code ------------------------------------------------------------------------------------------------------------


class _Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


_GADGETS: dict[str, Callable[[str], bytes]] = {
    "reduce": lambda mark: pickle.dumps(_Evil(f": > {mark}")),
    "global": lambda mark: b"cos\nsystem\n(S': > " + os.fsencode(mark) + b"'\ntR.",
    "by name": lambda mark: b'cbuiltins\neval\n(S\'__import__("os").system(": > ' + os.fsencode(mark) + b"\")'\ntR.",
}


def unpickled(facts: Facts) -> Found:
    """What a caller that unpickles results does with the same bytes."""
    found: Found = {}
    for name, gadget in _GADGETS.items():
        mark = f"{facts.scratch}/executed-{name.replace(' ', '-')}"
        pickle.loads(gadget(mark))  # noqa: S301 - that is the point
        found[name] = "code ran" if os.path.exists(mark) else -1
    return found


def _pickles(world: World, wrap: Callable[[bytes], bytes]) -> Found:
    mark = str(world.inside.directory / "executed")
    payloads = {name: wrap(gadget(mark)) for name, gadget in _GADGETS.items()}
    found = lies(world, payloads, tuple(gadget(mark).decode("latin-1") for gadget in _GADGETS.values()))
    if os.path.exists(mark):
        os.unlink(mark)
        found["code"] = "ran in the caller"
    return found


@ANSWERS.led("pickle", "answer with a pickle that runs a command", held="it is not unpickled", plain=unpickled)
def pickle_bare(world: World) -> Found:
    """By the three ways in which pickles call."""
    return _pickles(world, lambda data: data)


@ANSWERS.led("pickle-inside", "hide such a pickle in a proper answer", held="it stays bytes or text", plain=unpickled)
def pickle_inside(world: World) -> Found:
    """As a buffer, and as text."""
    import json

    found = _pickles(world, lambda data: frame(RESULT, b"true", data))
    text = _pickles(world, lambda data: frame(RESULT, json.dumps(data.decode("latin-1")).encode()))
    return {f"buffer: {name}": value for name, value in found.items()} | {
        f"text: {name}": value for name, value in text.items()
    }


@ANSWERS.led(
    "class",
    "answer with instances of classes that run things",
    held="no class is built that nobody named",
    untried=OWN_FORMAT,
)
def foreign_class(world: World) -> Found:
    """The answer names them as it would name a data class."""
    names = (
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "pathlib:Path.unlink",
        "isolate_fn._runtime.pool:close_all",
    )
    return lies(world, {name: frame(RESULT, b'{"$":"k","c":"%s","v":{"args":"id"}}' % name.encode()) for name in names})


# --- bytes that are no answer ----------------------------------------------------------------------------------------


@ANSWERS.led("malformed", "answer with frames that are wrong in every field", held=REFUSED, untried=OWN_FORMAT)
def malformed(world: World) -> Found:
    """Noise, other protocols, kinds, flags and lengths that do not add up."""
    eight = (1 << 64) - 1
    payloads = {
        "noise": bytes(range(256)) * 16,
        "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
        "magic": b"IFN2" + HONEST[4:],
        "kind 0": header(0, 4) + b"null",
        "kind 200": header(200, 4) + b"null",
        "flag": header(RESULT, 4, flags=2) + b"null",
        "reserved": header(RESULT, 4, reserved=1) + b"null",
        "lengths too small": header(RESULT, 4, 100, 1) + (7).to_bytes(8, "little") + b"null" + b"x" * 100,
        "lengths wrap round": header(RESULT, 4, 8, 2)
        + eight.to_bytes(8, "little")
        + (9).to_bytes(8, "little")
        + b"null",
        "buffers nowhere": header(RESULT, 4, 0, 1, flags=1) + (1 << 20).to_bytes(8, "little") + b"null",
        "no text": frame(RESULT, b""),
        "half a text": frame(RESULT, b"{"),
        "no unicode": frame(RESULT, b'"\xff\xfe"'),
        "unknown tag": frame(RESULT, b'{"$":"python","v":"os.system"}'),
        "forged readiness": frame(liar.READY, b"{}"),
    }
    return lies(world, payloads)


def believed(facts: Facts) -> Found:
    """What a reader does that makes room for the length that it was told."""
    try:
        return {"made room": len(bytearray(1 << 60))}
    except MemoryError:
        return {"the reader": "raised MemoryError"}


@ANSWERS.led("length", "claim a length of an exabyte", held="it is refused before room is made for it", plain=believed)
def length(world: World) -> Found:
    """Of text, of buffers, of their number, of shared memory."""
    huge = 1 << 60
    payloads = {
        "text": header(RESULT, huge),
        "buffers": header(RESULT, 4, huge),
        "number of buffers": header(RESULT, 4, 0, 0xFFFFFFFF),
        "shared": header(RESULT, 4, 0, 1, flags=1) + ((1 << 64) - 1).to_bytes(8, "little") + b"null",
        "asked for": frame(liar.ARENA, b'{"size": %d}' % huge),
    }
    return lies(world, payloads)


def dies(act: Callable[[], object]) -> Found:
    """Say whether a reader of its own survives something."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except Exception:
            os._exit(0)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"the reader": f"died of {signal.Signals(-code).name}" if code < 0 else ("was ended" if code else -1)}


def nested_key(facts: Facts) -> Found:
    """A tuple in a tuple in a tuple, as a key: its hash overflows the stack of C."""
    return dies(lambda: pickle.loads(b"\x80\x04}N" + b"\x85" * 400_000 + b"Ns."))  # noqa: S301


@ANSWERS.led("nested", "answer with values nested without end", held=REFUSED, plain=nested_key)
def nested(world: World) -> Found:
    """Lists, tagged tuples, keys of dictionaries; closed and open."""
    deep = 100_000
    key = b'{"$":"d","k":[' + b'{"$":"t","v":[' * 20_000 + b"1" + b"]}" * 20_000 + b'],"v":[1]}'
    payloads = {
        "open": frame(RESULT, b"[" * deep),
        "closed": frame(RESULT, b"[" * deep + b"]" * deep),
        "key": frame(RESULT, key),
        "exception": frame(liar.EXCEPTION, b'{"a":' * deep + b"1" + b"}" * deep),
    }
    return lies(world, payloads)


@ANSWERS.led(
    "expensive", "answer with values that take for ever to build", held=REFUSED, untried="it would only take for ever"
)
def expensive(world: World) -> Found:
    """Numbers of a million digits; a set whose members all have one hash, in which each is compared with all."""
    members = b",".join(b"%d" % (number * ((1 << 61) - 1)) for number in range(50_000))
    payloads = {
        "digits": frame(RESULT, b"9" * 1_000_000),
        "hexadecimal": frame(RESULT, b'{"$":"i","v":"' + b"f" * 4_000_000 + b'"}'),
        "one hash": frame(RESULT, b'{"$":"set","v":[' + members + b"]}"),
        "range": frame(RESULT, b'{"$":"fs","v":[' + members + b"]}"),
    }
    return lies(world, payloads)
