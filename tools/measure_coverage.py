"""Measure which lines the tests reach, also those that only run inside: in spawners, inits and workers.

Usage: python tools/measure_coverage.py [--write docs/coverage.md] [ARGUMENT OF PYTEST...]

Works on a copy of the checkout, because the package itself has no switch for this: the copy's launcher starts
inside_tracer.py before anything else. The caller's side is measured by coverage.py as usual. Both are combined for
the report that is printed; the page has what ran inside.
"""

from __future__ import annotations

import argparse
import array
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import coverage
from inside_tracer import SLOTS

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ("_enforce", "_runtime", "_transport", "_sys")
# Beside all of _enforce, what runs in a spawner, an init, a worker, or the process that starts tools.
INSIDE = (
    "launcher", "first_stage", "second_stage", "loading", "spawner", "template", "init", "watch", "worker", "interpreter",
    "serve", "rehearsal", "asides", "flushing", "generating", "tools", "supervision", "notified",
)  # fmt: skip
AT_THE_CALLER = {"this_process.py", "__init__.py"}  # of _enforce: what SafetyContext does in the caller's own process
LEFT_OUT = {"numbers", "seccomp_constants.py", "landlock_constants.py"}  # tables
RESULTS = "results.xml"
LAUNCHER = "isolate_fn/_runtime/launcher.py"
START = '    __import__("sys").path.insert(0, {root!r}); __import__("isolate_fn._inside_tracer").{call}; _start()\n'


def files(copy: Path) -> list[Path]:
    """Return the source files that are measured inside."""
    found = sorted(path for unit in MEASURED for path in (copy / "isolate_fn" / unit).rglob("*.py"))
    return [path for path in found if not LEFT_OUT & set(path.parts)]


def prepare(copy: Path, shared: Path) -> dict[str, tuple[int, int]]:
    """Copy the checkout, and have the copy's launcher start the tracer; return where the bytes of each file begin."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    places: dict[str, tuple[int, int]] = {}
    size = 0
    for path in files(copy):
        lines = len(path.read_bytes().splitlines()) + 1
        places[str(path)] = (size, lines)
        size += SLOTS * lines
    with open(shared, "wb") as file:
        file.truncate(4 * size)
    tracer = (ROOT / "tools" / "inside_tracer.py").read_text()
    tracer = tracer.replace('SHARED = ""', f"SHARED = {str(shared)!r}")
    tracer = tracer.replace("= {}\n", f"= {places!r}\n", 1)
    (copy / "isolate_fn" / "_inside_tracer.py").write_text(tracer)
    launcher = (copy / LAUNCHER).read_text()
    assert launcher.endswith("    _start()\n")
    # On one line, so that no line of the launcher gets another number.
    start = START.format(root=str(copy), call="_inside_tracer.start()")
    (copy / LAUNCHER).write_text(launcher.removesuffix("    _start()\n") + start)
    return places


def reached(shared: Path, places: dict[str, tuple[int, int]]) -> dict[str, list[tuple[int, int]]]:
    """Return the transitions from line to line that happened inside, by file."""
    arcs: dict[str, list[tuple[int, int]]] = {}
    table = array.array("I", shared.read_bytes())
    for name, (first, lines) in places.items():
        steps = filter(None, table[first : first + SLOTS * lines])
        arcs[name] = [((step >> 16) - lines, (step & 0xFFFF) - lines) for step in steps]
    return {name: found for name, found in arcs.items() if found}


def run(copy: Path, arguments: list[str]) -> int:
    """Run the tests in the copy, the caller's side measured as usual."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "COVERAGE_FILE": str(copy / ".coverage.caller")}
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={copy / RESULTS}", *arguments]
    return subprocess.run(command, cwd=copy, env=environment, check=False).returncode


def table(copy: Path, inside: Path) -> str:
    """Return the table of what is reached inside."""
    measured = coverage.Coverage(data_file=str(inside), config_file=str(copy / "pyproject.toml"), messages=False)
    measured.load()
    rows = ["| file | statements | reached | not reached: lines |", "|---|---|---|---|"]
    totals = {unit: [0, 0] for unit in ("_enforce", "_runtime")}
    enforce = sorted(path for path in (copy / "isolate_fn/_enforce").glob("*.py") if path.name not in AT_THE_CALLER)
    for path in [*enforce, *(copy / "isolate_fn/_runtime" / f"{name}.py" for name in INSIDE)]:
        _, statements, _, missing, ranges = measured.analysis2(str(path))
        there = len(statements) - len(missing)
        totals[path.parent.name][0] += len(statements)
        totals[path.parent.name][1] += there
        name = path.relative_to(copy / "isolate_fn")
        rows.append(f"| `{name}` | {len(statements)} | {share(there, len(statements))} | {ranges} |")
    for unit, (statements, there) in totals.items():
        rows.append(f"| all of `{unit}` here | {statements} | {share(there, statements)} | |")
    return "\n".join(rows) + "\n"


def share(part: int, whole: int) -> str:
    """Return a count as a percentage, rounded down: only everything is 100 %."""
    return f"{100 * part // whole} %"


def report(copy: Path) -> None:
    """Combine what was measured on both sides, and print coverage.py's report of it."""
    parts = [str(path) for path in copy.glob(".coverage.*")]
    environment = {**os.environ, "COVERAGE_FILE": str(copy / ".coverage")}
    for words in (["combine", "--quiet", "--keep", *parts], ["report", "--skip-covered"]):
        subprocess.run([sys.executable, "-m", "coverage", *words], cwd=copy, env=environment, check=False)


PAGE = """# What the tests reach inside

Spawner, init and worker run behind walls, where nothing can be written to the host. What of their code the tests
reach is measured in a copy of the checkout whose launcher maps a shared file and counts into it; the package itself has
no switch for that. `nox -s coverage` runs it, and so does

```sh
python tools/measure_coverage.py --write docs/coverage.md {arguments}
```

with which this table was made: {python}, {user}. It counts statements that ran in a spawner, an init, a worker or
a process that starts tools, and nothing that ran in the tests' own process. A worker with `fresh_exec=True` executes a
new interpreter behind the walls, where the shared file is not visible; what it runs from then on is not counted.
{results}

{table}"""


def results(copy: Path) -> str:
    """Say how many tests ran and failed."""
    suite = next(ElementTree.parse(copy / RESULTS).iter("testsuite"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return (
        f"Of the {suite.get('tests')} tests, {failed} failed while they were measured, which takes time and memory inside."
        if failed
        else f"All {suite.get('tests')} tests passed while they were measured."
    )


def main() -> int:
    """Measure, print the table, write the page where asked; return pytest's code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page to write")
    known, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="measure-coverage-") as directory:
        copy = Path(directory) / "checkout"
        copy.mkdir()
        shared = Path(directory) / "reached"
        places = prepare(copy, shared)
        code = run(copy, arguments)
        inside = copy / ".coverage.inside"
        data = coverage.CoverageData(str(inside))
        data.add_arcs(reached(shared, places))
        data.write()
        shown = table(copy, inside)
        user = "as root" if os.geteuid() == 0 else "as an ordinary user"
        python = f"Python {platform.python_version()}"
        if known.write:
            told = {"arguments": " ".join(arguments), "python": python, "user": user, "results": results(copy)}
            known.write.write_text(PAGE.format(**told, table=shown))
        report(copy)
        print(shown)
        print((f"pytest ended with {code}: " if code else "") + f"{python}, {user}")
    return code


if __name__ == "__main__":
    sys.exit(main())
