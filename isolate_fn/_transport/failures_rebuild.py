"""The caller's half of exceptions: a hostile description becomes one that is safe to raise and to print.

Classes come from a fixed table of builtins, from what the function's own module can see, and from
``raises=``. They are found, never imported. Instances are made without running any code of theirs: the
builtin base allocates, ``args`` and the instance dict are filled with plain values. Exceptions that steer the
program instead of reporting (SystemExit, KeyboardInterrupt, StopIteration, CancelledError ...) and this
package's own never come back as
themselves: an isolate could end or mislead its caller with them. They, and unknown classes, become
RemoteError.
"""

from __future__ import annotations

import builtins
from typing import Any

from isolate_fn._transport.codec_decode import decode
from isolate_fn._transport.codec_types import DecodeLimits
from isolate_fn._transport.exception_table import ExceptionTable
from isolate_fn._transport.failures_describe import (
    EXCEPTIONS,
    FIELDS,
    LINE,
    LINKS,
    MEMBERS,
    PART,
    TEXT,
)
from isolate_fn._transport.failures_text import as_text, as_texts, traceback_text, type_name
from isolate_fn._transport.registry import EMPTY
from isolate_fn._transport.text import visible
from isolate_fn.errors import RemoteError, TransportError

# A hostile nest of exceptions in the arguments of exceptions would be as deep as it likes.
_PART_LIMITS = DecodeLimits(total=2 * PART, nodes=50_000, depth=100, exceptions=False)
_NOTHING = ExceptionTable()
# A class of the user's may define any of these names, or __setattr__; nothing of that is to run here.
_set_args = BaseException.__dict__["args"].__set__
_set_cause = BaseException.__dict__["__cause__"].__set__
_set_context = BaseException.__dict__["__context__"].__set__
_set_suppress = BaseException.__dict__["__suppress_context__"].__set__
_dict_of = BaseException.__dict__["__dict__"].__get__
# name_from: traceback imports the module that an ImportError with this attribute names.
_RESERVED = frozenset(vars(BaseException)) | {"name_from"}


class IsolateTraceback(Exception):
    """The traceback inside the isolate, as text.

    It stands as ``__cause__``, so that it prints together with the caller's own.

    Attributes:
        text: the traceback, with the source lines that the isolate sent.
        cause: the exception's own ``__cause__``, rebuilt, or None. (Its ``__context__`` is in its place on
            the exception.)
    """

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.text, self.cause = text, cause

    def __str__(self) -> str:
        return f"\n{self.text}"


def rebuild(described: object, classes: ExceptionTable | None = None) -> BaseException:
    """Make the exception that an isolate described.

    Args:
        described: a decoded description; hostile.
        classes: which classes may come back as themselves besides the builtin ones.

    Returns:
        An exception to raise, with the isolate's traceback as ``__cause__``. Always an Exception, never one
        that steers the program; a TransportError if the description makes no sense.
    """
    try:
        return _rebuild(described, classes or _NOTHING)
    except Exception as problem:
        return TransportError(f"the isolate described its exception wrongly ({type(problem).__name__})")


def _rebuild(described: object, classes: ExceptionTable) -> BaseException:
    budget = [EXCEPTIONS]
    exc = _Rebuilder(classes, budget).one(described, LINKS)
    text = traceback_text(described)
    cause, context = (
        BaseException.__getattribute__(exc, "__cause__"),
        BaseException.__getattribute__(exc, "__context__"),
    )
    if type(exc) is RemoteError:
        exc.traceback = text
    if context is None:
        _set_context(exc, cause)
    _set_cause(exc, IsolateTraceback(text, cause))
    return exc


class _Rebuilder:
    def __init__(self, classes: ExceptionTable, budget: list[int]) -> None:
        self.classes = classes
        self.budget = budget

    def one(self, described: object, links: int) -> BaseException:
        """Rebuild one exception and what hangs on it.

        Raises:
            TypeError, KeyError, ValueError: the description makes no sense.
        """
        if type(described) is not dict:
            raise TypeError("not a description")
        self.budget[0] -= 1
        exc = self.itself(described, links)
        if exc is None:
            exc = _remote(described)
        notes = [visible(note, TEXT, lines=True) for note in as_texts(described.get("notes"))[:MEMBERS]]
        if notes and type(exc) is not RemoteError:
            # Not add_note(), which sets the attribute through the class.
            _dict_of(exc).setdefault("__notes__", []).extend(notes)
        _set_cause(exc, self.link(described.get("cause"), links))
        _set_context(exc, self.link(described.get("context"), links))
        _set_suppress(exc, described.get("suppress") is True)
        return exc

    def link(self, described: object, links: int) -> BaseException | None:
        if described is None or links <= 1 or self.budget[0] <= 0:
            return None
        return self.one(described, links - 1)

    def itself(self, described: dict[str, Any], links: int) -> BaseException | None:
        """The exception as its own class, or None where that is not known, not allowed, or not possible."""
        kind = self.classes.find(described.get("type"))
        if kind is None:
            return None
        if issubclass(kind, ExceptionGroup):
            return self.group(kind, described, links)
        exc = _allocate(kind)
        if exc is None or not self.fill(exc, described):
            return None
        return exc

    def group(
        self, kind: type[ExceptionGroup[Exception]], described: dict[str, Any], links: int
    ) -> BaseException | None:
        members = [self.link(member, links) for member in list(described.get("group") or ())[:MEMBERS]]
        known: list[Any] = [member for member in members if member is not None and issubclass(type(member), Exception)]
        if not known:
            return None
        group = ExceptionGroup.__new__(kind, visible(as_text(described.get("message")), TEXT, lines=True), known)
        missing = described.get("group_size")
        if type(missing) is int and 0 < missing - len(known) < 1 << 31:
            _dict_of(group)["__notes__"] = [f"{missing - len(known)} more exceptions were not sent"]
        _dict_of(group).update(self.values(described.get("state")))
        return group

    def fill(self, exc: BaseException, described: dict[str, Any]) -> bool:
        """Set arguments, fields and attributes; False where the class cannot hold what came."""
        _set_args(exc, tuple(self.value(part) for part in list(described.get("args") or ())[:MEMBERS]))
        fields = self.values(described.get("fields"), exact="object")
        if issubclass(type(exc), UnicodeError) and not _fill_unicode(exc, fields):
            return False
        for base in type(exc).__mro__:
            if base in _FILLERS:
                _FILLERS[base](exc, fields)
        _dict_of(exc).update(self.values(described.get("state")))
        return True

    def values(self, parts: object, exact: str = "") -> dict[str, Any]:
        """Decode named parts; text in the one called ``exact`` is left as it is, because positions count in it."""
        if type(parts) is not dict:
            return {}
        kept = [
            (name, part)
            for name, part in parts.items()
            if type(name) is str and not name.startswith("__") and name not in _RESERVED
        ]
        return {name: self.value(part, name == exact) for name, part in kept[:MEMBERS]}

    def value(self, part: object, exact: bool = False) -> Any:
        """Decode one argument or attribute; its repr where that does not work. Text is made printable."""
        if type(part) is not list or len(part) != 3:
            raise TypeError("not an encoded part")
        text, buffers, shown = part
        if text is not None:
            if any(type(one) is not bytes for one in buffers):
                raise TypeError("not an encoded part")
            try:
                value = decode(text.encode(), buffers, classes=EMPTY, limits=_PART_LIMITS)
            except TransportError:
                pass
            else:
                return visible(value, TEXT, lines=True) if type(value) is str and not exact else value
        return visible(as_text(shown), TEXT, lines=True)


def _allocate(kind: type[Any]) -> BaseException | None:
    """Make an instance by the builtin base's __new__; none of the class's own code runs."""
    for base in kind.__mro__:
        if getattr(builtins, base.__name__, None) is base:
            try:
                made: BaseException = base.__new__(kind)
            except TypeError:  # not the base that decides the memory layout; try the next
                continue
            return made
    return None


_UNICODE = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)


def _fill_unicode(exc: Any, fields: dict[str, Any]) -> bool:
    """Call the builtin constructor with checked values: __str__ indexes the object by start and end."""
    if not issubclass(type(exc), _UNICODE):
        return True
    whole, start, end, reason = (fields.get(name) for name in ("object", "start", "end", "reason"))
    expected = bytes if issubclass(type(exc), UnicodeDecodeError) else str
    if type(whole) is not expected or type(start) is not int or type(end) is not int or type(reason) is not str:
        return False
    if not 0 <= start < end <= len(whole):
        return False
    arguments: tuple[Any, ...] = (whole, start, end, reason)
    if not issubclass(type(exc), UnicodeTranslateError):
        if type(fields.get("encoding")) is not str:
            return False
        arguments = (fields["encoding"], *arguments)
    base: Any = next(base for base in type(exc).__mro__ if base in _UNICODE)
    base.__init__(exc, *arguments)
    return True


def _fill_os_error(exc: BaseException, fields: dict[str, Any]) -> None:
    for name, kinds in (
        ("errno", (int,)),
        ("strerror", (str,)),
        ("filename", (str, bytes, int)),
        ("filename2", (str, bytes, int)),
    ):
        if type(fields.get(name)) in kinds:
            OSError.__dict__[name].__set__(exc, fields[name])


def _fill_syntax_error(exc: BaseException, fields: dict[str, Any]) -> None:
    length = len(fields["text"]) if type(fields.get("text")) is str else 0
    for name in FIELDS["SyntaxError"]:
        value = fields.get(name)
        if type(value) is int:
            # Printing draws a line of carets between the offsets.
            most = (1 << 31) - 1 if name.endswith("lineno") else length + 1
            value = min(max(value, 0), most)
        elif type(value) is not str:
            continue
        if (type(value) is str) == (name in ("msg", "filename", "text")):
            SyntaxError.__dict__[name].__set__(exc, value)


def _fill_names(base: type) -> Any:
    def fill(exc: BaseException, fields: dict[str, Any]) -> None:
        for name in FIELDS[base.__name__]:
            if type(fields.get(name)) is str:
                base.__dict__[name].__set__(exc, visible(fields[name], LINE))

    return fill


_FILLERS: dict[type, Any] = {
    OSError: _fill_os_error,
    SyntaxError: _fill_syntax_error,
    **{base: _fill_names(base) for base in (ImportError, NameError, AttributeError)},
}


def _remote(described: dict[str, Any]) -> RemoteError:
    notes = tuple(visible(note, TEXT, lines=True) for note in as_texts(described.get("notes"))[:MEMBERS])
    return RemoteError(type_name(described), visible(as_text(described.get("text")), TEXT, lines=True), "", notes)
