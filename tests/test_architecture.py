"""The shape of the package, read from its source: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "isolate_fn"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What a user may import. cli and the like may use these and nothing else.
FRONT = {"errors", "rules", "presets", "dangerous", "policy", "testing", "integrations", "host", ""}
PUBLIC_NAMES_ONLY = {"cli", "pytest_plugin", "testing", "integrations"}
CORE = {"errors", "policy", "_sys", "_plan", "_enforce", "_transport", "_runtime"}
BELOW_API = CORE | {"rules", "presets", "dangerous", "host"}
ANYBODY_MAY_IMPORT = {"_frozen"}  # how values are made; it imports nothing itself

# docs/architecture.md has the same table in words. A unit may always import itself.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "_frozen": set(),
    "_records": set(),
    "_sys": {"errors"},
    "policy": {"errors"},
    "_transport": {"errors", "_records"},
    "_plan": {"errors", "_records", "policy", "_sys"},
    "_enforce": {"errors", "_records", "_plan", "_sys"},
    "_runtime": {"errors", "_records", "_sys", "_plan", "_enforce", "_transport"},
    "_api": BELOW_API | {"_diagnose"},
    "_diagnose": BELOW_API | {"_api"},
    # Words under a name of their own, and nothing but words.
    "rules": {"errors", "policy"},
    "presets": {"errors", "policy", "rules"},
    "dangerous": {"errors", "policy"},
    "host": BELOW_API,
    "": BELOW_API | {"_api", "_diagnose"},
    **dict.fromkeys(PUBLIC_NAMES_ONLY, FRONT),
}

# Of _sys, decisions may know what the kernel *can* do (numbers, structures, probed features), never do it.
PLAN_MAY_IMPORT_OF_SYS = {
    "constants",
    "seccomp_constants",
    "landlock_constants",
    "structs",
    "numbers",
    "features",
}

# What the spawner and the worker load, where every import is paid for by each isolate.
NOT_IN_THE_CHILD = {"dataclasses", "inspect", "logging", "asyncio", "typing_extensions", "unittest"}

MOST_LINES = 300
LONGER = {
    "errors.py": "the whole exception tree in one file, mostly docstrings",
    "_plan/orders.py": "all that spawner and isolates are told in one file, mostly docstrings",
    "_sys/numbers/x86_64.py": "generated table",
    "_sys/numbers/aarch64.py": "generated table",
    "_sys/seccomp_constants.py": "table of constants",
    "_plan/ready_filters/x86_64.py": "generated table",
    "_plan/ready_filters/aarch64.py": "generated table",
}

LINE_OF_MACHINE = re.compile(
    r"/work/(main|notes|shared|\.)|/opt/dev|/root/|pypi\.org|pythonhosted|deb\.debian|registry\.npmjs|\.pyenv"
)


class Import(NamedTuple):
    """One import: its file and line, the module, the name taken from it, and whether it runs at import."""

    source: Path
    line: int
    module: str
    name: str
    at_import: bool

    def __str__(self) -> str:
        what = f"from {self.module} import {self.name}" if self.name else f"import {self.module}"
        return f"{self.source.relative_to(PACKAGE.parent)}:{self.line}: {what}"


def unit_of(path: Path) -> str:
    """`_plan` for _plan/bpf.py, `errors` for errors.py, the empty string for the front door."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, at any depth; those under TYPE_CHECKING never run and are reported as such."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["isolate_fn", *path.relative_to(PACKAGE).parts[:-1]]

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(path, child.lineno, alias.name, "", at_import)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                module = ".".join([*base, *([child.module] if child.module else [])])
                for alias in child.names:
                    yield Import(path, child.lineno, module, alias.name, at_import)
            else:
                yield from walk(child, at_import and not lazy)

    return walk(tree, True)


IMPORTS = [entry for path in SOURCES for entry in imports_of(path)]


def own_target(entry: Import) -> list[str] | None:
    """Path below isolate_fn of what is imported, or None for anything that is not ours."""
    parts = entry.module.split(".")
    if parts[0] != "isolate_fn":
        return None
    below = PACKAGE.joinpath(*parts[1:], entry.name or "-")
    if below.is_dir() or below.with_suffix(".py").exists():
        parts.append(entry.name)  # `from package import module`
    return parts[1:]


def test_every_unit_is_in_the_table() -> None:
    assert {unit_of(path) for path in SOURCES} <= set(MAY_IMPORT)


def test_imports_follow_the_table() -> None:
    wrong = []
    for entry in IMPORTS:
        target = own_target(entry)
        if target is None:
            continue
        here, there = unit_of(entry.source), target[0] if target else ""
        if there != here and there not in MAY_IMPORT[here] | ANYBODY_MAY_IMPORT:
            wrong.append(str(entry))
    assert not wrong, "\n".join(["imports against the table:", *wrong])


def test_plan_takes_only_facts_from_sys() -> None:
    wrong = [
        str(entry)
        for entry in IMPORTS
        if unit_of(entry.source) == "_plan"
        and (target := own_target(entry)) is not None
        and target[:1] == ["_sys"]
        and (len(target) < 2 or target[1] not in PLAN_MAY_IMPORT_OF_SYS)
    ]
    assert not wrong, "\n".join(["decisions that reach for a system call:", *wrong])


def test_public_helpers_use_public_names() -> None:
    """cli, the plugin, testing and integrations show that the public surface is enough."""
    wrong = [
        str(entry)
        for entry in IMPORTS
        if unit_of(entry.source) in PUBLIC_NAMES_ONLY
        and (target := own_target(entry)) is not None
        and target[:1] != [unit_of(entry.source)]
        and (
            any(part.startswith("_") for part in target)
            or (entry.name.startswith("_") and entry.name != "__version__")
        )
    ]
    assert not wrong, "\n".join(["private names:", *wrong])


def test_nothing_of_third_parties_is_imported_with_the_package() -> None:
    """Optional libraries and cloudpickle are imported where a call needs them."""
    allowed = set(sys.stdlib_module_names) | {"isolate_fn"}
    optional = {
        "pytest_plugin",
        "integrations",
        "cli",
    }  # loaded only by whoever has the library, or by nobody
    wrong = [
        str(entry)
        for entry in IMPORTS
        if entry.at_import
        and unit_of(entry.source) not in optional
        and entry.module.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_child_imports_little() -> None:
    wrong = [
        str(entry)
        for entry in IMPORTS
        if entry.at_import
        and (unit_of(entry.source) == "_enforce" or entry.source.name == "orders.py")
        and entry.module.split(".")[0] in NOT_IN_THE_CHILD
    ]
    assert not wrong, "\n".join(wrong)


def test_only_one_module_reads_errno() -> None:
    """errno keeps its old value when a call succeeds, so one place reads it, after a failure."""
    readers = {
        path.relative_to(PACKAGE).as_posix() for path in SOURCES if "get_errno(" in path.read_text("utf-8")
    }
    assert readers <= {"_sys/libc.py"}


def test_policy_and_plan_do_not_touch_ctypes() -> None:
    wrong = [
        str(entry)
        for entry in IMPORTS
        if unit_of(entry.source) in {"policy", "_plan", "rules", "presets", "dangerous"}
        and entry.module.split(".")[0] in {"ctypes", "socket", "subprocess"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_file_is_of_readable_length(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MOST_LINES or name in LONGER, (
        f"{name} has {lines} lines; split it, or list it here with a reason"
    )


def test_no_reason_outlives_its_file() -> None:
    long = {
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        if len(path.read_text("utf-8").splitlines()) > MOST_LINES
    }
    assert set(LONGER) <= long, f"no longer too long: {set(LONGER) - long}"


def test_source_names_no_machine() -> None:
    """What is shipped knows nothing of the machine it was written on."""
    root = PACKAGE.parent
    texts = [
        *SOURCES,
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("examples/**/*.py"),
        root / "pyproject.toml",
    ]
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in texts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if LINE_OF_MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    """`import isolate_fn` loads no third party, and none of the heavy parts of the standard library."""
    heavy = (
        "{'ctypes', 'asyncio', 'cloudpickle', 'multiprocessing', 'subprocess', 'concurrent.futures', 'numpy'}"
    )
    assert run_python(f"import sys, isolate_fn; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_import_starts_nothing() -> None:
    code = """
import os, threading
before = os.listdir("/proc/self/fd")
import isolate_fn
isolate_fn.isolated(lambda: None)
after = os.listdir("/proc/self/fd")
with open(f"/proc/self/task/{os.getpid()}/children") as children:
    print(len(after) - len(before), threading.active_count(), children.read())
"""
    assert run_python(code) == "0 1"
