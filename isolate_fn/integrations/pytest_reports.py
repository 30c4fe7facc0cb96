"""What came back from a test inside an isolate, read as the hostile data it is, and put into pytest's report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from isolate_fn import Report
from isolate_fn.errors import RemoteError

_MOST_TEXT = 1 << 20  # characters of one piece of text
_DEEPEST = 40
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Ended:
    """How the body of one test ended.

    Attributes:
        report: of its isolate, None where none was built.
        longrepr: pytest's description of the failure, as it was made inside.
        isolation: it was ended by a wall, a limit or a timeout.
    """

    def __init__(self) -> None:
        self.report: Report | None = None
        self.longrepr: Any = None
        self.isolation = False


def end(said: Any, ended: Ended, item: Any) -> None:
    """Raise what a test's body ended with, nothing if it passed.

    Args:
        said: what `run_test` has returned.
        ended: gets the description.
        item: the test.
    """
    __tracebackhide__ = True
    said = said if isinstance(said, dict) else {}
    outcome, message = said.get("outcome"), text(said.get("message", ""))
    if outcome == "passed":
        return
    if outcome == "skipped":
        line = said.get("line")
        ended.longrepr = (str(item.path), line if type(line) is int else 0, f"Skipped: {message}")
        raise pytest.skip.Exception(message)
    if outcome == "xfailed":
        raise pytest.xfail.Exception(message)
    ended.longrepr = _description(said.get("report"), item)
    if outcome == "fail":
        raise pytest.fail.Exception(message, pytrace=said.get("trace") is True)
    error = said.get("error")
    if isinstance(error, pytest.exit.Exception):  # an isolate does not end the run
        raise pytest.fail.Exception(f"pytest.exit() inside an isolate: {message}", pytrace=False)
    if isinstance(error, Exception):
        raise error
    raise RemoteError(text(said.get("type", "")) or "unknown", message, "")


def text(value: object) -> str:
    """Return text without control characters; nothing for what is no text."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value[:_MOST_TEXT]) if isinstance(value, str) else ""


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return text(value)
    if value is None or type(value) in (bool, int, float) or depth > _DEEPEST:
        return value if depth <= _DEEPEST else None
    if isinstance(value, dict):
        return {text(key): _clean(each, depth + 1) for key, each in value.items()}
    return [_clean(each, depth + 1) for each in value] if isinstance(value, (list, tuple)) else None


def _description(told: Any, item: Any) -> Any:
    """Return pytest's own description, made of plain data in the way that pytest-xdist uses; text where that fails."""
    clean = _clean(told)
    if not isinstance(clean, dict):
        return clean if isinstance(clean, str) else None
    data = {
        "$report_type": "TestReport",
        "nodeid": item.nodeid,
        "location": item.location,
        "keywords": {},
        "outcome": "failed",
        "when": "call",
        "longrepr": clean,
    }
    try:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
        str(report.longrepr)
    except Exception:  # what is told is no description: the exception itself is left
        return None
    return report.longrepr


def properties(said: Any) -> Iterator[tuple[str, object]]:
    """Return what the test has recorded by ``record_property``."""
    for told in _list(said, "properties"):
        if isinstance(told, list) and len(told) == 2:
            yield text(told[0]), _clean(told[1])


def _list(said: Any, name: str) -> list[Any]:
    found = said.get(name) if isinstance(said, dict) else None
    return found if isinstance(found, list) else []


def summary(report: Report) -> str:
    """Return a report in one line, for the properties of a test."""
    engine = report.enforcement.engine if report.enforcement is not None else "none"
    return f"{engine}, peak memory {report.peak_memory} bytes, processor {report.cpu_seconds:.3f} s"


def complete(report: Any, call: Any, ended: Ended) -> None:
    """Complete pytest's report of a test that ran inside.

    Args:
        report: pytest's.
        call: how the body ended, as pytest saw it.
        ended: the same as told from inside.
    """
    if call.excinfo is not None:
        if ended.longrepr is not None and report.longrepr is not None:
            report.longrepr = ended.longrepr
        elif ended.isolation and report.failed:
            error = call.excinfo.value
            report.longrepr = f"the test's isolate: {type(error).__name__}: {error}"
    used = ended.report
    if used is None or used.enforcement is None:
        return
    lines = [
        f"engine {used.enforcement.engine}; uid {used.enforcement.uid}; walls: {', '.join(used.enforcement.layers)}",
        f"peak memory {used.peak_memory} bytes, processor {used.cpu_seconds:.3f} s, files {used.disk} bytes",
    ]
    lines += [f"weaker than asked: {line.partition(';')[0]}" for line in used.enforcement.dropped]
    lines += [f"accepted: {name}" for name in used.enforcement.accepted]
    report.sections.append(("Isolate", "\n".join(lines)))


__all__ = ["Ended", "complete", "end", "properties", "summary", "text"]
