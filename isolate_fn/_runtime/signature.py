"""What the caller knows of one function, looked at once."""

from __future__ import annotations

import json
from types import FunctionType

from isolate_fn._frozen import dataclass
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._transport.calls import FunctionRef, dump, function_part
from isolate_fn._transport.codec_types import DecodeLimits
from isolate_fn._transport.exception_table import ExceptionTable
from isolate_fn._transport.registry import ClassTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Signature:
    """What the caller knows of one function: how it travels, and which classes its answers may contain.

    Attributes:
        reference: where the worker finds it.
        part: what is sent to a worker that does not have it; empty where it travels by value, as it is then.
        bare: a plain function, whose calls need no unbinding.
        classes: of results.
        exceptions: that may come back as themselves.
        encoders: pickled encode functions of registered classes, empty for none.
        trust: results are plain pickle as well; exceptions are not.
        limits: of results.
        words: what a call says of all this, and the same for the last one of its worker.
    """

    reference: FunctionRef
    part: bytes
    bare: bool
    classes: Any
    exceptions: Any
    encoders: bytes
    trust: bool
    limits: DecodeLimits
    words: tuple[bytes, bytes]


def sign(reference: FunctionRef, prepared: Prepared) -> Signature:
    """Look at a function once: its annotation, its module's exceptions, the policy's ``returns`` and ``raises``."""
    exceptions = ExceptionTable.for_function(reference.function, prepared.terms.raises)
    classes = ClassTable.for_function(reference.function).with_classes(prepared.terms.returns)
    encoders = classes.encoders()
    words = {"trust_result": prepared.terms.trust_result, "encoders": bool(encoders)}
    return Signature(
        reference=reference,
        part=function_part(reference) if reference.location is not None else b"",
        bare=type(reference.function) is FunctionType,
        classes=classes.with_exceptions(exceptions),
        exceptions=exceptions,
        encoders=dump(encoders) if encoders else b"",
        trust=prepared.terms.trust_result,
        limits=DecodeLimits(total=prepared.terms.limits.result),
        words=(json.dumps({**words, "last": False}).encode(), json.dumps({**words, "last": True}).encode()),
    )
