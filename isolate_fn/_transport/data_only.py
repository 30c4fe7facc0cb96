"""Pickles of data alone, for what goes into an isolate and is not meant to take anything along.

What the closed format carries, and no more of it: pickle by itself would also take what else hangs on an object, such as
attributes that are no fields, and whatever these refer to.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable

from isolate_fn._transport.codec_classes import attrs_fields, dataclass_fields
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.codec_types import class_name
from isolate_fn._transport.naming import importable_file
from isolate_fn._transport.pickling import reduce_view
from isolate_fn._transport.received import load_instance
from isolate_fn._transport.registry import KNOWN_MODULES, ClassTable, entry_of
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump_data(value: object, classes: Callable[[], ClassTable]) -> bytes:
    """Pickle a value of types that the closed format knows.

    Args:
        value: it.
        classes: returns the table of classes whose instances go as well, by their fields; asked when there is one.

    Raises:
        ResultRejected: something in it is no data, or of a class that is not in the table or cannot be imported inside.
    """
    try:
        encode(value)
    except ResultRejected as rejected:  # its advice is for results of isolated functions
        raise ResultRejected(rejected.type_name, "return plain data") from rejected
    stream = io.BytesIO()
    try:
        _DataPickler(stream, classes).dump(value)
    except ResultRejected:
        raise
    except Exception as error:
        remedy = f"return plain data: pickling it failed ({type(error).__name__})"
        raise ResultRejected(class_name(type(value)), remedy) from error
    return stream.getvalue()


class _DataPickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, classes: Callable[[], ClassTable]) -> None:
        super().__init__(stream, 5)
        self.classes = classes

    def reducer_override(self, value: Any) -> Any:
        """Take instances of the caller's own classes apart; asked about everything but the simplest builtin types."""
        kind = type(value)
        if kind is memoryview:
            return reduce_view(value)
        if issubclass(kind, BaseException):
            raise ResultRejected(class_name(kind), "return its text, or raise it")
        if kind.__module__.partition(".")[0] in KNOWN_MODULES or issubclass(kind, type) or entry_of(kind) is None:
            return NotImplemented
        entry = self.classes().entries.get(class_name(kind))
        if entry is None or entry.cls is not kind:
            raise ResultRejected(class_name(kind), f"name it in the return annotation, as '-> {kind.__qualname__}'")
        if importable_file(kind.__module__) is None:
            raise ResultRejected(class_name(kind), "define it in a module, which can be imported inside")
        if entry.tag == "E":
            return getattr, (kind, value.name)
        if entry.tag == "Fl":
            return kind, (value.value,)
        if entry.tag == "nt":
            return kind, tuple(value)
        fields = dataclass_fields(kind) if entry.tag == "k" else attrs_fields(kind)
        return load_instance, (kind, {argument: getattr(value, attribute) for attribute, argument in fields})
