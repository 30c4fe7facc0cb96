"""An exception of isolated code and those that it came from, each with its part of the isolate's traceback."""

from __future__ import annotations

import re

from isolate_fn._transport.failures_rebuild import IsolateTraceback

_MOST_LINKS = 16
_HEAD = "Traceback inside the isolate (most recent call last):\n"
_MOST_TEXT, _MOST_LINES, _MOST_LINE = 1 << 16, 200, 1000
# Each quantifier within one line and bounded: the text is hostile. Arguments may hold calls without calls in them.
_ARGUMENT = r"(?:[^(),\n]|\([^()\n]{0,200}\)){0,200}"
_ARGUMENTS = r"(?:[^()\n]|\([^()\n]{0,200}\)){0,200}?"
_TO_WRITE = r"""["'](?=[rbt]{0,3}[wax+])[rwaxbt+]{1,4}(?::\w{0,4})?["']"""
_WRITES = re.compile(
    rf"(?:open|File)\({_ARGUMENTS}(?:,\s?|\bmode\s?=\s?){_TO_WRITE}|\.open\({_TO_WRITE}|\bO_(?:WRONLY|RDWR|CREAT)\b"
    r"|\b(?:mkdir|makedirs|touch|write_text|write_bytes|savefig|savez?|to_(?:csv|excel|feather|json|parquet|pickle))\("
)
_READS = re.compile(rf"""\bopen\({_ARGUMENT}(?:,\s?(?:mode\s?=\s?)?["']r[bt]?["']|\))|\bO_RDONLY\b""")


def chain(error: BaseException) -> list[BaseException]:
    """Return an exception and what it was raised from or during, itself first; not more than some."""
    found = [error]
    for each in found:
        cause = each.__cause__.cause if isinstance(each.__cause__, IsolateTraceback) else each.__cause__
        for link in (cause, each.__context__):
            if link is not None and len(found) < _MOST_LINKS and not any(link is known for known in found):
                found.append(link)
    return found


def stack_of(error: BaseException) -> str:
    """Return the isolate's traceback of an exception with its whole chain; causes come first in it."""
    if error.__cause__ is not None:
        return str(error.__cause__)
    traceback: object = getattr(error, "traceback", None)
    return traceback if isinstance(traceback, str) else ""


def part_of(stack: str, message: str, *, outermost: bool) -> str:
    """Return the part of a traceback that is of one exception of its chain; all of it where that cannot be told.

    Args:
        stack: of the whole chain.
        message: what that exception says.
        outermost: it is the one that came out.
    """
    parts = stack.split(_HEAD)
    if outermost:
        return parts[-1]
    return next((part for part in parts if message and message in part), stack)


def writes(part: str) -> bool:
    """Tell whether a traceback's source lines show that a file was to be written or made: the innermost that tells decides.

    Where they do not tell, False: reading is the smaller thing to be advised.
    """
    for line in part[-_MOST_TEXT:].splitlines()[: -_MOST_LINES : -1]:
        if line.startswith("    "):
            line = line[:_MOST_LINE]
            if _WRITES.search(line):
                return True
            if _READS.search(line):
                return False
    return False


__all__ = ["chain", "part_of", "stack_of", "writes"]
