"""Stand-ins for fixtures of pytest's own that are bound to their process: each is opened anew inside the isolate."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

_BY_TYPE = {
    pytest.MonkeyPatch: "monkeypatch",
    pytest.LogCaptureFixture: "caplog",
    pytest.WarningsRecorder: "recwarn",
}
_CAPTURES = {
    "SysCapture": "capsys",
    "SysCaptureBinary": "capsysbinary",
    "FDCapture": "capfd",
    "FDCaptureBinary": "capfdbinary",
}


class StandIn:
    """Travels instead of a fixture's value.

    Args:
        name: of the fixture.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, opened: contextlib.ExitStack, properties: list[Any]) -> Any:
        """Return the value that the test gets inside.

        Args:
            opened: closes it when the test ends.
            properties: where ``record_property`` writes.
        """
        if self.name == "monkeypatch":
            return opened.enter_context(pytest.MonkeyPatch.context())
        if self.name == "recwarn":
            return opened.enter_context(pytest.WarningsRecorder(_ispytest=True))
        if self.name == "caplog":
            return opened.enter_context(_caplog())
        if self.name == "record_property":
            return lambda name, value: properties.append([str(name), value])
        return opened.enter_context(_capture(self.name))


def stand_in(name: str, value: object) -> StandIn | None:
    """Return what travels instead of a fixture's value; None for values that travel themselves, or not at all.

    Args:
        name: of the fixture.
        value: of it.
    """
    if isinstance(value, pytest.CaptureFixture):
        known = _CAPTURES.get(value.captureclass.__name__)
        return StandIn(known) if known else None
    for kind, own in _BY_TYPE.items():
        if isinstance(value, kind):
            return StandIn(own)
    return StandIn(name) if name == "record_property" else None


@contextlib.contextmanager
def _capture(name: str) -> Iterator[Any]:
    from _pytest import capture

    by_name = {own: getattr(capture, kind) for kind, own in _CAPTURES.items()}
    manager = SimpleNamespace()
    plugins = SimpleNamespace(getplugin=lambda _: manager)
    request: Any = SimpleNamespace(config=SimpleNamespace(pluginmanager=plugins))
    fixture: Any = pytest.CaptureFixture(by_name[name], request, _ispytest=True)

    @contextlib.contextmanager
    def disabled() -> Iterator[None]:
        fixture._suspend()
        try:
            yield
        finally:
            fixture._resume()

    manager.global_and_fixture_disabled = disabled
    fixture._start()
    try:
        yield fixture
    finally:
        fixture.close()  # what was not read goes out, and so into the report


@contextlib.contextmanager
def _caplog() -> Iterator[Any]:
    from _pytest.logging import LogCaptureHandler, caplog_handler_key, caplog_records_key

    handler = LogCaptureHandler()
    stash = pytest.Stash()
    stash[caplog_handler_key] = handler
    stash[caplog_records_key] = {"call": handler.records}
    fixture: Any = pytest.LogCaptureFixture(SimpleNamespace(stash=stash), _ispytest=True)  # type: ignore[arg-type]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield fixture
    finally:
        fixture._finalize()
        root.removeHandler(handler)


__all__ = ["StandIn", "stand_in"]
