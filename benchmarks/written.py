"""Figures in a file: JSON that a person can read and a diff can show."""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBERS = re.compile(r"\[\s+((?:-?[\d.]+(?:e[-+]?\d+)?,\s+)*-?[\d.]+(?:e[-+]?\d+)?)\s+\]")


def dumps(value: Any) -> str:
    """Return JSON, indented, each list of nothing but numbers in one line."""
    text = json.dumps(value, indent=1)
    return _NUMBERS.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text) + "\n"


def save(file: str, value: Any) -> None:
    """Write JSON to a file."""
    with open(file, "w", encoding="utf-8") as target:
        target.write(dumps(value))


def load(file: str) -> Any:
    """Read what `save` wrote."""
    with open(file, encoding="utf-8") as source:
        return json.load(source)
