"""Counts which lines of the package run in spawners, inits and workers; only measure_coverage.py puts it there.

That tool copies this file into a copy of the package, as ``isolate_fn/_inside_tracer.py``, and has the copy's launcher
start it. An isolate can write to no file of the host's. But memory that a spawner has mapped is still there in
whatever it forks, behind every wall, so each step from line to line is noted in one shared file.
"""

from __future__ import annotations

import mmap
import opcode
import os
import sys

# Filled in by the tool: path of the shared file, and for each source file the first of its slots and its lines.
SHARED = ""
FILES: dict[str, tuple[int, int]] = {}

SLOTS = 8
"""Slots of 32 bits for each line; two of eight are used at most, so that looking for one is short."""

_RESUME = opcode.opmap["RESUME"]


def start() -> None:
    """Count from now on, here and in whatever is forked; where the shared file is not visible, count nothing."""
    try:
        descriptor = os.open(SHARED, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    table = memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size)).cast("I")
    os.close(descriptor)

    def note(first, lines, before, after):
        step = (before + lines) << 16 | (after + lines)
        slots = SLOTS * lines
        slot = step * 2654435761 % slots
        while table[first + slot] != step:  # again after writing: another process may have written there as well
            if table[first + slot]:
                slot = (slot + 1) % slots
            else:
                table[first + slot] = step

    def tracer(frame, event, argument):
        place = FILES.get(frame.f_code.co_filename)
        if place is None:
            return None
        first, lines = place
        way_in = -frame.f_code.co_firstlineno
        code = frame.f_code.co_code
        # The argument of RESUME is 0 at the start of a function, not where a generator goes on.
        last = way_in if code[frame.f_lasti + 1] == 0 else frame.f_lineno

        def count(frame, event, argument):
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                note(first, lines, last, line)
                last = line
            elif event == "return":
                after = frame.f_lasti + 2
                if after >= len(code) or code[after] != _RESUME:  # else it is a yield
                    note(first, lines, last, way_in)
            return count

        return count

    sys.settrace(tracer)
