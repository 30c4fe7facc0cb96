"""The isolate's half of exceptions: an exception becomes a plain dict of text and encoded parts.

The function failed already; describing the failure must not fail too. Every piece of foreign code that runs
here (``__str__``, ``__repr__``, properties) may raise, and everything is cut to a size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.codec_types import class_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TEXT = 8 * 1024
"""Characters of one message or note."""

LINE = 1000
"""Characters of a file name, a function name or a source line."""

FRAMES = 64
LINKS = 8
"""Exceptions in one chain of causes and contexts, and levels of exception groups."""

MEMBERS = 32
"""Exceptions in a group, arguments, attributes, notes."""

PART = 64 * 1024
"""Bytes of one encoded argument or attribute; bigger ones travel as their repr."""

EXCEPTIONS = 64
"""Exceptions in one description altogether: chains and groups multiply."""

# What C code keeps outside of args and __dict__. Never name_from of ImportError or obj of AttributeError:
# traceback imports or inspects them when it prints the exception.
FIELDS: dict[str, tuple[str, ...]] = {
    "OSError": ("errno", "strerror", "filename", "filename2"),
    "SyntaxError": ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset"),
    "UnicodeDecodeError": ("encoding", "object", "start", "end", "reason"),
    "UnicodeEncodeError": ("encoding", "object", "start", "end", "reason"),
    "UnicodeTranslateError": ("object", "start", "end", "reason"),
    "ImportError": ("name", "path"),
    "NameError": ("name",),
    "AttributeError": ("name",),
}

_PACKAGE = "isolate_fn."

Described = dict[str, "Any"]


def describe(exc: BaseException, *, registered: Mapping[type, Callable[[Any], Any]] | None = None) -> Described:
    """Describe an exception as plain data for the codec.

    Args:
        exc: the exception, with its traceback, causes and contexts.
        registered: classes with their own encoding, as for ``codec.encode``.

    Returns:
        A dict of text, numbers, bytes, lists and dicts only: class name, message, arguments and attributes
            (each encoded by itself, so
        that one that cannot travel does not spoil the rest), notes, frames with their source lines, causes,
        contexts, members of groups.
    """
    return _Describer(registered or {}).one(exc, LINKS)


class _Describer:
    def __init__(self, registered: Mapping[type, Callable[[Any], Any]]) -> None:
        self.registered = registered
        self.seen: set[int] = set()

    def one(self, exc: BaseException, links: int) -> Described:
        self.seen.add(id(exc))
        kind = type(exc)
        out: Described = {
            "type": class_name(kind)[:LINE],
            "text": _guarded(str, exc, TEXT),
            "args": [self.part(value) for value in self.arguments(exc)],
            "state": self.parts(_own_attributes(exc)),
            "fields": self.parts(_c_fields(exc)),
            "notes": _notes(exc),
            "frames": _frames(exc.__traceback__),
            "suppress": exc.__suppress_context__,
        }
        for name, link in (("cause", exc.__cause__), ("context", exc.__context__)):
            if link is not None:
                out[name] = self.link(link, links)
        if isinstance(exc, BaseExceptionGroup):
            out["message"] = str(exc.message)[:TEXT]
            out["group"] = [self.link(member, links) for member in exc.exceptions[:MEMBERS]]
            out["group_size"] = len(exc.exceptions)
        return out

    def arguments(self, exc: BaseException) -> tuple[Any, ...]:
        """The arguments to carry. A group's are its message and members, which travel by themselves."""
        return () if isinstance(exc, BaseExceptionGroup) else tuple(exc.args)[:MEMBERS]

    def link(self, exc: BaseException, links: int) -> Described | None:
        """Describe another exception, unless it was described before (cycles) or there are too many."""
        if links <= 1 or id(exc) in self.seen or len(self.seen) >= EXCEPTIONS:
            return None
        return self.one(exc, links - 1)

    def parts(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name[:LINE]: self.part(value) for name, value in list(values.items())[:MEMBERS]}

    def part(self, value: Any) -> list[Any]:
        """Encode one value by itself: ``[json or None, buffers, repr]``."""
        if type(value) is str:
            value = value[: TEXT + 1]
        shown = _guarded(repr, value, TEXT)
        try:
            encoded = encode(value, registered=self.registered)
            buffers = [bytes(memoryview(buffer)) for buffer in encoded.buffers]
            if len(encoded.json) + sum(map(len, buffers)) <= PART:
                return [encoded.json.decode(), buffers, shown]
        except Exception:  # noqa: S110 - the repr travels instead
            pass
        return [None, [], shown]


def _guarded(function: Callable[[Any], str], value: Any, limit: int) -> str:
    try:
        text = function(value)[: limit + 1]
        return text.encode("utf-8", "backslashreplace").decode()
    except Exception as failure:
        return f"<{type(value).__qualname__}: {function.__name__}() raised {type(failure).__qualname__}>"


def _own_attributes(exc: BaseException) -> dict[str, Any]:
    state = getattr(exc, "__dict__", None)
    if not isinstance(state, dict):
        return {}
    return {name: value for name, value in list(state.items()) if type(name) is str and not name.startswith("__")}


def _c_fields(exc: BaseException) -> dict[str, Any]:
    out = {}
    for base in type(exc).__mro__:
        for name in FIELDS.get(base.__name__, ()) if base.__module__ == "builtins" else ():
            value = base.__dict__[name].__get__(exc) if _is_set(base, name, exc) else None
            if value is not None:
                out[name] = value
    return _shortened(out) if isinstance(exc, UnicodeError) else out


def _is_set(base: type, name: str, exc: BaseException) -> bool:
    try:
        base.__dict__[name].__get__(exc)
    except Exception:  # UnicodeError's attributes raise TypeError until its constructor ran
        return False
    return True


def _shortened(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep only the surroundings of the offending part of a long input; positions count in the excerpt."""
    whole, start, end = fields.get("object"), fields.get("start"), fields.get("end")
    if isinstance(whole, (str, bytes)) and isinstance(start, int) and isinstance(end, int) and len(whole) > TEXT:
        first, last = max(0, start - 32), min(end, start + TEXT // 2)
        fields["object"] = whole[first : last + 32]
        fields["start"], fields["end"] = start - first, last - first
    return fields


def _notes(exc: BaseException) -> list[str]:
    notes = getattr(exc, "__notes__", ())
    if not isinstance(notes, (list, tuple)):
        return []
    return [_guarded(str, note, TEXT) for note in list(notes)[:MEMBERS]]


def _frames(trace: TracebackType | None) -> list[Any]:
    """``[file, line number, function, source line]`` per frame; an int for that many left out between."""
    entries: list[TracebackType] = []
    while trace is not None and len(entries) < 100_000:
        entries.append(trace)
        trace = trace.tb_next
    while len(entries) > 1 and str(entries[0].tb_frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        del entries[0]  # the machinery that called the function
    if len(entries) <= FRAMES:
        return [_frame(entry) for entry in entries]
    half = FRAMES // 2
    shown: list[Any] = [_frame(entry) for entry in entries[:half]]
    shown.append(len(entries) - 2 * half)
    return shown + [_frame(entry) for entry in entries[-half:]]


def _frame(entry: TracebackType) -> list[Any]:
    code = entry.tb_frame.f_code
    number = entry.tb_lineno or 0
    return [
        code.co_filename[:LINE].encode("utf-8", "backslashreplace").decode(),
        number,
        code.co_qualname[:LINE],
        _source(code.co_filename, number, entry.tb_frame.f_globals),
    ]


def _source(file: str, number: int, space: dict[str, Any]) -> str:
    try:
        import linecache

        line = linecache.getline(file, number, space).strip()[:LINE]
        return line.encode("utf-8", "backslashreplace").decode()
    except Exception:
        return ""
