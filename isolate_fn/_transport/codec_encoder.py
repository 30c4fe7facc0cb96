"""One pass over one value: which handler encodes a type, the buffers, the depth, the path in an error."""

from __future__ import annotations

import sys
from array import array
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType

from isolate_fn._transport.codec_types import MANY, ROOT, SMALL_BUFFER, TAG, VALUE_DEPTH, class_name
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Handler = Callable[["Encoder", "Any"], "Any"]
"""Turns one value into its JSON form, adding buffers to the encoder."""

CORE: dict[type, Handler] = {}
"""Handlers of the builtin types; codec_encode fills it."""

_SCALARS = frozenset({type(None), bool, int, float, str})


class Refused(Exception):
    """A value that cannot travel; ``path`` collects its place from the inside out. Stays in this package."""

    def __init__(self, type_name: str, remedy: str) -> None:
        super().__init__(type_name, remedy)
        self.type_name, self.remedy = type_name, remedy
        self.path: list[str] = []

    def rejection(self) -> ResultRejected:
        """The public error."""
        return ResultRejected(self.type_name, self.remedy, ROOT + "".join(reversed(self.path)))


class Encoder:
    """One pass over one value.

    Attributes:
        buffers: raw memory collected so far.
        careful: look at every int and str.
        depth: levels of brackets around the value being encoded.
    """

    __slots__ = ("buffers", "careful", "depth", "registered")

    def __init__(self, registered: Mapping[type, Callable[[Any], Any]], *, careful: bool = False) -> None:
        self.buffers: list[Any] = []
        self.careful = careful
        self.depth = 0
        self.registered = registered

    def value(self, value: Any) -> Any:
        """Encode one value of any supported type."""
        kind = type(value)
        handler = CORE.get(kind)
        if handler is None:
            handler = self._handler(kind)
        return handler(self, value)

    def at(self, place: str, value: Any) -> Any:
        """Encode a part of a value; ``place`` is how errors name it, such as ``.x`` or ``['a']``."""
        try:
            return self.value(value)
        except Refused as refusal:
            refusal.path.append(place)
            raise

    def buffer(self, data: Any) -> int | str:
        """Add raw memory; return its number, or its base64 text where it is small."""
        if (data.nbytes if type(data) is memoryview else len(data)) <= SMALL_BUFFER:
            return b2a_base64(data, newline=False).decode()
        self.buffers.append(data)
        return len(self.buffers) - 1

    def enter(self, container: object, levels: int) -> None:
        """Note that ``container`` is being encoded; undone by subtracting from ``depth``."""
        self.depth += levels
        if self.depth > VALUE_DEPTH:
            raise _too_deep(container)

    def items(self, values: list[Any] | tuple[Any, ...]) -> Any:
        """Encode elements as a JSON list, or as one buffer where they are many numbers."""
        kinds = set(map(type, values))
        if len(values) >= MANY and len(kinds) == 1:
            packed = self._packed(values, kinds.pop())
            if packed is not None:
                return packed
            kinds = {type(values[0])}
        if kinds <= _SCALARS and not self.careful:
            return values  # tuples too: JSON has one kind of list
        out: list[Any] = []
        known = CORE.get  # saves a call for each element of a builtin type
        try:
            for item in values:
                handler = known(type(item))
                out.append(handler(self, item) if handler is not None else self.value(item))
        except Refused as refusal:
            refusal.path.append(f"[{len(out)}]")
            raise
        return out

    def mapping(self, values: dict[Any, Any]) -> Any:
        """Encode a dict whose keys are all plain text and not ``"$"``."""
        if set(map(type, values.values())) <= _SCALARS and not self.careful:
            return values
        out = {}
        key = None
        try:
            for key, item in values.items():
                out[key] = self.value(item)
        except Refused as refusal:
            refusal.path.append(f"[{repr(key)[:100]}]")
            raise
        return out

    def pairs(self, values: dict[Any, Any]) -> tuple[Any, Any]:
        """Encode any dict as a list of keys and a list of values."""
        keys = list(values)
        try:
            encoded = self.items(keys)
        except Refused as refusal:
            refusal.path[-1:] = [f" key {keys[int(refusal.path[-1][1:-1])]!r}"[:200]]
            raise
        return encoded, self.items(list(values.values()))

    def _packed(self, values: Any, kind: type) -> Any:
        try:
            if kind is int:
                return {TAG: "lq", "v": self.buffer(array("q", values).tobytes())}
            if kind is float:
                return {TAG: "ld", "v": self.buffer(array("d", values).tobytes())}
        except OverflowError:  # an int beyond 64 bits
            return None
        if kind is bytes:
            lengths = array("Q", map(len, values)).tobytes()
            return {TAG: "lb", "v": [self.buffer(lengths), self.buffer(b"".join(values))]}
        return None

    def _handler(self, kind: type) -> Handler:
        own = self.registered.get(kind)
        if own is not None:
            return _registered_handler(own)
        handler = _RESOLVED.get(kind)
        if handler is None:
            handler = _RESOLVED[kind] = _resolve(kind)
        return handler


def _too_deep(container: object) -> Refused:
    name = class_name(type(container))
    if _contains_itself(container):
        return Refused(f"{name} that contains itself", "return a value without cycles")
    return Refused(
        f"{name} nested more than {VALUE_DEPTH} levels deep",
        "return a flatter value (a tuple, set or object counts as two levels)",
    )


def _contains_itself(container: object) -> bool:
    import gc

    waiting, seen = gc.get_referents(container), set[int]()
    while waiting and len(seen) < 100_000:
        part = waiting.pop()
        if part is container:
            return True
        if id(part) not in seen and gc.is_tracked(part) and not isinstance(part, (type, ModuleType, FunctionType)):
            seen.add(id(part))
            waiting.extend(gc.get_referents(part))
    return False


def _registered_handler(own: Callable[[Any], Any]) -> Handler:
    def handler(encoder: Encoder, value: Any) -> Any:
        encoder.enter(value, 2)
        out = {TAG: "reg", "c": class_name(type(value)), "v": encoder.value(own(value))}
        encoder.depth -= 2
        return out

    return handler


_RESOLVED: dict[type, Handler] = {}


def _resolve(kind: type) -> Handler:
    """Find the handler of any other type. Loads only what belongs to modules already loaded."""
    from isolate_fn._transport import codec_encode_std

    handler = codec_encode_std.handler_of(kind)
    if handler is not None:
        return handler
    module = getattr(kind, "__module__", None)
    top = module.partition(".")[0] if isinstance(module, str) else ""
    if top == "numpy" and "numpy" in sys.modules:
        from isolate_fn._transport import codec_numpy

        handler = codec_numpy.handler_of(kind)
    elif top == "pandas" and "pandas" in sys.modules:
        from isolate_fn._transport import codec_pandas

        handler = codec_pandas.handler_of(kind)
    elif top == "pyarrow" and "pyarrow" in sys.modules:
        from isolate_fn._transport import codec_arrow

        handler = codec_arrow.handler_of(kind)
    elif "PIL.Image" in sys.modules:
        from isolate_fn._transport import codec_pillow

        handler = codec_pillow.handler_of(kind)
    if handler is None:
        from isolate_fn._transport import codec_classes

        handler = codec_classes.handler_of(kind)
    return handler
