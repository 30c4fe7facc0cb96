"""The command line itself: what it understands, and what it costs to start."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

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


MAIN = "import sys; from isolate_fn.cli import main; sys.exit(main())"


def command(*words: str, stdout: int | IO[bytes], python: tuple[str, ...] = ()) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *python, "-c", MAIN, *words], stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("python", [(), ("-u",)], ids=str)
def test_reader_that_goes_away_is_no_error(python: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        assert command("demo", "--list", stdout=nobody, python=python) == (0, "")
        assert command("--help", stdout=nobody, python=python) == (0, "")
        assert command(stdout=nobody, python=python) == (2, "")


LISTINGS = [("demo", "--list"), ("--help",), ("explain", "--policy", "TOOLS"), ("selftest", "--list")]


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
@pytest.mark.parametrize("python", [(), ("-u",)], ids=str)
def test_output_that_cannot_be_written_is_said(words: tuple[str, ...], python: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        found = command(*words, stdout=full, python=python)
    assert found == (125, "isolate-fn: the output could not be written: No space left on device\n")


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--json")], ids=" ".join)
def test_the_doctors_status_is_its_own_whoever_reads(words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        assert command(*words, stdout=nobody)[0] == 0
    with open("/dev/full", "wb") as full:
        status, said = command(*words, stdout=full)
    assert (status, "Traceback" in said, "could not be written" in said) == (125, False, True)


def test_output_to_a_pipe_that_does_not_block_is_whole() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", MAIN, "selftest", "--list"]
    with open(reader, "rb") as ours:
        process = subprocess.Popen(argv, stdout=writer, stderr=subprocess.PIPE, env=environment)
        os.close(writer)
        assert process.stderr is not None
        with process.stderr:
            said = ours.read()
            assert (process.stderr.read(), process.wait(60)) == (b"", 0)
    assert len(said) > 4096
    assert said == subprocess.run(argv, stdout=subprocess.PIPE, env=environment, check=True).stdout


@pytest.mark.parametrize("option", ["--json", "--junit"])
def test_a_report_that_cannot_be_written_is_said_before_anything_is_attacked(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from isolate_fn.cli import selftest

    monkeypatch.setattr(selftest, "selftest", lambda **options: pytest.fail("attacked"))
    path = tmp_path / "none" / "report"
    assert main(["selftest", option, str(path)]) == 2
    assert capsys.readouterr().err == f"isolate-fn selftest: {path}: No such file or directory\n"


def test_a_report_takes_the_place_of_an_older_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from isolate_fn.cli import selftest

    older = "an older report" * 9999
    path = tmp_path / "report"
    path.write_text(older)
    assert main(["selftest", "--only", "nonsense", "--json", str(path)]) == 2
    assert path.read_text() == older
    monkeypatch.setattr(selftest, "selftest", lambda **options: isolate_fn.SelfTest((), None, None, 0.0))
    monkeypatch.setattr(selftest, "show", lambda result: None)
    main(["selftest", "--json", str(path)])
    assert "an older" not in json.dumps(json.loads(path.read_text()))
    main(["selftest", "--json", "/dev/full"])
    assert "the output could not be written: /dev/full: No space left on device" in capsys.readouterr().err
