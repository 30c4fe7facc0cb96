"""What docs/policies.md shows is what the reader takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from isolate_fn import Policy

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_every_block_is_a_policy(index: int, read: Callable[..., Policy], tmp_path: Path) -> None:
    text = BLOCKS[index]
    names = re.findall(r"^\[tool\.isolate_fn\.policies\.(\w+)\]$", text, re.MULTILINE)
    if not names:
        assert read(text) != Policy()
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    for name in names:
        assert Policy.from_toml(tmp_path / "pyproject.toml", name) != Policy()
