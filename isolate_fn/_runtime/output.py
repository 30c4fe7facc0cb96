"""Where the isolate's stdout and stderr go. The bytes are hostile; a terminal must not obey them."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable

from isolate_fn._transport.text import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("stdout", "stderr")
_TAIL = 1 << 14
_DUMP = b"Fatal Python error: "


class Output:
    """Counts, bounds and passes on what the two pipes carry.

    Args:
        kind: ``"relay"``, ``"capture"``, ``"discard"`` or a callable that takes (stream name, bytes).
        limit: most bytes of both streams together.

    Attributes:
        tail: the last of what arrived on stderr, wherever it went: should the isolate die, that may tell why.
        held: what looks like the stack of a crash, not relayed yet: the error may quote it. None to hold nothing.
        quoted: the error does.
    """

    __slots__ = ("_decoders", "captured", "counts", "held", "kind", "limit", "quoted", "tail")

    def __init__(self, kind: str | Callable[[str, bytes], object], limit: int) -> None:
        self.kind, self.limit = kind, limit
        self.counts = [0, 0]
        self.captured = [bytearray(), bytearray()]
        self._decoders: list[Any] = [None, None]
        self.tail = b""
        self.held: bytes | None = b""
        self.quoted = False

    def feed(self, stream: int, data: bytes) -> bool:
        """Take what arrived on stream 0 (stdout) or 1 (stderr).

        Returns:
            False when the limit is passed; what fits was passed on.
        """
        room = self.limit - sum(self.counts)
        self.counts[stream] += len(data)
        fits = data[: max(room, 0)]
        if stream:
            self.tail = (self.tail + fits[-_TAIL:])[-_TAIL:]
        if fits:
            if callable(self.kind):
                self.kind(NAMES[stream], fits)
            elif self.kind == "capture":
                self.captured[stream] += fits
            elif self.kind == "relay":
                self._relay(stream, self._hold(fits) if stream else fits)
        return len(data) <= room

    def _hold(self, data: bytes) -> bytes:
        """Return what to relay now."""
        if self.held is None or not (self.held or _DUMP in data):
            return data
        now, held, begun = data.partition(_DUMP) if not self.held else (b"", data, b"")
        self.held += held + begun
        if len(self.held) > _TAIL:  # that is no stack
            now, self.held = now + self.held, None
        return now

    def _relay(self, stream: int, data: bytes, final: bool = False) -> None:
        if self._decoders[stream] is None:
            self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = self._decoders[stream].decode(data, final)
        target = sys.stdout if stream == 0 else sys.stderr
        if text and target is not None:
            _write(target, visible(text.replace("\r\n", "\n"), len(text), lines=True))
            target.flush()

    def finish(self) -> None:
        """Pass on what an unfinished character left behind."""
        if self.kind == "relay":
            if self.held and not self.quoted:
                self._relay(1, self.held)
            self.held = None
            for stream in (0, 1):
                if self._decoders[stream] is not None:
                    self._relay(stream, b"", final=True)


def _write(target: Any, text: str) -> None:
    """Write to a stream of the caller's, whose encoding may know less than UTF-8."""
    try:
        target.write(text)
    except UnicodeEncodeError as refused:
        target.write(text.encode(refused.encoding, "backslashreplace").decode(refused.encoding))
