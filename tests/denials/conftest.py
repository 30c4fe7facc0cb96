"""A directory of the host in no mount, and a way to follow what a message says."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import isolate_fn
from isolate_fn import isolated, rules

_ADVICE = re.compile(r"(?:; add |raise it with )(\w+=.*?)(?:, or make the function need less)?$", re.MULTILINE)
_INSTEAD = re.compile(r"; in place of (\w.*?\)): (\w.*\))$", re.MULTILINE)


@pytest.fixture
def host() -> Iterator[Path]:
    """Give a directory of the host that every user may enter, in no mount."""
    path = Path(tempfile.mkdtemp(prefix="denials-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def advice_in(error: BaseException) -> list[dict[str, Any]]:
    """Return what the notes and the text of an error say to write, evaluated."""
    text = "\n".join([*getattr(error, "__notes__", ()), str(error)])
    names = {**{name: getattr(isolate_fn, name) for name in isolate_fn.__all__}, **vars(rules)}
    instead = [{"instead": (eval(old, names), eval(new, names))} for old, new in _INSTEAD.findall(text)]
    return [eval(f"dict({words})", names) for words in _ADVICE.findall(text)] + instead


def with_advice(options: dict[str, Any], advice: dict[str, Any]) -> dict[str, Any]:
    """Return options with what was advised: lists grow, anything else is replaced, as is what is to be in place of a word."""
    old, new = advice.pop("instead", (None, None))
    merged = {
        name: [new if each == old else each for each in value] if name in ("rules", "mounts") and old is not None else value
        for name, value in options.items()
    }
    for name, value in advice.items():
        merged[name] = [*merged.get(name, ()), *value] if isinstance(value, list) else value
    return merged


@pytest.fixture
def follow() -> Callable[..., Any]:
    """Give a function that calls another, and again with what its error advises, until it works."""

    def follow(function: Callable[..., Any], *args: Any, rounds: int = 6, **options: Any) -> tuple[Any, dict[str, Any]]:
        for _ in range(rounds):
            try:
                return isolated(prewarm=0, **options)(function)(*args), options
            except Exception as error:
                advice = advice_in(error)
                if not advice:
                    raise
                for each in advice:
                    options = with_advice(options, each)
        raise AssertionError(f"no end of advice: {options}")

    return follow
