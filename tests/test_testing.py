"""Helpers for users' tests: each shows a failure that it must raise, beside what it lets pass."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

import pytest

from isolate_fn import Limits, isolated, ro
from isolate_fn.testing import assert_denied, in_child, missing, requires

ROOT = Path(__file__).parents[1]
HERE = __file__


def read(path: str) -> int:
    with open(path, "rb") as file:
        return len(file.read())


def fail(path: str) -> None:
    raise KeyError(path)


# --- requires --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "why"),
    [
        ("module:no_such_module", "no_such_module is not installed"),
        ("module:no.such.module", "no.such.module is not installed"),
        ("tool:no-such-tool", "no-such-tool is not in PATH; package no-such-tool"),
        ("tool:soffice-no", "soffice-no is not in PATH; package soffice-no"),
        ("linux>=99.0", "needs Linux 99.0, this is "),
        ("landlock>=99", "needs Landlock ABI 99, this kernel has "),
        ("aarch64" if os.uname().machine == "x86_64" else "x86_64", "this is "),
        ("user" if os.geteuid() == 0 else "root", "run as "),
    ],
)
def test_what_is_missing_is_named(feature: str, why: str) -> None:
    assert missing(feature).startswith(why)


@pytest.mark.parametrize("feature", ["module:os", "module:os.path", "linux>=4.0", "root" if os.geteuid() == 0 else "user"])
def test_what_is_there_is_not_missing(feature: str) -> None:
    assert missing(feature) == ""


def test_an_interpreter_that_only_root_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root runs isolates under the same id, so theirs is always one that those may run."""
    tmp_path.chmod(0o700)
    (tmp_path / "python3").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    said = missing.__wrapped__("interpreter")
    if os.geteuid() == 0:
        assert said == f"root's isolates run under an unused id, which may not run {tmp_path}/python3: Permission denied"
    else:
        assert said == ""


@pytest.mark.parametrize("feature", ["nonsense", "tool:", "linux"])
def test_unknown_features_are_errors(feature: str) -> None:
    with pytest.raises(ValueError, match="unknown feature"):
        missing(feature)


def test_requires_skips_by_the_reason_under_both_frameworks(tmp_path: Path) -> None:
    script = tmp_path / "test_both.py"
    script.write_text(textwrap.dedent("""
        import unittest
        from isolate_fn.testing import requires

        class Cases(unittest.TestCase):
            @requires("module:no_such_module")
            def test_skipped(self): raise AssertionError

            @requires("module:os")
            def test_runs(self): pass

        @requires("tool:no-such-tool")
        class Whole(unittest.TestCase):
            def test_skipped(self): raise AssertionError

        class TestPlain:
            @requires("module:no_such_module")
            def test_skipped(self, tmp_path): raise AssertionError
    """))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    plain = subprocess.run([sys.executable, "-m", "unittest", "-v", "test_both"], **options)
    assert plain.returncode == 0, plain.stderr
    assert "'module:no_such_module: no_such_module is not installed'" in plain.stderr
    assert "skipped=2" in plain.stderr
    by_pytest = subprocess.run([sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", script.name], **options)
    assert "1 passed, 3 skipped" in by_pytest.stdout
    assert "tool:no-such-tool: no-such-tool is not in PATH" in by_pytest.stdout


def test_requires_leaves_a_test_as_it_is() -> None:
    assert requires("module:os")(read) is read
    assert not hasattr(read, "__unittest_skip__")


# --- assert_denied ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("namespaces")
def test_a_denial_is_returned() -> None:
    denied = assert_denied(read, "/etc/hostname", allowed_outside=True, allowed_with={"mounts": [ro("/etc/hostname")]})
    assert isinstance(denied, FileNotFoundError)


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(
    ("action", "argument", "options", "text"),
    [
        (read, "/etc/hostname", {"mounts": [ro("/etc/hostname")]}, r"read\('/etc/hostname'\) was not denied"),
        (fail, "x", {}, r"fail\('x'\) failed, but was not denied: KeyError"),
        (read, "/no/such/file", {"allowed_outside": True}, "it fails outside as well: no wall was tested"),
        (
            read, "/etc/hostname", {"allowed_with": {"limits": Limits(processes=7)}},
            "also in an isolate with limits=Limits",
        ),
        (read, "/etc/hostname", {"codes": {errno.EPERM}}, "was not denied: FileNotFoundError"),
    ],
)  # fmt: skip
def test_what_is_no_denial_fails_clearly(action: object, argument: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        assert_denied(action, argument, **options)  # type: ignore[call-overload]


@pytest.mark.needs("namespaces")
def test_block_around_an_isolated_call() -> None:
    with assert_denied() as denied:
        isolated(prewarm=0)(read)("/etc/hostname")
    assert isinstance(denied.error, FileNotFoundError)


def test_block_without_a_denial() -> None:
    with pytest.raises(AssertionError, match="the block was not denied"), assert_denied():
        pass
    with pytest.raises(KeyError) as raised, assert_denied():
        fail("x")
    assert "this is no denial" in raised.value.__notes__[0]


# --- in_child --------------------------------------------------------------------------------------------------------

# Forking this process is what these are about; other tests' threads may be ending.
fork = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def no_more_privileges() -> bool:
    return ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0 and "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()


@fork
def test_what_a_child_does_to_itself_stays_there() -> None:
    before = Path("/proc/self/status").read_text().count("NoNewPrivs:\t1")
    in_child(no_more_privileges)
    assert Path("/proc/self/status").read_text().count("NoNewPrivs:\t1") == before


@fork
@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda: False, "ended with code 1\nthe check returned False"),
        (lambda: {}["key"], "KeyError: 'key'"),
        (lambda: os.kill(os.getpid(), signal.SIGUSR1), "killed by signal 10"),
        (lambda: sys.exit(0), "SystemExit: 0"),
    ],
)
def test_checks_that_fail_in_a_child(check: object, text: str) -> None:
    with pytest.raises(AssertionError) as raised:
        in_child(check)  # type: ignore[arg-type]
    assert text in str(raised.value)


@fork
def test_a_child_that_must_be_killed() -> None:
    in_child(lambda: os.kill(os.getpid(), signal.SIGUSR1), killed_by=signal.SIGUSR1)
    with pytest.raises(AssertionError, match="ended with code 0, not by signal 31"):
        in_child(int, killed_by=signal.SIGSYS)


class TestUnderUnittest(unittest.TestCase):
    @requires("namespaces")
    def test_helpers_need_no_pytest(self) -> None:
        error = assert_denied(read, "/etc/hostname", allowed_outside=True)
        assert isinstance(error, OSError)
