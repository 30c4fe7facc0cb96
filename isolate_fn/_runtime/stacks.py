"""The Python stack of a thread of another process, read from its memory while it waits in a system call.

Nothing runs in that process for it: no signal, no handler and no descriptor that its own code could meet. Where CPython
keeps frames differs between its releases, so it is not written here but found out, once, by looking for known values in
this process, which runs the same interpreter; where that fails there are no stacks. What is read is the word of whoever
owns that memory, who may have written anything there: it is bounded, and good for nothing but being shown.
"""

from __future__ import annotations

import math
import os
import struct
import sys
import time
from _thread import get_ident
from types import CodeType, FrameType

from isolate_fn._sys.notification_calls import read_memory
from isolate_fn._sys.thread_state import Anchors, anchors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple
else:
    from isolate_fn._records import NamedTuple

MOST_FRAMES, MOST_THREADS, MOST_TEXT, MOST_TABLE = 12, 64, 256, 1 << 16
_WORDS_OF_THREAD, _WORDS_OF_FRAME, _WORDS_OF_CODE = 64, 12, 24
_WORD = 8
_FRAME_OF_OBJECT = 24  # after ob_refcnt, ob_type and f_back
_PREVIOUS_THREAD, _NEXT_THREAD = 0, 8  # the first two fields
_DESCRIBES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_transport", "failures_describe.py")
_SERVES = os.path.join(os.path.dirname(__file__), "serve.py")

Frame = tuple[str, int, str]
"""File, line, name of the code."""


class OwnCall(Exception):
    """The call was made by this package, when the function was over."""


class Layout(NamedTuple):
    """Offsets of fields, in bytes.

    Attributes:
        ident: of a thread: pthread_self(3); the kernel's number follows.
        frame: of a thread: pointer to its frame, or to what points there.
        through: of what points there; -1 where nothing stands between.
        code: of a frame.
        previous: of a frame.
        instruction: of a frame.
        first: of a code object: its first instruction.
        line: of a code object: its first line, 32 bits.
        table: of a code object: its table of lines.
        file: of a code object.
        name: of a code object.
        ascii: of a str: its characters, where all are ASCII.
        other: of a str: its characters, where not.
    """

    ident: int
    frame: int
    through: int
    code: int
    previous: int
    instruction: int
    first: int
    line: int
    table: int
    file: int
    name: int
    ascii: int
    other: int


def words(data: bytes) -> tuple[int, ...]:
    """Return memory as unsigned words."""
    return struct.unpack_from(f"={len(data) // _WORD}Q", data)


def find_layout() -> Layout | None:
    """Find out where this interpreter keeps things; None where it is not as expected."""
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _outer(memory)
    except (ValueError, OSError):
        return None
    finally:
        os.close(memory)


def _outer(memory: int) -> Layout:
    return _inner(memory)


def _inner(memory: int) -> Layout:
    """Look at the frame of this call and of the one above."""
    this = sys._getframe()
    above = this.f_back
    assert above is not None
    thread_address = anchors().thread
    own, back = _frame_of(memory, this), _frame_of(memory, above)
    # By os.pread, which is a function in C: while it reads, this is the innermost frame.
    thread = words(os.pread(memory, _WORDS_OF_THREAD * _WORD, thread_address))
    field, through = -1, -1
    for index, word in enumerate(thread):
        if word == own:
            field = index * _WORD
            break
        try:
            pointed = words(os.pread(memory, 2 * _WORD, word)) if 4096 < word < 1 << 47 else ()
        except OSError:
            continue
        if own in pointed:
            field, through = index * _WORD, pointed.index(own) * _WORD
            break
    if field < 0:
        raise ValueError("no frame in the state of the thread")
    frame = words(os.pread(memory, _WORDS_OF_FRAME * _WORD, back))
    first = CodeType.__basicsize__
    code = above.f_code
    instruction = frame.index(id(code) + first + above.f_lasti)
    previous = words(os.pread(memory, _WORDS_OF_FRAME * _WORD, own)).index(back)
    return Layout(
        thread.index(get_ident()) * _WORD, field, through, frame.index(id(code)) * _WORD, previous * _WORD,
        instruction * _WORD, first, *_fields_of_code(memory), sys.getsizeof("") - 1, _start_of_wide_text(),
    )  # fmt: skip


def _start_of_wide_text() -> int:
    text = chr(0x20AC) + chr(0x20AD)  # a new one: a constant may hold its UTF-8 form as well
    return sys.getsizeof(text) - 2 * (len(text) + 1)


def _frame_of(memory: int, frame: FrameType) -> int:
    return words(os.pread(memory, _WORD, id(frame) + _FRAME_OF_OBJECT))[0]


def _fields_of_code(memory: int) -> tuple[int, int, int, int]:
    """Return where a code object has its first line, table of lines, file and name."""
    line = 0x5A3C69
    code = _fields_of_code.__code__.replace(co_firstlineno=line, co_filename="a file", co_name="a name")
    data = os.pread(memory, _WORDS_OF_CODE * _WORD, id(code))
    found = words(data)
    places = [found.index(id(each)) * _WORD for each in (code.co_linetable, code.co_filename, code.co_name)]
    return data.index(struct.pack("=I", line)), places[0], places[1], places[2]


class Stacks:
    """Reads stacks of processes that run the same interpreter.

    Args:
        layout: of its structures.
        at: addresses in these processes.
        latest: by time.monotonic(): nothing is read any more. One read may wait as long as the process likes to hold a lock.
    """

    def __init__(self, layout: Layout, at: Anchors, latest: float = math.inf) -> None:
        self.layout, self.at, self.latest = layout, at, latest

    def of(self, pid: int, native: int) -> list[Frame]:
        """Return the stack of a thread, the innermost frame first; nothing where it cannot be read.

        Args:
            pid: of the thread, here.
            native: number of the thread inside, 0 for the main thread of a process that was forked.

        Raises:
            OwnCall: the function is over.
        """

        def read(address: int, size: int) -> bytes:
            return read_memory(pid, address, size) if time.monotonic() < self.latest else b""

        thread = self._thread(read, native)
        frame = self._word(read, thread + self.layout.frame) if thread else 0
        if frame and self.layout.through >= 0:
            frame = self._word(read, frame + self.layout.through)
        found: list[Frame] = []
        for _ in range(2 * MOST_FRAMES):
            if not frame or len(found) >= MOST_FRAMES:
                break
            fields = words(read(frame, _WORDS_OF_FRAME * _WORD))
            if len(fields) < _WORDS_OF_FRAME:
                break
            code, instruction = fields[self.layout.code // _WORD], fields[self.layout.instruction // _WORD]
            place = self._place(read, code & ~7, instruction)
            if place is not None and place[0] == _DESCRIBES:
                raise OwnCall  # such as to read the lines of a traceback
            if place is not None and place[0] == _SERVES:
                break  # what follows is how this package came here
            if place is not None:
                found.append(place)
            frame = fields[self.layout.previous // _WORD]
        return found

    def _word(self, read: Callable[[int, int], bytes], address: int) -> int:
        data = read(address, _WORD)
        return words(data)[0] if len(data) == _WORD else 0

    def _thread(self, read: Callable[[int, int], bytes], native: int) -> int:
        """Return the state of a thread: those of one process are a list, in which the first one's has newer ones before it."""
        if not native or self._word(read, self.at.thread + self.layout.ident + _WORD) == native:
            return self.at.thread
        for direction in (_PREVIOUS_THREAD, _NEXT_THREAD):
            thread = self._word(read, self.at.thread + direction)
            for _ in range(MOST_THREADS):
                if not thread:
                    break
                if self._word(read, thread + self.layout.ident + _WORD) == native:
                    return thread
                thread = self._word(read, thread + direction)
        return 0

    def _place(self, read: Callable[[int, int], bytes], code: int, instruction: int) -> Frame | None:
        data = read(code, _WORDS_OF_CODE * _WORD)
        if len(data) < _WORDS_OF_CODE * _WORD or words(data)[1] != self.at.code:
            return None  # a frame of the interpreter's own
        field = words(data)
        layout = self.layout
        first = int.from_bytes(data[layout.line : layout.line + 4], "little")
        table = self._bytes(read, field[layout.table // _WORD])
        line = line_at(table, instruction - code - layout.first, first)
        return self._text(read, field[layout.file // _WORD]), line, self._text(read, field[layout.name // _WORD])

    def _bytes(self, read: Callable[[int, int], bytes], address: int) -> bytes:
        head = words(read(address, 3 * _WORD))
        if len(head) < 3 or head[1] != self.at.data or head[2] > MOST_TABLE:
            return b""
        return read(address + 4 * _WORD, head[2])

    def _text(self, read: Callable[[int, int], bytes], address: int) -> str:
        head = words(read(address, 5 * _WORD))
        if len(head) < 5 or head[1] != self.at.text:
            return "?"
        state = head[4]
        width, compact, ascii_only = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
        if not compact or width not in (1, 2, 4):
            return "?"
        count = min(head[2], MOST_TEXT)
        data = read(address + (self.layout.ascii if ascii_only else self.layout.other), count * width)
        return data.decode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width], "replace")


def line_at(table: bytes, offset: int, first: int) -> int:
    """Return the line of an instruction by a code object's table (Objects/locations.md of CPython, 3.11); 0 for none.

    Args:
        table: ``co_linetable``.
        offset: of the instruction, in bytes.
        first: line where the code begins.
    """
    line, at, index = first, 0, 0
    while index < len(table):
        entry = table[index]
        kind, length = entry >> 3 & 15, ((entry & 7) + 1) * 2
        index += 1
        if kind in (13, 14):
            line += _signed(table, index)
        elif kind in (10, 11, 12):
            line += kind - 10
        if at <= offset < at + length:
            return line if kind != 15 else 0
        at += length
        while index < len(table) and not table[index] & 0x80:
            index += 1  # an entry begins where the highest bit is set
    return 0


def _signed(table: bytes, index: int) -> int:
    value = shift = 0
    while index < len(table):
        value |= (table[index] & 63) << shift
        if not table[index] & 64 or shift > 60:
            break
        shift, index = shift + 6, index + 1
    return -(value >> 1) if value & 1 else value >> 1


__all__ = ["Frame", "Layout", "OwnCall", "Stacks", "find_layout", "line_at"]
