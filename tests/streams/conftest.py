"""What the tests of streams and of host functions share."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))
if "support" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("support", HERE.parent / "support.py")
    sys.modules["support"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["support"])


@pytest.fixture
def made() -> Iterator[Callable[..., Any]]:
    """Give a maker of isolated functions, whose isolates are gone after the test."""
    from isolate_fn import isolated

    functions = []

    def make(function: Callable[..., Any], **options: Any) -> Any:
        functions.append(isolated(**{"prewarm": 0, **options})(function))
        return functions[-1]

    yield make
    for function in functions:
        function.close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Give what runs a script in a file and an interpreter of its own, and returns what it printed; nothing on stderr."""
    from support import python

    def run(text: str) -> str:
        (tmp_path / "script.py").write_text(textwrap.dedent(text))
        paths = (str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", ""))
        ended = python(
            "import runpy; runpy.run_path('script.py', run_name='__main__')",
            cwd=tmp_path,
            env={"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        assert ended.returncode == 0, ended.stderr
        assert not ended.stderr
        return ended.stdout

    return run
