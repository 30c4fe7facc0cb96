"""The command line itself: what it understands, and what it costs to start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import isolate_fn
from isolate_fn.cli import main

ROOT = Path(__file__).parents[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"isolate-fn {isolate_fn.__version__}\n"


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["dem"], ["demo", "--jsn"], ["--only", "pickle"]])
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_unknown_case_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--only", "pickle", "--only", "picle"]) == 2
    assert "no case named picle" in capsys.readouterr().err


def test_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    from isolate_fn.cli.cases import CASES

    assert main(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in CASES]


def test_main_stays_the_function() -> None:
    # A submodule named main would replace it in the package once imported, and break the console script.
    main(["demo", "--list"])
    assert callable(isolate_fn.cli.main)


def run_python(program: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_parsing_imports_nothing_heavy() -> None:
    done = run_python("""
import sys
from isolate_fn.cli import main
try:
    main(["--version"])
finally:
    heavy = {"asyncio", "cloudpickle", "ctypes", "rich", "isolate_fn.cli.demo"} & set(sys.modules)
    print(sorted(heavy), file=sys.stderr)
""")
    assert done.stderr.strip() == "[]"


def test_reader_that_goes_away_is_no_error() -> None:
    done = run_python("""
import os, subprocess, sys
reader, writer = os.pipe()
os.close(reader)
program = "from isolate_fn.cli import main; raise SystemExit(main(['demo', '--list']))"
done = subprocess.run([sys.executable, "-u", "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True)
print(done.returncode, repr(done.stderr))
""")
    assert done.stdout.strip() == "1 ''", done.stderr
