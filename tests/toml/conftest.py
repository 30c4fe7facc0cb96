"""What the tests of policy files share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Policy


def _load(file: str, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


# Under names of their own, because policy files and several modules of tests name them.
_load("names.py", "policy_names")
_load("samples.py", "samples_of_policies")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Policy]:
    """Give a function that reads a policy from a text."""

    def give(text: str, name: str | None = None, **_: Any) -> Policy:
        file = tmp_path / "policy.toml"
        file.write_text(text, encoding="utf-8")
        return Policy.from_toml(file, name)

    return give
