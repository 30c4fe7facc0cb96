"""Ray: isolated functions inside its tasks and actors; run by `nox -s ray`, whose last results are in ray.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from clusters import ROOT, Program, run_program

pytestmark = [pytest.mark.needs("namespaces", "module:ray"), pytest.mark.timeout(240)]

SETTINGS = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}

PROGRAM = """
import json, os, time
import ray
from isolate_fn import isolated

MARK = os.path.abspath("mark")
open(MARK, "w").close()

@isolated
def here(value):
    return [os.path.exists(MARK), value]

@isolated
def count():
    with open("/tmp/calls", "a") as file:
        file.write(".")
        return file.tell()

@isolated
def crash():
    os.abort()

@isolated(timeout=0.5)
def sleep():
    time.sleep(1000)

@ray.remote
def task(function, *args):
    return function(*args)

@ray.remote
def outside():
    return os.path.exists(MARK)

@ray.remote
class Actor:
    def __init__(self):
        self.count = count.options(reuse=True)

    def count_one(self):
        return self.count()

def failure(reference):
    try:
        return ["no failure", repr(ray.get(reference, timeout=60))]
    except Exception as error:
        return [base.__name__ for base in type(error).__mro__]

ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
actor = Actor.remote()
print(json.dumps({
    "task": ray.get([task.remote(here, n) for n in range(6)], timeout=60),
    "outside": ray.get(outside.remote(), timeout=60),
    "actor": ray.get([actor.count_one.remote() for _ in range(5)], timeout=60),
    "crash": failure(task.remote(crash)),
    "sleep": failure(task.remote(sleep)),
    "afterwards": ray.get(task.remote(here, 7), timeout=60),
}), flush=True)
ray.shutdown()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run everything in one program: Ray takes ten seconds to start."""
    return run_program(tmp_path_factory.mktemp("ray"), PROGRAM, **SETTINGS)


def test_tasks(found: Any) -> None:
    """The functions are of ``__main__``, which is another program in Ray's workers."""
    assert found["task"] == [[False, n] for n in range(6)]
    assert found["outside"] is True


def test_an_actor_keeps_its_isolate(found: Any) -> None:
    assert found["actor"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("kind", "error"), [("crash", "Crashed"), ("sleep", "TimedOut")])
def test_failures(found: Any, kind: str, error: str) -> None:
    assert {"RayTaskError", error} <= set(found[kind])
    assert found["afterwards"] == [False, 7]


def test_the_block_of_the_page(program: Program) -> None:
    page = Path(ROOT / "docs" / "scaling.md").read_text("utf-8")
    (block,) = re.findall(r"^```python no-run: Ray.*?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert program(block + "print(1)\n", **SETTINGS) == 1
