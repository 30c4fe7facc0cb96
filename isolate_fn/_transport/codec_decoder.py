"""The state of one decoding.

Buffers are given out once, memory is budgeted, and a tag leads to its builder.
"""

from __future__ import annotations

import json
import sys
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from json import scanner as json_scanner
from types import ModuleType

from isolate_fn._transport.codec_types import ROOT, SMALL_BUFFER, TAG, DecodeLimits
from isolate_fn._transport.invalid import Invalid as Invalid
from isolate_fn._transport.registry import ClassTable, Entry
from isolate_fn._transport.text import visible
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Builder = Callable[["Decoder", dict[str, "Any"]], "Any"]
"""Turns one tagged JSON object, whose parts are built already, into a value."""

_make_scanner: Any = getattr(json_scanner, "c_make_scanner", None)

_SMALL_TEXT = (SMALL_BUFFER + 2) // 3 * 4

# Tags of optional libraries; the table of builders is in the module.
_OPTIONAL = {
    "nd": "codec_numpy", "ns": "codec_numpy", "nx": "codec_numpy", "no": "codec_numpy",
    **dict.fromkeys(("pdF", "pdS", "pdI", "pdA", "pdX"), "codec_pandas_decode"),
    "paT": "codec_arrow", "paB": "codec_arrow", "paA": "codec_arrow", "paC": "codec_arrow",
    "im": "codec_pillow",
}  # fmt: skip


def _scanner_for(decoder: Decoder) -> Callable[[str, int], tuple[Any, int]]:
    made: Any = decoder
    if _make_scanner is None:  # an interpreter without the C accelerator
        made = json.JSONDecoder(object_hook=decoder.object_hook)
    return made.scan_once if _make_scanner is None else _make_scanner(made)  # type: ignore[no-any-return]


class Decoder:
    """Builds one value.

    The C scanner of the json module calls ``object_hook`` for each JSON object, innermost first.

    Attributes:
        classes: the caller's classes.
        limits: bounds.
    """

    __slots__ = ("_budget", "_buffers", "_builders", "classes", "limits")

    # What the C scanner asks of its context; json.JSONDecoder has the same attributes, but takes 3 us to
    # make.
    strict = True
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__

    def __init__(
        self,
        buffers: Sequence[memoryview | bytes],
        classes: ClassTable,
        limits: DecodeLimits,
        builders: Mapping[str, Builder],
    ) -> None:
        self._buffers: list[Any] = list(buffers)
        self._budget = limits.total
        self._builders = builders
        self.classes = classes
        self.limits = limits

    def run(self, text: str) -> Any:
        """Decode the whole text.

        Raises:
            Invalid: not a value of this format. (And whatever constructors raise.)
        """
        value, end = _scanner_for(self)(text, 0)
        if end != len(text):
            raise Invalid("text after the value")
        if any(buffer is not None for buffer in self._buffers):
            raise Invalid("a buffer that nothing refers to")
        return value

    def object_hook(self, obj: dict[str, Any]) -> Any:
        """Replace a JSON object that has a tag by the value it stands for."""
        if TAG not in obj:
            return obj
        tag = obj[TAG]
        builder = self._builders.get(tag) if type(tag) is str else None
        if builder is None:
            builder = _optional_builder(tag)
        return builder(self, obj)

    def take(self, number: object) -> memoryview:
        """Give out a buffer, once, as a view of bytes; or a small one that stands in the JSON."""
        if type(number) is str and len(number) <= _SMALL_TEXT:
            return memoryview(a2b_base64(number, strict_mode=True))
        if type(number) is not int or not 0 <= number < len(self._buffers):
            raise Invalid("a buffer number that does not exist")
        buffer = self._buffers[number]
        if buffer is None:
            raise Invalid("a buffer used twice")
        self._buffers[number] = None
        return memoryview(buffer)

    def charge(self, count: int, each: int) -> None:
        """Account for memory that the value takes beyond its bytes on the wire.

        Raises:
            Invalid: the result limit would be exceeded.
        """
        self._budget -= count * each
        if self._budget < 0:
            raise Invalid(
                f"it becomes more than {self.limits.total} bytes of objects; "
                "return a numpy array or bytes, or raise Limits(result=...)"
            )

    def check_hashes(self, keys: Iterable[Any], count: int) -> None:
        """Refuse keys made to collide: inserting them would take quadratic time.

        Text and bytes are not looked at; their hashes are randomised.
        """
        if count <= self.limits.equal_hashes:
            return
        keys = list(keys)
        if not set(map(type, keys)) <= {str, bytes}:
            seen: dict[int, int] = {}
            for number in map(hash, keys):
                times = seen[number] = seen.get(number, 0) + 1
                if times > self.limits.equal_hashes:
                    raise Invalid("too many keys with the same hash")

    def entry(self, name: object, tag: str) -> Entry:
        """Look up a class that the wire names.

        Raises:
            ResultRejected: the caller has no such class.
        """
        entry = self.classes.entries.get(name) if type(name) is str else None
        if entry is None or entry.tag != tag:
            raise unknown_class(name)
        return entry


def a(kind: type, value: object) -> Any:
    """Return ``value`` if it is exactly of this type.

    Raises:
        Invalid: it is not.
    """
    if type(value) is not kind:
        raise Invalid(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def ints(value: object, count: int) -> list[int]:
    """Return ``value`` if it is a list of exactly ``count`` ints (no bools).

    Raises:
        Invalid: it is not.
    """
    if type(value) is not list or len(value) != count or any(type(part) is not int for part in value):
        raise Invalid(f"no list of {count} ints")
    return value


def unknown_class(name: object) -> ResultRejected:
    """The error for a class that the caller did not name, with the line that fixes it."""
    shown = visible(name, 200) if type(name) is str else "a class without a name"
    short = shown.rpartition(":")[2].rpartition(".")[2]
    move = "; move it to module level where the caller cannot name it" if "<locals>" in shown else ""
    return ResultRejected(
        shown,
        f"say that you expect it: annotate the function with '-> {short}', or pass returns=({short},){move}",
        ROOT,
    )


def _optional_builder(tag: object) -> Builder:
    module = _OPTIONAL.get(tag) if type(tag) is str else None
    if module is None:
        raise Invalid("an unknown kind of value")
    # A name out of the fixed table above, never one from the wire.
    builders: dict[str, Builder] = import_module(f"isolate_fn._transport.{module}").BUILDERS
    return builders[tag]  # type: ignore[index]


def need(library: str) -> ModuleType:
    """Import an optional library that a value is made of.

    Raises:
        ResultRejected: it is not installed on this side.
    """
    loaded = sys.modules.get(library)
    if loaded is not None:
        return loaded
    try:
        return import_module(library)
    except ImportError:
        top = library.partition(".")[0]
        raise ResultRejected(f"a value of {top}", f"install {top} for the calling interpreter too", ROOT) from None
