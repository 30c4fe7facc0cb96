"""The short way of a call: the function, the policy and a worker that serves on are known, the arguments are plain.

What `isolate_fn._runtime.call` does for any call costs more than such a call itself. Here is the same for the usual case:
one poll(2) that finds the worker silent, one send, one poll, one recv. Whatever is not as usual goes the long way: before
anything was sent by saying `MISSED`, afterwards through `call.answered`, which takes over where this leaves off.
"""

from __future__ import annotations

import contextlib
import functools
import marshal
import os
import socket
import sys
import time

from isolate_fn._runtime import call, pool
from isolate_fn._runtime.isolate import FIRST
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.signature import Signature
from isolate_fn._transport.calls import ATOMS, MARSHAL_VERSION
from isolate_fn._transport.codec_decode import LONG, decode, decode_short
from isolate_fn._transport.frames import HEADER_SIZE
from isolate_fn._transport.small_frames import before_arguments, before_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST = 1 << 14  # bytes of arguments
_NUMBERS = 8  # functions of one worker that have a short way
_UNKNOWN = (_NUMBERS, b"")
_NO_SIGNAL = socket.MSG_NOSIGNAL
_dumps, _VERSION = marshal.dumps, MARSHAL_VERSION
_monotonic = time.monotonic
_TOLD_LATER = (BlockingIOError, BrokenPipeError, ConnectionResetError)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


class WarmCalls:
    """Calls of one function under one policy.

    Args:
        prepared: the policy; its workers serve more than one call.
        signature: of the function, which travels by name.

    Attributes:
        MISSED: the answer of a call that was not sent.
    """

    MISSED = object()

    __slots__ = (
        "_before", "_environment", "_here", "_modules", "_most", "_path", "_prepared", "_signature", "_terms", "_wait",
        "_waiting",
    )  # fmt: skip

    def __init__(self, prepared: Prepared, signature: Signature) -> None:
        self._prepared, self._signature = prepared, signature
        self._environment = dict(os.environ._data)  # type: ignore[attr-defined]
        self._most = min(FIRST - HEADER_SIZE, signature.limits.json)
        self._path, self._modules = list(sys.path), len(sys.modules)
        # What a relative entry means, such as the empty one of ``python -c`` and of notebooks.
        self._here = None if all(map(os.path.isabs, sys.path)) else _working_directory()
        timeout = prepared.terms.timeout
        self._terms, self._wait = prepared.terms, timeout
        self._waiting = pool.waiting_for(prepared, signature.part)
        # What precedes so many bytes of arguments, by the number that a worker knows the function under.
        self._before = functools.lru_cache(maxsize=256)(functools.partial(before_arguments, signature.words[0]))

    @staticmethod
    def possible(prepared: Prepared, signature: Signature) -> bool:
        """Tell whether calls can go this way at all."""
        plain = signature.bare and signature.part and not (signature.trust or signature.encoders)
        plain = plain and not prepared.terms.expose and prepared.hear is None
        plain = plain and type(getattr(os.environ, "_data", None)) is dict
        return bool(plain and prepared.terms.reuse != 1)

    def outdated(self) -> bool:
        """Tell whether what the preparation rests on has changed, or its workers wait elsewhere now."""
        return (
            sys.path != self._path
            or len(sys.modules) != self._modules
            or self._waiting.dropped
            or (self._here is not None and _working_directory() != self._here)
            or getattr(os.environ, "_data", None) != self._environment  # it may have been replaced altogether
        )

    def call(self, args: tuple[Any, ...]) -> Any:
        """Return the value of one call, raise its exception, or return ``MISSED``."""
        for value in args:
            if type(value) not in ATOMS:
                return self.MISSED
        waiting = self._waiting
        if self.outdated():
            return self.MISSED
        try:
            arguments = _dumps(args, _VERSION)
            isolate = waiting.isolates.pop()
        except (ValueError, IndexError):  # 2 GiB of text; none waits
            return self.MISSED
        size = len(arguments)
        rest = data = b""
        try:
            terms = self._terms
            now = _monotonic()
            number, _ = isolate.functions.get(self._signature, _UNKNOWN)
            if (
                number >= _NUMBERS
                or size > _MOST
                or isolate.calls + 1 == terms.reuse
                or now - isolate.idle_since > terms.idle_timeout
                or isolate.words.poll(0)
            ):
                waiting.isolates.appendleft(isolate)  # where the long way looks first
                return self.MISSED
            isolate.calls += 1
            rest = self._before(number, size) + arguments
            rest = rest[isolate.channel.send(rest, _NO_SIGNAL) :]
            events = isolate.poll.poll(self._wait)
            if len(events) == 1 and events[0] == isolate.answer_event and not rest:
                data = isolate.channel.recv(FIRST)
                length = len(data) - HEADER_SIZE
                if 0 < length <= self._most and data[:HEADER_SIZE] == before_result(length):
                    value = decode_short(data[HEADER_SIZE:])
                    if value is LONG:
                        signature = self._signature
                        value = decode(data[HEADER_SIZE:], (), classes=signature.classes, limits=signature.limits)
                    isolate.idle_since = waiting.used = _monotonic()
                    waiting.isolates.append(isolate)
                    if waiting.dropped:
                        waiting.end()
                    return value
        except _TOLD_LATER:  # no other OSError: a TimeoutError may be a signal handler's, and is the caller's to see
            pass
        except BaseException:
            with contextlib.suppress(ValueError):  # an interrupt may come when it is back already
                waiting.isolates.remove(isolate)
            isolate.end()
            raise
        return call.go_on(self._prepared, self._signature, isolate, now, rest, data)
