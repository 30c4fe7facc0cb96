"""Open files and sockets as arguments: what may be passed, and the caller's own objects before and after the call.

What is passed is the open file description itself. The walls of an isolate are made for its own mounts, so a description
from outside is only lent where the others hold it as well; `_refused` and what it calls say where (decision 14).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import socket
from collections.abc import Callable, Sequence

from isolate_fn._api import lendable
from isolate_fn._plan.lending import metadata_filter
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._transport.frames import MOST_LENT
from isolate_fn._transport.lent import open_lent, socket_lent
from isolate_fn.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS: dict[type, str] = {
    io.FileIO: "raw",
    io.BufferedReader: "reader",
    io.BufferedWriter: "writer",
    io.BufferedRandom: "random",
}


class _Lent:
    """Stands for an open file among the arguments; the worker makes one of the descriptor that comes along."""

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self.make, self.args = make, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.make, self.args


class _Layers:
    """The caller's objects around one descriptor.

    Args:
        value: what was passed.

    Raises:
        TypeError: one of them is not of Python's own kinds; ValueError: it is closed.
    """

    def __init__(self, value: Any) -> None:
        if type(value).__name__ == "SpooledTemporaryFile":
            value.rollover()
            value = value._file
        elif type(value).__module__ == "tempfile":
            value = value.file
        self.top = value
        self.text: io.TextIOWrapper | None = value if type(value) is io.TextIOWrapper else None
        self.binary: Any = value.buffer if type(value) is io.TextIOWrapper else value
        if type(self.binary) not in _KINDS:
            raise TypeError(f"it reads through a {type(self.binary).__qualname__}")
        self.kind = _KINDS[type(self.binary)]
        self.raw: Any = self.binary if self.kind == "raw" else self.binary.raw
        if type(self.raw) is not io.FileIO:
            raise TypeError(f"it reads through a {type(self.raw).__qualname__}")
        self.raw.fileno()  # ValueError where it is closed

    @property
    def reads_ahead(self) -> bool:
        """True where bytes may have been read that the caller has not seen yet."""
        return self.kind != "raw" and bool(self.raw.readable())

    def argument(self, index: int) -> _Lent:
        """Return what travels in its place."""
        text = None
        if self.text is not None:
            mode = getattr(self.text, "mode", self.raw.mode.replace("b", ""))  # set by open(), and by nobody else
            text = (mode, self.text.encoding, self.text.errors, self.text.line_buffering, self.text.write_through)
        return _Lent(open_lent, index, self.kind, self.raw.mode, text)

    def before(self) -> None:
        """Bring the description to where the caller's object stands: nothing to be written, nothing read ahead.

        Raises:
            ValueError: that cannot be done; says why.
        """
        if not self.reads_ahead:
            self.top.flush()
            return
        if not self.raw.seekable():
            raise ValueError("it may have read ahead, and what it has read cannot be put back")
        try:
            position = self.top.tell()  # before anything is flushed, which would make it forget that it is in a loop
        except OSError:
            raise ValueError("it is in the middle of a loop over its lines") from None
        if position >> 64:
            raise ValueError("its decoder is in the middle of something")
        self.go_to(position)

    def go_to(self, position: int) -> None:
        """Throw away what was read ahead, and stand at a position (bytes); the file must be seekable."""
        if self.reads_ahead:
            self.top.seek(0, os.SEEK_END)  # never served from the buffer, unlike the next
        self.top.seek(position)


class Loan:
    """What one call passes open.

    Attributes:
        descriptors: our own copies, which travel with the call.
    """

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self._borrowed: list[tuple[int, int, _Layers | None]] = []  # descriptor, status flags, file

    def add(self, descriptor: int) -> int:
        """Copy a descriptor, so that nobody can close what is looked at, and return which it is."""
        copy = os.dup(descriptor)
        self.descriptors.append(copy)
        self._borrowed.append((copy, fcntl.fcntl(copy, fcntl.F_GETFL), None))
        return len(self.descriptors) - 1

    def borrow(self, index: int, layers: _Layers) -> None:
        """Remember the file behind one of them, which has been brought to where the caller stands."""
        descriptor, flags, _ = self._borrowed[index]
        self._borrowed[index] = (descriptor, flags, layers)

    def settle(self) -> None:
        """Let the caller's objects go on where the function has stopped; close our copies. Once is enough."""
        while self._borrowed:
            descriptor, flags, layers = self._borrowed.pop()
            with contextlib.suppress(OSError, ValueError):  # the caller has closed its own meanwhile
                if fcntl.fcntl(descriptor, fcntl.F_GETFL) != flags:
                    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
                if layers is not None and layers.kind != "raw" and layers.raw.seekable():
                    layers.go_to(os.lseek(descriptor, 0, os.SEEK_CUR))
            os.close(descriptor)
        self.descriptors = []

    def __del__(self) -> None:
        """Do the same for a call that never came about."""
        self.settle()


def lend(
    values: Sequence[Any], naming: Callable[[object], str], prepared: Prepared, *, box: bool
) -> tuple[Prepared, Loan, dict[int, Any]]:
    """Make open files and sockets ready to travel.

    Args:
        values: the arguments.
        naming: names one of them in an error.
        prepared: the policy's preparation.
        box: the isolate stands already: no filter can be added to it.

    Returns:
        The preparation for such a call, the loan, and what stands for each value, by its identity.

    Raises:
        PolicyError: one of them cannot be passed; says why.
    """
    distinct = list({id(value): value for value in values}.values())
    if len(distinct) > MOST_LENT:
        problem = f"{len(distinct)} open files in one call are more than {MOST_LENT}"
        raise PolicyError(naming(distinct[MOST_LENT]), problem, "pass fewer, or grant the directory that holds them")
    loan = Loan()
    lent, guarded = {}, False
    try:
        for value in distinct:
            argument, guard = _lend_one(value, loan, naming, prepared)
            lent[id(value)], guarded = argument, guarded or guard
            if guard and (box or not prepared.plan.filter_worker):
                problem, remedy = lendable.NO_GUARD
                raise PolicyError(naming(value), f"{_show(value)} {problem}", remedy)
    except BaseException:
        loan.settle()
        raise
    if guarded:
        prepared = prepared.for_call(filter=metadata_filter(prepared.features.machine))
    return prepared.for_call(lends=True), loan, lent


def _lend_one(
    value: Any, loan: Loan, naming: Callable[[object], str], prepared: Prepared
) -> tuple[_Lent, bool]:
    """Return what stands for a value, and whether its mode and times must be guarded by a filter."""
    try:
        if type(value) is socket.socket:
            return _lend_socket(value, loan, prepared), False
        layers = _Layers(value)
        index = loan.add(layers.raw.fileno())
        guard = lendable.check_file(loan.descriptors[index], prepared)
        layers.before()
        loan.borrow(index, layers)
        return layers.argument(index), guard
    except lendable.Refused as refused:
        raise PolicyError(naming(value), f"{_show(value)} {refused.problem}", refused.remedy) from None
    except (TypeError, ValueError) as error:
        problem = f"{_show(value)} cannot be passed: {error}"
        remedy = "pass an open file of Python's own; where it has read ahead, pass its .raw, or one of buffering=0"
        raise PolicyError(naming(value), problem, remedy) from None
    except OSError as error:
        problem = f"{_show(value)} cannot be passed: {error.strerror}"
        raise PolicyError(naming(value), problem, "see that it is open and in order") from None


def _lend_socket(value: socket.socket, loan: Loan, prepared: Prepared) -> _Lent:
    if value.fileno() < 0:
        raise ValueError("it is closed")
    index = loan.add(value.fileno())
    family, kind, protocol = lendable.check_socket(loan.descriptors[index], prepared)
    return _Lent(socket_lent, index, family, kind, protocol, value.gettimeout())


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
