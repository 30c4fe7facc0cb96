"""The isolate's traceback as text, from a hostile description.

Only what the isolate sent: a file of the name it gives may be another one on this side, or a secret.
"""

from __future__ import annotations

from typing import Any

from isolate_fn._transport.failures_describe import EXCEPTIONS, FRAMES, LINE, LINKS, MEMBERS, TEXT
from isolate_fn._transport.text import visible

_WHOLE = 256 * 1024
"""Characters of one traceback, chain and groups included."""

_WORD = {"cause": "\nThe above exception was the direct cause of the following exception:\n\n",
         "context": "\nDuring handling of the above exception, another exception occurred:\n\n"}  # fmt: skip


def as_text(value: object) -> str:
    """Return ``value`` if it is text, else nothing."""
    return value if type(value) is str else ""


def as_texts(values: object) -> list[str]:
    """Return the texts in ``values``, if it is a list."""
    return [value for value in values if type(value) is str] if type(values) is list else []


def type_name(described: dict[str, Any]) -> str:
    """The class's qualified name for people; builtin ones without their module."""
    module, _, name = visible(as_text(described.get("type")), LINE).partition(":")
    return name if module == "builtins" else f"{module}.{name}"


def traceback_text(described: object) -> str:
    """The isolate's traceback as Python would print it, causes first, cut in the middle where it is long."""
    text = "".join(_chain([EXCEPTIONS], described, LINKS))
    if len(text) <= _WHOLE:
        return text
    return f"{text[: _WHOLE // 2]}\n ... [cut] ...\n{text[-_WHOLE // 2 :]}"


def _chain(budget: list[int], described: object, links: int) -> list[str]:
    if type(described) is not dict or budget[0] <= 0:
        return []
    budget[0] -= 1
    lines: list[str] = []
    name = "cause" if described.get("cause") is not None else "context"
    before = described.get(name)
    if before is not None and links > 1 and (name == "cause" or described.get("suppress") is not True):
        lines += [*_chain(budget, before, links - 1), _WORD[name]]
    lines.append("Traceback inside the isolate (most recent call last):\n")
    frames = described.get("frames")
    lines += map(_frame_text, frames[: FRAMES + 1] if type(frames) is list else ())
    message = visible(as_text(described.get("text")), TEXT, lines=True)
    lines.append(f"{type_name(described)}: {message}\n" if message else f"{type_name(described)}\n")
    lines += [f"{visible(note, TEXT, lines=True)}\n" for note in as_texts(described.get("notes"))[:MEMBERS]]
    group = described.get("group")
    for number, member in enumerate(group[:MEMBERS] if type(group) is list and links > 1 else (), 1):
        inner = "".join(_chain(budget, member, links - 1))
        lines += [f"  +---- {number} ----\n", *(f"  | {line}\n" for line in inner.split("\n")[:-1])]
    return lines


def _frame_text(frame: object) -> str:
    if type(frame) is int:
        return f"  [{min(max(frame, 0), 1 << 31)} frames left out]\n"
    if type(frame) is not list or len(frame) != 4:
        return ""
    file, number, name, line = frame
    where = f'  File "{visible(as_text(file), LINE)}", line {_line_number(number)}'
    source = visible(as_text(line), LINE)
    return f"{where}, in {visible(as_text(name), LINE)}\n" + (f"    {source}\n" if source else "")


def _line_number(number: object) -> int:
    return number if type(number) is int and 0 <= number < 1 << 31 else 0
