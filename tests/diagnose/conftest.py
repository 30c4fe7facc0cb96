"""The fixture that lets the doctor look at a throwaway process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import patients

from isolate_fn._diagnose import diagnosis, doctor, evidence
from isolate_fn._runtime import refusal
from isolate_fn._sys.host_files import HostFiles


@pytest.fixture
def patient(tmp_path: Path) -> Callable[..., patients.Findings]:
    """Give `patients.run`, in a directory of its own."""

    def examine(before: str = "", **options: Any) -> patients.Findings:
        return patients.run(tmp_path, before, **options)

    return examine


@pytest.fixture(scope="session")
def healthy() -> evidence.Evidence:
    """Give what was found out about this very process."""
    return evidence.gather()


@pytest.fixture
def ourselves(healthy: evidence.Evidence) -> Callable[..., patients.Findings]:
    """Give what the doctor makes of this very process where only the machine's files are others."""

    def judge(root: Path, environ: dict[str, str] | None = None) -> patients.Findings:
        files = HostFiles(str(root), environ or {})
        seen = refusal.look(files)
        changed = healthy._replace(files=files, seen=seen, places=evidence.places.recognise(files))
        no_call = diagnosis.Check(group=doctor.CALL, name="isolated", status="info", found="not made")
        found = diagnosis.Diagnosis(checks=(*doctor.judge(changed), no_call), engine="", why="", enforcement=None)
        return patients.Findings(found.as_dict())

    return judge
