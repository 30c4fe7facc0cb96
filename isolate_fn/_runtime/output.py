"""Where the isolate's stdout and stderr go. The bytes are hostile; a terminal must not obey them."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from typing import Any

from isolate_fn._transport.text import visible

NAMES = ("stdout", "stderr")


class Output:
    """Counts, bounds and passes on what the two pipes carry.

    Args:
        kind: ``"relay"``, ``"capture"``, ``"discard"`` or a callable that takes (stream name, bytes).
        limit: most bytes of both streams together.
    """

    __slots__ = ("_decoders", "captured", "counts", "kind", "limit")

    def __init__(self, kind: str | Callable[[str, bytes], object], limit: int) -> None:
        self.kind, self.limit = kind, limit
        self.counts = [0, 0]
        self.captured = [bytearray(), bytearray()]
        self._decoders: list[Any] = [None, None]

    def feed(self, stream: int, data: bytes) -> bool:
        """Take what arrived on stream 0 (stdout) or 1 (stderr).

        Returns:
            False when the limit is passed; what fits was passed on.
        """
        room = self.limit - sum(self.counts)
        self.counts[stream] += len(data)
        fits = data[: max(room, 0)]
        if fits:
            if callable(self.kind):
                self.kind(NAMES[stream], fits)
            elif self.kind == "capture":
                self.captured[stream] += fits
            elif self.kind == "relay":
                self._relay(stream, fits)
        return len(data) <= room

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
            for stream in (0, 1):
                if self._decoders[stream] is not None:
                    self._relay(stream, b"", final=True)


def _write(target: Any, text: str) -> None:
    """Write to a stream of the caller's, whose encoding may know less than UTF-8."""
    try:
        target.write(text)
    except UnicodeEncodeError as refused:
        target.write(text.encode(refused.encoding, "backslashreplace").decode(refused.encoding))
