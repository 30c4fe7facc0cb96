"""joblib: loops whose tasks run in isolates, and the ways in which joblib would not use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusters import Program, run_program

pytestmark = [pytest.mark.needs("namespaces", "module:joblib"), pytest.mark.timeout(240)]

PRELUDE = """
import json, os, sys, time
import numpy
from joblib import Parallel, delayed, parallel_config
from isolate_fn.integrations.joblib import register

register()
MARK = os.path.abspath("mark")
open(MARK, "w").close()

def here(value=None):
    "Say whether this runs unprotected, and what it was given."
    return [os.path.exists(MARK), value]

def loop(*calls, **options):
    try:
        return Parallel(**options)(calls)
    except Exception as error:
        return [type(error).__name__, str(error)]
"""

LOOPS = """
class Evil:
    def __reduce__(self):
        return os.mkdir, (os.path.join(os.path.dirname(MARK), "unpickled"),)

def count():
    "How many times this ran in this isolate."
    with open("/tmp/calls", "a") as file:
        file.write(".")
        return file.tell()

def nested(**options):
    return Parallel(**options)(delayed(here)(n) for n in range(3))

def threads():
    return os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]

def total(array):
    return [os.path.exists(MARK), type(array).__name__, float(array.sum())]

found = {}
with parallel_config(backend="isolated", timeout=20):
    for jobs in (1, 2, 3, -1, None):
        found[f"{jobs} jobs"] = loop(*[delayed(here)(n) for n in range(5)], n_jobs=jobs)
    with Parallel(n_jobs=1) as parallel:
        found["managed"] = [parallel(delayed(here)(n) for n in range(2)) for _ in range(2)]
    found["generator"] = list(Parallel(n_jobs=2, return_as="generator")(delayed(here)(n) for n in range(5)))
    found["unordered"] = sorted(Parallel(n_jobs=2, return_as="generator_unordered")(delayed(here)(n) for n in range(5)))
    found["nobody waits"] = next(Parallel(n_jobs=2, return_as="generator")(
        delayed(time.sleep if n else here)(1000 if n else 0) for n in range(4)))
    found["zero"] = loop(n_jobs=0)
    found["error"] = loop(delayed(here)(1), delayed(divmod)(1, 0), delayed(time.sleep)(1000), n_jobs=3)
    found["crash"] = loop(delayed(os._exit)(3), delayed(time.sleep)(1000))
    found["rejected"] = loop(delayed(Evil)())
    found["unpickled"] = os.path.exists("unpickled")
    began = time.monotonic()
    found["late"] = loop(delayed(time.sleep)(1000), delayed(time.sleep)(1000), timeout=0.5)[0]
    found["sharedmem"] = loop(delayed(here)(1), require="sharedmem")
    found["nested"] = loop(delayed(nested)(n_jobs=2))
    found["nested threads"] = loop(delayed(nested)(n_jobs=2, backend="threading"))
    for backend in ("loky", "multiprocessing", "isolated"):
        found[f"nested {backend}"] = loop(delayed(nested)(n_jobs=2, backend=backend))
        found[f"nested {backend} alone"] = loop(delayed(nested)(n_jobs=1, backend=backend))
    found["array"] = loop(delayed(total)(numpy.ones(1 << 20)), delayed(total)(numpy.ones(3)))
    found["each its own"] = loop(*[delayed(count)() for _ in range(6)])
    found["threads"] = loop(delayed(threads)())
with parallel_config(backend="isolated", inner_max_num_threads=2):
    found["two threads"] = loop(delayed(threads)())
with parallel_config(backend="isolated", n_jobs=1, reuse=True):
    found["reused"] = loop(*[delayed(count)() for _ in range(200)])
with parallel_config(backend="isolated", n_jobs=1):
    found["batch"] = loop(*[delayed(count)() for _ in range(6)], batch_size=3)
found["named"] = loop(delayed(here)(7), delayed(here)(8), backend="isolated")
for wrong in ({"timeuot": 1}, {"timeout": -1}):
    try:
        parallel_config(backend="isolated", **wrong)
    except ValueError as error:
        found[str(wrong)] = [type(error).__name__, str(error)]
found["outside"] = loop(delayed(here)(9), n_jobs=1)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run all loops in one program and give what they said."""
    return run_program(tmp_path_factory.mktemp("joblib"), PRELUDE + LOOPS)


@pytest.mark.parametrize("jobs", ["1", "2", "3", "-1", "None"])
def test_any_number_of_jobs_is_isolated(found: Any, jobs: str) -> None:
    assert found[f"{jobs} jobs"] == [[False, n] for n in range(5)]


def test_a_backend_that_is_kept_open(found: Any) -> None:
    assert found["managed"] == [[[False, 0], [False, 1]]] * 2


def test_generators(found: Any) -> None:
    assert found["generator"] == found["unordered"] == [[False, n] for n in range(5)]
    assert found["nobody waits"] == [False, 0]


def test_no_jobs_are_refused(found: Any) -> None:
    assert found["zero"][0] == "ValueError"


def test_how_tasks_fail(found: Any) -> None:
    assert found["error"][0] == "ZeroDivisionError"
    assert found["crash"][0] == "Crashed"
    assert found["late"] == "TimeoutError"


def test_what_a_task_returns_is_not_unpickled(found: Any) -> None:
    assert found["rejected"][0] == "ResultRejected"
    assert found["unpickled"] is False


def test_shared_memory_is_refused(found: Any) -> None:
    kind, text = found["sharedmem"]
    assert kind == "PolicyError"
    assert "threading" in text


def test_nested_loops_stay_in_the_isolate(found: Any) -> None:
    assert found["nested"] == found["nested threads"] == [[[False, n] for n in range(3)]]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "isolated"])
def test_nested_processes_are_refused(found: Any, backend: str) -> None:
    kind, text = found[f"nested {backend}"]
    assert kind == "ValueError"
    assert "inside an isolated task" in text
    assert found[f"nested {backend} alone"] == [[[False, n] for n in range(3)]]


def test_big_arrays(found: Any) -> None:
    assert found["array"] == [[False, "ndarray", float(1 << 20)], [False, "ndarray", 3.0]]


def test_an_isolate_per_task_unless_asked_otherwise(found: Any) -> None:
    assert found["each its own"] == [1] * 6
    assert found["reused"] == list(range(1, 201))
    assert 2 in found["batch"]  # joblib makes the last batches smaller


def test_threads_of_libraries(found: Any) -> None:
    assert found["threads"] == [["1", "1"]]
    assert found["two threads"] == [["2", "2"]]


def test_the_backend_named_in_the_loop(found: Any) -> None:
    assert found["named"] == [[False, 7], [False, 8]]
    assert found["outside"] == [[True, 9]]


@pytest.mark.parametrize(("wrong", "word"), [("{'timeuot': 1}", "timeout"), ("{'timeout': -1}", "timeout")])
def test_wrong_options_are_told_at_once(found: Any, wrong: str, word: str) -> None:
    kind, text = found[wrong]
    assert kind == "PolicyError"
    assert word in text


OWN = """
import dataclasses, enum, functools

@dataclasses.dataclass
class P:
    value: int

class Colour(enum.Enum):
    RED = 1

class Own(Exception):
    pass

def make(value) -> P:
    return P(value)

def text(value) -> "list[Colour]":
    return [Colour.RED] * value

def fail(value):
    raise Own(value)

def unsaid(value):
    return P(value)

def wrapped(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner

@wrapped
def decorated(value) -> P:
    return P(value)

class Maker:
    def make(self, value) -> P:
        return P(value)

def caught(*calls, **options):
    try:
        Parallel(**options)(calls)
    except Own as error:
        return ["Own", *error.args]
    except Exception as error:
        return [type(error).__name__, str(error)]
"""


def test_hints_of_the_tasks_own_functions_count(program: Program) -> None:
    """What comes back as itself is what an executor would let through for the function."""
    script = """
found = {}
for name, options in (("fresh", {}), ("reused", {"reuse": True}), ("batch", {})):
    size = {"batch_size": 4} if name == "batch" else {}
    with parallel_config(backend="isolated", n_jobs=2, **options):
        calls = [delayed(make)(1), delayed(text)(2), delayed(functools.partial(make, 3))(), delayed(Maker().make)(4),
                 delayed(decorated)(5)]
        values = Parallel(**size)(calls)
        found[name] = values == [P(1), [Colour.RED] * 2, P(3), P(4), P(5)] or repr(values)
        found[name + " fails"] = [caught(delayed(fail)(7), **size), caught(delayed(make)(1), delayed(fail)(8), batch_size=2)]
        found[name + " unsaid"] = caught(delayed(unsaid)(1), **size)[0]
print(json.dumps(found))
"""
    found = program(PRELUDE + OWN + script)
    for name in ("fresh", "reused", "batch"):
        assert found[name] is True
        assert found[f"{name} fails"] == [["Own", 7], ["Own", 8]]
        assert found[f"{name} unsaid"] == "ResultRejected"


def test_a_policy_by_name_is_of_the_project_that_names_it(program: Program, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.isolate_fn.policies.mine]\nenv = {WHOSE = "the project"}\n')
    script = """
def whose():
    return os.environ.get("WHOSE")

found = []
with parallel_config(backend="isolated", policy="mine"):
    found += loop(delayed(whose)())
found += loop(delayed(whose)(), delayed(whose)(), backend="isolated", policy="mine")
with parallel_config(backend="isolated", policy="COMPUTE"):
    found += loop(delayed(whose)())
try:
    parallel_config(backend="isolated", policy="nobody's")
except ValueError as error:
    found.append(str(error))
print(json.dumps(found))
"""
    *found, wrong = program(PRELUDE + script)
    assert found == ["the project"] * 3 + [None]
    assert "mine" in wrong


@pytest.mark.needs("module:sklearn")
def test_a_grid_search(program: Program) -> None:
    """The same scores as without isolates; the data are scikit-learn's, in their own shape."""
    said = program(
        PRELUDE
        + """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def witness(X):
    seen.append(os.path.exists(MARK))
    if os.path.exists(MARK):
        open("unprotected", "a").close()
    return X
seen = []

def search(**options):
    steps = make_pipeline(FunctionTransformer(witness), LogisticRegression(max_iter=200))
    grid = {"logisticregression__C": [0.1, 1.0]}
    return GridSearchCV(steps, grid, cv=2, refit=False, **options).fit(*load_iris(return_X_y=True))

with parallel_config(backend="isolated", n_jobs=2, reuse=True):
    isolated = search()
ran_here = os.path.exists("unprotected")
plain = search(n_jobs=1)
print(json.dumps([isolated.cv_results_["mean_test_score"].tolist(), plain.cv_results_["mean_test_score"].tolist(),
                  isolated.best_params_ == plain.best_params_, ran_here, os.path.exists("unprotected")]))
"""
    )
    isolated, plain, same, ran_here, ran_unprotected = said
    assert isolated == plain
    assert same
    assert not ran_here
    assert ran_unprotected  # the witness works
