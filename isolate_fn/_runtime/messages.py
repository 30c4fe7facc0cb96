"""What isolated code says beside its result goes to the caller: log records, warnings, and a debugger's dialogue.

Runs in the worker. Nothing here imports what the function has not imported itself: a logging handler is there once
``logging`` is, and so on. Everything travels as plain values; no record is ever unpickled (`isolate_fn._runtime.notices`).
"""

from __future__ import annotations

import functools
import sys

from isolate_fn._runtime import asides
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.frames import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import Any

MOST_TEXT = 1 << 16
"""Characters of one message."""

_PLAIN = (str, int, float, bool, type(None))
_PYTHONS_FILTERS = [
    ("default", None, DeprecationWarning, "__main__", 0),
    ("ignore", None, DeprecationWarning, None, 0),
    ("ignore", None, PendingDeprecationWarning, None, 0),
    ("ignore", None, ImportWarning, None, 0),
]
_done: set[str] = set()
_levels: list[Any] = []


def install(levels: Mapping[str, Any] | None = None) -> None:
    """Take over what is imported by now; called before each new function, after its module was imported.

    Args:
        levels: how much the caller wants to hear, as `isolate_fn._runtime.log_levels` tells it; None for as before.
    """
    if levels is not None:
        _levels[:] = [levels]
    if "breakpoint" not in _done:
        _done.add("breakpoint")
        sys.breakpointhook = _breakpoint
    if "warnings" in sys.modules and "warnings" not in _done:
        _done.add("warnings")
        _install_warnings(sys.modules["warnings"])
    if "logging" in sys.modules:
        _install_logging(sys.modules["logging"])


def _install_warnings(warnings: Any) -> None:
    """Send every warning once for its place: which of them are shown is for the caller's filters, not for Python's own here.

    All but ResourceWarning, which finalizers give when nobody can be told which call it was: ignored unless the code asks.
    """
    warnings.showwarning = _warn
    warnings.filters[:] = [each for each in warnings.filters if each not in _PYTHONS_FILTERS]
    warnings.simplefilter("default", append=True)


def _install_logging(logging: Any) -> None:
    if "logging" not in _done:
        _done.add("logging")
        logging.root.addHandler(_Handler())
    if _levels:
        levels = _levels.pop()
        logging.root.setLevel(levels["root"])
        logging.disable(levels["disable"])
        for name, level in levels["loggers"].items():
            logging.getLogger(name).setLevel(level)


class _Handler:
    """What ``logging`` asks of a handler, and no more: it may be imported by nobody here."""

    level = 0

    def handle(self, record: Any) -> bool:
        """Send one record; what cannot be said is left out, and never breaks the function."""
        try:
            _tell(_of_record(record))
        except Exception:  # noqa: S110 - as logging itself does where a handler fails, but without a stderr to blame
            pass
        return True

    def __repr__(self) -> str:
        return "<handler that sends records to the caller>"


@functools.cache
def names_of_any_record() -> frozenset[str]:
    """Return the names of the attributes that every log record has, at either end."""
    import logging

    return frozenset(vars(logging.makeLogRecord({})))


def _of_record(record: Any) -> dict[str, Any]:
    import logging

    failure = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
    known = names_of_any_record()
    extra = {name: value for name, value in vars(record).items() if name not in known and type(value) in _PLAIN}
    return {
        "what": "record",
        "name": record.name,
        "level": record.levelno,
        "text": record.getMessage()[:MOST_TEXT],
        "path": record.pathname,
        "line": record.lineno,
        "function": record.funcName,
        "thread": record.threadName,
        "failure": failure and failure[:MOST_TEXT],
        "stack": record.stack_info and record.stack_info[:MOST_TEXT],
        "extra": extra,
    }


def _warn(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    if file is not None:
        file.write(sys.modules["warnings"].formatwarning(message, category, filename, lineno, line))
        return
    _tell(
        {
            "what": "warning",
            "classes": [each.__name__ for each in category.__mro__ if issubclass(each, Warning)],
            "text": str(message)[:MOST_TEXT],
            "path": filename,
            "line": lineno,
        }
    )


def _tell(parts: dict[str, Any]) -> None:
    encoded = encode(parts)
    asides.tell(Kind.NOTICE, encoded.json, encoded.buffers)


def _ask(parts: dict[str, Any]) -> str:
    encoded = encode(parts)
    reply, _ = asides.ask(Kind.NOTICE, encoded.json, encoded.buffers)
    return reply.decode()


def _breakpoint(*args: Any, **kwargs: Any) -> None:
    if _ask({"what": "debugger"}) != "yes":
        raise RuntimeError(
            "breakpoint() in an isolate: set ISOLATE_FN_BREAKPOINT=1 in the environment of the calling program, and no "
            "timeout, to debug isolated code from its terminal"
        )
    import pdb

    frame: FrameType = sys._getframe(1)
    debugger = pdb.Pdb(stdin=_Terminal(), stdout=_Terminal())  # type: ignore[arg-type]
    debugger.set_trace(frame)


class _Terminal:
    """The caller's terminal, as a debugger uses one."""

    encoding = "utf-8"

    def readline(self) -> str:
        """Return a line that somebody types at the caller's."""
        return _ask({"what": "line"})

    def write(self, text: str) -> int:
        """Show text there."""
        for start in range(0, len(text), MOST_TEXT):
            _tell({"what": "shown", "text": text[start : start + MOST_TEXT]})
        return len(text)

    def flush(self) -> None:
        """Have nothing to do: what was written is there."""
