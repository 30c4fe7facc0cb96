"""What a worker says beside its answer, taken at the caller's side: log records, warnings, a debugger's dialogue.

All of it is hostile: it comes through the closed decoder, is bounded by ``limits.output``, made visible where it could
command a terminal, and names nothing of the caller's but loggers that exist and warnings that Python has.
"""

from __future__ import annotations

import builtins
import os
import sys
import warnings

from isolate_fn._runtime.endings import TooMuchOutput
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.messages import MOST_TEXT, names_of_any_record
from isolate_fn._transport.codec import DecodeLimits, decode
from isolate_fn._transport.frames import Frame, Kind, pack
from isolate_fn._transport.text import visible
from isolate_fn.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from isolate_fn._runtime.prepared import Prepared
    from isolate_fn._runtime.talk import Talk

BREAKPOINT = "ISOLATE_FN_BREAKPOINT"
_MOST_EXTRA, _NAME = 50, 200
_LIMITS = DecodeLimits()


def hear(isolate: Isolate, prepared: Prepared, frame: Frame, deadline: float | None) -> Talk[None]:
    """Take one notice.

    Raises:
        TooMuchOutput: with what came before it is more than ``limits.output``.
        TransportError: it is none. Warning: the caller's own filters turn this warning into an error.
    """
    isolate.noticed += len(frame.json) + sum(memoryview(buffer).nbytes for buffer in frame.buffers)
    if isolate.noticed > prepared.terms.limits.output:
        raise TooMuchOutput
    parts = decode(frame.json, frame.buffers, limits=_LIMITS)
    if type(parts) is not dict:
        raise TransportError("the isolate sent a notice that is none")
    what = parts.get("what")
    if what == "record":
        _log(parts, prepared.plan.name)
    elif what == "warning":
        _warn(parts)
    elif what == "shown":
        _show(_text(parts, "text", MOST_TEXT))
    elif what in ("debugger", "line"):
        reply = b"yes" if what == "debugger" and _debugging() else _line() if what == "line" else b"no"
        yield from isolate.send(pack(Kind.HOST_REPLY, reply), -1, deadline)
    else:
        raise TransportError("the isolate sent a notice of a kind that does not exist")


def _text(parts: dict[str, Any], name: str, most: int = _NAME, *, lines: bool = True) -> str:
    value = parts.get(name)
    return visible(value, most, lines=lines) if type(value) is str else ""


def _number(parts: dict[str, Any], name: str, most: int) -> int:
    value = parts.get(name)
    return value if type(value) is int and 0 <= value <= most else 0


# --- logging ---------------------------------------------------------------------------------------------------------


def _log(parts: dict[str, Any], isolate: str) -> None:
    import logging

    name = _text(parts, "name", lines=False) or "root"
    level = _number(parts, "level", 1000)
    logger = _nearest(name)
    if not logger.isEnabledFor(level):
        return
    extra = parts.get("extra")
    own = names_of_any_record()
    added = {
        key: visible(value, MOST_TEXT, lines=True) if type(value) is str else value
        for key, value in list(extra.items() if type(extra) is dict else ())[:_MOST_EXTRA]
        if type(key) is str and key.isidentifier() and key not in own and key != "isolate"
    }
    path = _text(parts, "path", 4096, lines=False)
    record = logging.makeLogRecord(
        {
            **added,
            "name": name,
            "msg": _text(parts, "text", MOST_TEXT),
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "pathname": path,
            "filename": os.path.basename(path),
            "module": os.path.splitext(os.path.basename(path))[0],
            "lineno": _number(parts, "line", 1 << 31),
            "funcName": _text(parts, "function", lines=False),
            "threadName": _text(parts, "thread", lines=False),
            "exc_text": _text(parts, "failure", MOST_TEXT) or None,
            "stack_info": _text(parts, "stack", MOST_TEXT) or None,
            "isolate": isolate,
        }
    )
    logger.handle(record)


def _nearest(name: str) -> Any:
    """Return the logger of this name or the nearest above it that exists: whoever made up names would make loggers for ever."""
    import logging

    while name:
        found = logging.root.manager.loggerDict.get(name)
        if isinstance(found, logging.Logger):
            return found
        name = name.rpartition(".")[0]
    return logging.root


# --- warnings --------------------------------------------------------------------------------------------------------

_shown: dict[Any, Any] = {}
_MOST_SHOWN = 1000


def _warn(parts: dict[str, Any]) -> None:
    """Give a warning as if the code of the isolate had run here; the caller's filters decide."""
    classes = parts.get("classes")
    names = [each for each in classes if type(each) is str][:20] if type(classes) is list else []
    name, category = next(((each, _WARNINGS[each]) for each in names if each in _WARNINGS), ("Warning", Warning))
    text = _text(parts, "text", MOST_TEXT)
    if names and names[0] != name:
        text = f"{visible(names[0], _NAME)}: {text}"
    if len(_shown) > _MOST_SHOWN:
        _shown.clear()
    path = _text(parts, "path", 4096, lines=False) or "isolate"
    warnings.warn_explicit(text, category, path, _number(parts, "line", 1 << 31), registry=_shown)


_WARNINGS: dict[str, type[Warning]] = {
    name: each for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Warning)
}


# --- breakpoint() ----------------------------------------------------------------------------------------------------


def _debugging() -> bool:
    return os.environ.get(BREAKPOINT) == "1" and os.environ.get("PYTHONBREAKPOINT") != "0"


def _show(text: str) -> None:
    if _debugging() and sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _line() -> bytes:
    """Return a line that somebody types, nothing for the end of input; only where this is wanted."""
    read: Callable[[], str] | None = getattr(sys.stdin, "readline", None)
    return read().encode() if read is not None and _debugging() else b""
