"""Development sessions: `nox -l` lists them, `nox -s tests-3.12` runs one. `sh run tests` needs no nox."""

from __future__ import annotations

import os
import shutil
import subprocess

import nox

nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.error_on_missing_interpreters = False

# Tests of walls, limits, mounts, rules, endings and everything that a worker serves: what reaches the code that runs inside.
COVERED_BY = [
    "tests/api/test_mounts.py", "tests/api/test_rules.py", "tests/api/test_sandbox.py", "tests/attacks/test_endings.py",
    "tests/attacks/test_fail_closed.py", "tests/attacks/test_limits.py", "tests/deaths/test_causes.py",
    "tests/denials/test_reports.py", "tests/grants", "tests/messages", "tests/streams",
]  # fmt: skip
PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite; arguments after `--` go to pytest."""
    session.install("-e", ".[test,callers]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python="3.11")
def big(session: nox.Session) -> None:
    """Run the tests that move gigabytes."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-m", "big", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Check style and the shape of the package."""
    session.install("ruff>=0.6", "-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("python", "tools/check_generated.py")  # needs linux-libc-dev
    session.run("python", "-m", "pytest", "-q", "tests/test_architecture.py")


@nox.session(python="3.11")
def types(session: nox.Session) -> None:
    """Check the package and the public signatures with mypy in strict mode."""
    session.install("mypy>=1.11", "-e", ".[test]")
    session.run("mypy")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors, and run its code blocks."""
    session.install("-e", ".[docs,test]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "-m", "pytest", "-q", "tests/test_docs.py")


@nox.session(python="3.11")
def examples(session: nox.Session) -> None:
    """Run the demo: real attacks, unprotected and isolated, side by side."""
    session.install("-e", ".[examples,rich]")
    session.run("isolate-fn", "demo")


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Measure which lines the tests reach, also inside isolates, and rewrite docs/coverage.md; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "tools/measure_coverage.py", "--write", "docs/coverage.md", *(session.posargs or COVERED_BY))


@nox.session(python="3.11")
def news(session: nox.Session) -> None:
    """Show the change log entry that the files in changelog.d/ add up to."""
    session.install("towncrier>=24.7")
    session.run("towncrier", "build", "--draft", "--version", "next")


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Measure what calls cost, against their peers in the same run, and rewrite docs/performance.md.

    Arguments after `--` go to `python -m benchmarks`, and nothing is rewritten. bubblewrap, firejail and nsjail are peers
    where the system has them; strace and perf are used where they are there, perf as root only.
    """
    session.install("-e", ".[bench]")
    if session.posargs:
        session.run("python", "-m", "benchmarks", *session.posargs)
        return
    root = os.geteuid() == 0
    session.run("python", "-m", "benchmarks", "--json", f"benchmarks/figures{'' if root else '_user'}.json")
    if shutil.which("strace"):
        session.run("python", "-m", "benchmarks.syscalls", "--json", "benchmarks/syscalls.json")
    if shutil.which("perf") and root:
        session.run("python", "-m", "benchmarks.profiles", "--json", "benchmarks/profile.json")
    if root:  # elsewhere ptrace(2) may be forbidden
        session.run("python", "-m", "benchmarks.functions", "--json", "benchmarks/functions.json")
    session.run("python", "-m", "benchmarks.page", "--write")


@nox.session(python=PYTHONS)
def ray(session: nox.Session) -> None:
    """Run isolated functions inside Ray's tasks and actors; it is too big for the other tests.

    The last results are in tests/integrations/ray.md.
    """
    session.install("-e", ".[test,ray]")
    session.run("python", "-m", "pytest", "tests/integrations/test_ray.py", *session.posargs)


@nox.session(python="3.11")
def scaling(session: nox.Session) -> None:
    """Measure the engines with and without isolation, and rewrite the table of docs/scaling.md."""
    session.install("-e", ".[dask,celery,joblib,ray]")
    session.run("python", "-m", "benchmarks.scaling", "--measure", "--write")


@nox.session(python="3.11")
def kernels(session: nox.Session) -> None:
    """Run the smoke checks, and those of rules and of the other engine, on other kernels, in virtual machines.

    Needs VM_RUNNER, a command that is called as `VM_RUNNER KERNEL DIRECTORY SECONDS`: boots that kernel, runs `run.sh` of
    the directory as root, prints the console, exits with its status. The guest needs Python 3.11. Kernels: after `--`.
    """
    runner = os.environ.get("VM_RUNNER")
    if not runner or not session.posargs:
        session.error("set VM_RUNNER and name kernels: VM_RUNNER=./run_vm.sh nox -s kernels -- 6.12-amd64")
    payload = session.create_tmp()
    shutil.rmtree(payload, ignore_errors=True)
    shutil.copytree("tests/kernels", payload)
    for shared in ("builtin_sets.py", "harmless.py"):  # what rules.py has in common with the tests of the compiler
        shutil.copy(f"tests/plan/{shared}", payload)
    session.install("--target", os.path.join(payload, "packages"), ".")
    failed = [kernel for kernel in session.posargs if not _boots(session, runner, kernel, payload)]
    if failed:
        session.error(f"failed on: {', '.join(failed)}")


def _boots(session: nox.Session, runner: str, kernel: str, payload: str) -> bool:
    session.log(f"kernel {kernel}")
    return subprocess.run([runner, kernel, payload, "1800"], check=False).returncode == 0
