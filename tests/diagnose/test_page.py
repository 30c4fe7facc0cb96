"""docs/doctor.md is what its generator writes, and its transcripts are of the checks that there are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from isolate_fn import doctor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_doctor_page", ROOT / "tools" / "generate_doctor_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


def test_check_fails_for_another_page(generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "OUTPUT", tmp_path / "doctor.md")
    assert generator.main(["--check"]) == 1
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


@pytest.mark.needs("namespaces")
def test_recordings_are_of_todays_checks(generator: ModuleType) -> None:
    """Names of checks change with the code; a recording that lacks one, or has one too many, is old."""
    known = {check.name.split(" of /")[0] for check in doctor().checks if check.group != "where it runs"}
    for name, document in generator.json.loads(generator.RECORDINGS.read_text()).items():
        recorded = {check["name"].split(" of /")[0] for check in document["checks"] if check["group"] != "where it runs"}
        assert recorded | {"id-mapped mounts"} == known | {"id-mapped mounts"}, name


def test_what_a_check_says_fits_the_docs(generator: ModuleType) -> None:
    text = generator.page()
    assert "Isolation works here" in text
    assert "--security-opt seccomp=" in text
    assert "apparmor_parser -r" in text
    assert generator.CALLS not in text
