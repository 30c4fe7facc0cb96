"""What a function printed is out before its answer is."""

from __future__ import annotations

import sys

from isolate_fn._sys import calls

_flush_c = calls.flush_stdio


def flush() -> None:
    """Push out what the function printed before its answer, so that the caller finds it when the answer is there."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        _flush_c()
    except (OSError, ValueError, AttributeError):  # the function closed or replaced one
        for each in (_flush_stdout, _flush_stderr, _flush_c):
            try:
                each()
            except (OSError, ValueError, AttributeError):
                pass  # this one is gone; the others may have something to say


def _flush_stdout() -> None:
    sys.stdout.flush()


def _flush_stderr() -> None:
    sys.stderr.flush()
