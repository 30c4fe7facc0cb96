"""Text from the isolate, made safe to print: bounded, and with every control character visible."""

from __future__ import annotations

_CUT = " ... [cut]"

# C0 but tab and newline, DEL, C1 (a terminal reads U+009B as ESC [), and characters that reorder or hide what
# follows.
_HIDDEN = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
]
_ONE_LINE = {code: (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}") for code in _HIDDEN}
_MANY_LINES = {code: shown for code, shown in _ONE_LINE.items() if code not in (9, 10)}


def visible(text: str, limit: int, *, lines: bool = False) -> str:
    """Return ``text`` cut to ``limit`` characters and with control characters written as escapes.

    Args:
        text: anything, lone surrogates included; they are written as escapes too, so that the result can be
            printed anywhere.
        limit: most characters taken of ``text``.
        lines: keep newlines and tabs.
    """
    shown = text[:limit].translate(_MANY_LINES if lines else _ONE_LINE)
    if not shown.isascii():
        shown = shown.encode("utf-8", "backslashreplace").decode()
    return shown + _CUT if len(text) > limit else shown
