"""Moves a program's input and output, however much it is, without a thread and without ever blocking on one of them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

from isolate_fn._runtime.endings import OutOfTime, TooMuchOutput
from isolate_fn._runtime.ends import waiting_in
from isolate_fn._runtime.program import Program

_CHUNK = 1 << 18

Take = Callable[[bytes], bool]
"""What is done with output; returns False when that is too much."""


class Pump:
    """The caller's ends of a program's pipes.

    Args:
        data: what goes to its stdin, piece by piece; asked for the next piece when the last one is written.
        stdin: our end of the pipe, -1 for none.
        outputs: our end of a pipe -> what to do with what arrives.
        close: how an end is closed.
    """

    def __init__(
        self, data: Iterator[memoryview], stdin: int, outputs: dict[int, Take], close: Callable[[int], None] = os.close
    ) -> None:
        self._data, self._left = data, memoryview(b"")
        self._stdin, self._outputs, self._close = stdin, outputs, close
        self._poll = select.poll()
        for pipe in outputs:
            self._poll.register(pipe, select.POLLIN)
        if stdin >= 0:
            self._poll.register(stdin, select.POLLOUT)

    def until_end(self, program: Program, deadline: float | None) -> int:
        """Move everything until the program has ended, and return its code.

        Args:
            program: it.
            deadline: by time.monotonic(), None for none.

        Raises:
            OutOfTime, TooMuchOutput: and the program runs on. Whatever the input raises.
        """
        self._poll.register(program.control, select.POLLIN)
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
        try:
            while program.poll() is None:
                wait = None if deadline is None else deadline - time.monotonic()
                events = dict(self._poll.poll(None if wait is None else max(0.0, wait) * 1000))
                if not events or (wait is not None and wait <= 0):
                    raise OutOfTime
                self._move(events)
        finally:
            self._poll.unregister(program.control)
            if self._stdin >= 0:  # the caller may go on writing by itself
                os.set_blocking(self._stdin, True)
        self.drain()
        code = program.poll()
        assert code is not None
        return code

    def _move(self, events: dict[int, int]) -> None:
        for pipe in [pipe for pipe in self._outputs if pipe in events]:
            self._read(pipe)
        if self._stdin in events and not self._write():
            self._end_of_input()

    def _read(self, pipe: int) -> int:
        data = os.read(pipe, _CHUNK)  # there is something, and nobody else reads it
        if not data:
            self._poll.unregister(pipe)
            del self._outputs[pipe]
            self._close(pipe)
        elif not self._outputs[pipe](data):
            raise TooMuchOutput
        return len(data)

    def _write(self) -> bool:
        if not self._left:
            found = next((piece for piece in self._data if piece), None)
            if found is None:
                return False
            self._left = found
        try:
            self._left = self._left[os.write(self._stdin, self._left[:_CHUNK]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it does not want the rest; subprocess ignores that too
            return False
        return True

    def _end_of_input(self) -> None:
        self._poll.unregister(self._stdin)
        stdin, self._stdin = self._stdin, -1
        self._left = memoryview(b"")
        self._close(stdin)

    def drain(self) -> None:
        """Read what a program that has ended left in its pipes, and no more: another one may hold them and write on."""
        for pipe in list(self._outputs):
            left = waiting_in(pipe)
            while left > 0 and (count := self._read(pipe)):
                left -= count

    def close(self) -> None:
        """Close every end that is left."""
        while self._outputs:
            self._close(self._outputs.popitem()[0])
        if self._stdin >= 0:
            self._end_of_input()
