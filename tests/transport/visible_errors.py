"""A user's module with exceptions, for test_failures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
from typing import Any

from isolate_fn.errors import Crashed

LOG: list[Any] = []


class Simple(Exception):
    pass


class Detailed(Exception):
    def __init__(self, code: int, *, detail: str) -> None:
        LOG.append("init")
        super().__init__(code)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Watched(Exception):
    """Every way of running code while it is rebuilt leaves a trace."""

    def __new__(cls, *args: Any) -> Watched:
        LOG.append("new")
        return super().__new__(cls, *args)

    def __init__(self, *args: Any) -> None:
        LOG.append("init")

    def __setattr__(self, name: str, value: Any) -> None:
        LOG.append(f"setattr {name}")

    def __setstate__(self, state: Any) -> None:
        LOG.append("setstate")

    def __reduce__(self) -> Any:
        LOG.append("reduce")
        return (LOG.append, ("ran",))

    def __bool__(self) -> bool:
        LOG.append("bool")
        return False

    def __getattribute__(self, name: str) -> Any:
        LOG.append(f"get {name}")
        return super().__getattribute__(name)

    def add_note(self, note: str) -> None:
        LOG.append("note")

    @property
    def detail(self) -> str:
        return "property"

    @detail.setter
    def detail(self, value: str) -> None:
        LOG.append("property")


class FileTrouble(FileNotFoundError):
    pass


class Mixed(ValueError, OSError):
    pass


class Stopping(StopIteration):
    pass


class CancelledError(Exception):
    pass


class Hidden(BaseException):
    pass


class Forged(Crashed):
    pass


class Group(ExceptionGroup):
    pass


class Outer:
    class Inner(Exception):
        pass


class NotAnException:
    pass


class Proxy:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("outside of a request")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")


proxy = Proxy()
modules = (asyncio, concurrent, json)


def function() -> None:
    pass
