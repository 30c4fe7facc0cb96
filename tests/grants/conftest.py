"""Makes support.py importable, and gives directories of the host that no policy mounts."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if "support" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("support", Path(__file__).parents[1] / "support.py")
    sys.modules["support"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["support"])


@pytest.fixture
def give_and_run() -> Any:
    """Hand out `support.give_and_run`: a module whose functions run inside cannot import it."""
    return sys.modules["support"].give_and_run


@pytest.fixture
def host() -> Iterator[Path]:
    """Give a directory of the host that every user may enter, in no mount."""
    path = Path(tempfile.mkdtemp(prefix="grants-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def picture(host: Path) -> Path:
    """Give a file of the host that everybody may read and write, as far as its permissions say."""
    path = host / "a.png"
    path.write_bytes(b"picture")
    path.chmod(0o666)
    return path
