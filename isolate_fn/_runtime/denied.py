"""Denials as the caller shows them: values of the report, notes on exceptions, records of logging.

Imported where something was denied. The records come from the spawner, which is trusted; the text in them (paths, names
of files) comes from memory of the isolate's, so it is bounded, made visible, and never opened or believed.
"""

from __future__ import annotations

import os
import sys

from isolate_fn._plan.argument_names import decoded, path_of
from isolate_fn._plan.fixes import fixes
from isolate_fn._runtime.report import Denial
from isolate_fn._sys import constants as k
from isolate_fn._sys import numbers
from isolate_fn._transport.text import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.prepared import Prepared

LOGGER = "isolate_fn.denied"
_MOST_TEXT, _MOST_NOTES = 300, 5
_OURS = os.path.dirname(os.path.dirname(__file__)) + "/"
_PYTHONS = os.path.dirname(os.__file__) + "/"
_INSTALLED = ("site-packages/", "dist-packages/")


def denials(isolate: Isolate, prepared: Prepared) -> tuple[Denial, ...]:
    """Return everything that was denied in an isolate, oldest first."""
    return (*_told([record for _, record in sorted(isolate.denials.items())], prepared), *isolate.missing)


def taken(isolate: Isolate, prepared: Prepared) -> list[Denial]:
    """Return what was denied since the last time, and log it where this program logs."""
    isolate.hear_all()
    news, isolate.news = isolate.news, []
    if not news:
        return []
    found = _told([isolate.denials[each] for each in news], prepared)
    log(found, prepared)
    return found


def note(error: BaseException, found: list[Denial]) -> None:
    """Write on an exception what was denied during its call, and what would permit it (PEP 678)."""
    by_fix: dict[tuple[str, str], Denial] = {}
    for each in found:
        by_fix.setdefault((each.syscall, each.fix or str(each)), each)
    shown = list(by_fix.values())[:_MOST_NOTES]
    for each in shown:
        error.add_note(f"isolate_fn: {each}")
    if len(found) > len(shown):
        error.add_note(f"isolate_fn: and {len(found) - len(shown)} further denials; see the report")


def log(found: list[Denial], prepared: Prepared) -> None:
    """Give one record for each to logging, unless nobody has imported it, and so nobody listens."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    above = logging.getLogger("isolate_fn")
    if not above.handlers:
        above.addHandler(logging.NullHandler())  # or logging prints to stderr what nobody has asked for
    logger = logging.getLogger(LOGGER)
    for each in found:
        logger.warning("%s", each, extra={"isolate": prepared.plan.name, "denial": each})


def _told(records: list[dict[str, Any]], prepared: Prepared) -> list[Denial]:
    """Return what is told of denials together: what permits one must go with what permits another."""
    calls = [(_name(record["number"], prepared), record["arguments"]) for record in records]
    rules = prepared.terms.rules
    advice = fixes(prepared.features.machine, calls, network=_network(prepared), rules=rules)
    return [_denial(record, fix, prepared) for record, fix in zip(records, advice, strict=True)]


def _denial(record: dict[str, Any], fix: str, prepared: Prepared) -> Denial:
    name = _name(record["number"], prepared)
    texts = [None if each is None else visible(each, _MOST_TEXT) for each in record["texts"]]
    frames = [(visible(file, _MOST_TEXT), line, visible(code, _MOST_TEXT)) for file, line, code in record["frames"]]
    path = path_of(name, texts)
    return Denial(
        syscall=name,
        args=decoded(name, record["arguments"], texts),
        path=path,
        errno=record["errno"],
        pid=record["pid"],
        tid=record["tid"],
        program=record["role"] != "worker",
        count=record["count"],
        location=_location(frames),
        stack=tuple(f"{file}:{line} in {code}" for file, line, code in frames if not file.startswith(_OURS)),
        fix=fix,
    )


def _name(number: int, prepared: Prepared) -> str:
    if number < 0:
        return "others"
    return numbers.names(prepared.features.machine).get(number, f"system call {number}")


def _network(prepared: Prepared) -> bool:
    return not prepared.plan.namespaces & k.CLONE_NEWNET


def _location(frames: list[tuple[str, int, str]]) -> str | None:
    """Return the innermost line that belongs neither to Python nor to us, else the innermost there is."""
    frames = [each for each in frames if not each[0].startswith((_OURS, "<shim>"))]
    for file, line, _ in frames:
        ours = not file.startswith((_PYTHONS, "<frozen ")) or any(part in file for part in _INSTALLED)
        if ours:
            return f"{file}:{line}"
    return f"{frames[0][0]}:{frames[0][1]}" if frames else None


__all__ = ["LOGGER", "denials", "log", "note", "taken"]
