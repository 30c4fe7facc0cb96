"""Makes dying.py importable under that name, here and inside isolates, and support.py here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

for _name, _path in (("support", HERE.parent / "support.py"), ("caller", HERE.parent / "attacks" / "caller.py")):
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))


@pytest.fixture(scope="module", autouse=True)
def _what_waits_of_earlier_tests() -> None:
    """End it: spawners of others would be among those that a test kills."""
    from isolate_fn._runtime import pool

    pool.close_all()
