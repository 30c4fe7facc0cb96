"""Patients for the doctor: throwaway processes that make themselves ill before they are looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

_EXAMINE = """
import json, sys
from isolate_fn._diagnose import doctor, evidence
from isolate_fn._runtime import refusal
from isolate_fn._sys.host_files import HostFiles

root = {root!r}
if root:  # the machine's files, for the doctor and for the error at a call alike
    import os
    files = lambda: HostFiles(root, {{**os.environ, **{environ!r}}}, {machine!r})
    refusal.HostFiles = evidence.HostFiles = files
print(json.dumps(doctor.doctor().as_dict()))
"""


class Findings:
    """What the doctor said about a patient."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.works = document["works"]
        self.call = self["isolated"]

    def __getitem__(self, name: str) -> dict[str, str]:
        return next(check for check in self.document["checks"] if check["name"].startswith(name))

    def assert_found(self, name: str, status: str, cause: str, fix: str) -> None:
        """Assert a check's status, and words of its cause and its remedy."""
        check = self[name]
        assert check["status"] == status, check
        assert cause in check["cause"], check
        assert fix in check["fix"], check

    def assert_refused_alike(self, name: str) -> None:
        """Assert that the error at a real call names the cause and the remedy that a check names."""
        check = self[name]
        assert not self.works
        assert self.call["status"] == "failed", self.call
        assert "before the function ran" in self.call["found"]
        assert check["cause"] in self.call["cause"], (check, self.call)
        assert self.call["fix"] == check["fix"]


def run(
    directory: Path,
    before: str = "",
    *,
    ordinary: bool = True,
    root: Path | None = None,
    environ: dict[str, str] | None = None,
    machine: str = "",
    env: dict[str, str] | None = None,
) -> Findings:
    """Let the doctor look at a process.

    Args:
        directory: where it runs.
        before: Python that the process runs before, with the names of illnesses.py; then it executes the doctor.
        ordinary: as an ordinary user, whoever runs the tests: in a user namespace whose one id is not root there.
        root: a directory that stands for the root of the machine's file system.
        environ: variables that the machine's files are read with.
        machine: architecture that uname would tell.
        env: more environment variables.
    """
    examine = _EXAMINE.format(root=str(root) if root else "", environ=environ or {}, machine=machine)
    script = "from illnesses import *\n" + ("become_ordinary()\n" if ordinary else "") + textwrap.dedent(before)
    script += f"\nos.execv(sys.executable, [sys.executable, '-c', {examine!r}])\n"
    kept = {name: value for name, value in os.environ.items() if name not in ("GITHUB_ACTIONS", "CODESPACES", "container")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, timeout=100, check=False,
        env={**kept, "PYTHONPATH": f"{ROOT}:{HERE}", **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Findings(json.loads(done.stdout))


def tree(root: Path, files: dict[str, str]) -> Path:
    """Make a directory that stands for the root of a machine, and return it."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root
