"""Tests of the Rust crate extrasafe, ported: each has the name that it has there, after its file's.

Differences are said where they are. landlock_*, network and the examples have files of their own beside this one.
"""

from __future__ import annotations

from typing import Any

import pytest

from isolate_fn import SafetyContext
from isolate_fn.errors import ConflictingRules, PolicyError, Unsupported
from isolate_fn.rules import Custom, RuleSet, SystemIO

TEXT = "A conditional rule on syscall `write` from RuleSet `SystemIO` would be overridden by a simple rule from RuleSet `{}`"


# --- arg_comparisons -------------------------------------------------------------------------------------------------


def test_cmp_arg_syscall_unused_parameter(holds: Any) -> None:
    """A comparison looks at the register, also where the call has no such argument."""
    rule = 'BasicCapabilities().without("getuid"), Custom("ten", Rule("getuid", Arg(0) == 10))'
    holds("me = os.getuid()", f"""
    SafetyContext().enable({rule}).with_errno(5).apply_to_current_thread()
    assert native("getuid", 10) == 0
    assert native("getuid", 11) == 5
    assert LIBC.syscall(ctypes.c_long(NUMBERS["getuid"]), ctypes.c_ulong(10)) == me
    """)  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "allowed", "sign_extended"),
    [pytest.param(64, "EBADF", "999", id="cmp_arg_64bit_ioctl_musl_glibc_diff"),
     pytest.param(32, "EBADF", "EBADF", id="cmp_arg_32bit_ioctl_musl_glibc_same")],
)  # fmt: skip
def test_ioctl_of_musl_and_glibc(holds: Any, bits: int, allowed: str, sign_extended: str) -> None:
    """musl passes the request as a signed int. As the kernel takes its low half, the 32-bit comparison is right."""
    holds("EBADF = errno.EBADF", f"""
    mine = Custom("mine", Rule("ioctl", Arg(1, {bits}) == 0x80000000))
    SafetyContext().enable(mine).with_errno(999).apply_to_current_thread()
    assert native("ioctl", 4321, 0x80000000) == {allowed}
    assert native("ioctl", 4321, 0xffffffff80000000) == {sign_extended}
    """)  # fmt: skip


# --- bad_combination -------------------------------------------------------------------------------------------------


def conflict(*sets: RuleSet | str) -> ConflictingRules:
    context = SafetyContext().enable(*sets[:-1])
    with pytest.raises(ConflictingRules) as caught:
        context.enable(sets[-1])
    assert caught.value.syscall == "write"
    return caught.value


def test_invalid_combination_new_simple() -> None:
    error = conflict(SystemIO().allow_stdout(), SystemIO.everything())
    assert TEXT.format("SystemIO") in error.problem
    assert error.sets == ("SystemIO", "SystemIO")


def test_invalid_combination_new_conditional() -> None:
    assert TEXT.format("SystemIO") in conflict(SystemIO.everything(), SystemIO().allow_stdout()).problem


def test_invalid_combination_new_simple_different_name() -> None:
    assert TEXT.format("JustWrite") in conflict(SystemIO().allow_stdout(), Custom("JustWrite", "write")).problem


def test_invalid_combination_new_conditional_different_name() -> None:
    assert TEXT.format("JustWrite") in conflict(Custom("JustWrite", "write"), SystemIO().allow_stdout()).problem


def test_invalid_combination_read_and_stdin() -> None:
    """Between two values it is a conflict; on one value, deliberately different, the broader choice is what was meant."""
    with pytest.raises(ConflictingRules) as caught:
        SafetyContext().enable(SystemIO().allow_read(), SystemIO().allow_stdin())
    assert caught.value.syscall == "read"
    both = SystemIO().allow_read().allow_stdin()
    SafetyContext().enable(both)
    assert "read" in both.simple_rules()


@pytest.mark.parametrize(
    "sets",
    [
        pytest.param("SystemIO().allow_read().allow_read()", id="not_invalid_combination_duplicate_simple"),
        pytest.param(
            "SystemIO().allow_read(), SystemIO().allow_read()", id="not_invalid_combination_duplicate_simple2"
        ),
        pytest.param("SystemIO().allow_stdin().allow_stdin()", id="not_invalid_combination_duplicate_conditional"),
        pytest.param(
            "SystemIO().allow_stdin(), SystemIO().allow_stdin()", id="not_invalid_combination_duplicate_conditional2"
        ),
    ],
)
def test_duplicates_are_no_conflict(holds: Any, sets: str) -> None:
    holds("", f"""
    SafetyContext().enable({sets}).apply_to_current_thread()
    assert os.read(0, 1) == b""
    """)  # fmt: skip


# --- default_deny, inherit_filters, multiple_*, ruleset_union ---------------------------------------------------------


def test_default_deny(holds: Any) -> None:
    """filesystem_no_read, filesystem_no_write, filesystem_no_create."""
    holds("file = os.open('there', os.O_CREAT | os.O_RDWR)", """
    SafetyContext().enable(BasicCapabilities()).apply_to_current_thread()
    denied(lambda: os.open("there", os.O_RDONLY))
    denied(lambda: os.write(file, b"x"))
    denied(lambda: os.open("new", os.O_CREAT | os.O_WRONLY))
    """)  # fmt: skip


def test_new_thread_inherits_restrictions(holds: Any) -> None:
    holds("", """
    SafetyContext().enable(Threads().allow_create()).apply_to_current_thread()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(denied(lambda: open("new", "w"))))
    thread.start(); thread.join()
    assert seen == [True]
    """)  # fmt: skip


def test_new_process_inherits_restrictions(holds: Any) -> None:
    """`cat` starts, with what it needs to load, and cannot do more: deliberately, the child may begin at all."""
    holds("import subprocess; open('there', 'w').write('text')", """
    library = SystemIO().allow_open_readonly(), SystemIO().allow_read(), SystemIO().allow_metadata()
    SafetyContext().enable(ForkAndExec(), *library).apply_to_current_thread()
    assert subprocess.run(["cat", "there"]).returncode != 0          # may read, but not write what it read
    assert subprocess.run(["cat", "/dev/null"]).returncode == 0
    """)  # fmt: skip


def test_multiple_rulsets_conditional(holds: Any) -> None:
    assert holds("", """
    SafetyContext().enable(SystemIO().allow_stdout()).enable(SystemIO().allow_stderr()).apply_to_current_thread()
    os.write(1, b"out")
    os.write(2, b"")
    denied(lambda: os.write(3, b""))
    """) == "out"  # fmt: skip


def test_filter_stacking_works_but_may_give_unintended_results(holds: Any) -> None:
    holds("", """
    both = SystemIO().allow_stdout().allow_stderr()
    stack = Custom("stack", "prctl", "seccomp")
    opening = SystemIO().allow_open(), SystemIO().allow_metadata()
    SafetyContext().enable(both, *opening, stack).apply_to_current_thread()
    SafetyContext().enable(both, Threads().allow_create()).apply_to_current_thread()
    refused(RuntimeError, threading.Thread(target=print).start)        # the first denies it
    denied(lambda: open("new", "w"))                                   # the second does
    """)  # fmt: skip


def test_different_rulesets_same_syscall(holds: Any) -> None:
    assert holds("", """
    first = SystemIO().allow_stdin().allow_stdout().allow_stderr().allow_metadata()
    second = SystemIO().allow_stderr().allow_metadata().allow_close()
    SafetyContext().enable(first).enable(second).apply_to_current_thread()
    os.write(1, b"out")
    os.write(2, b"")
    """) == "out"  # fmt: skip


def test_different_rulesets_same_syscall2(holds: Any) -> None:
    before = """
    files = []
    for number in range(3):
        open(str(number), "w").write(f"{number} text ")
        files.append(open(str(number)))
    other = open("0")
    """
    holds(before, """
    context = SafetyContext()
    for file in files:
        context.enable(SystemIO().allow_file_read(file))
    context.apply_to_current_thread()
    assert "".join(file.read() for file in files) == "0 text 1 text 2 text "
    denied(lambda: os.read(other.fileno(), 1))
    """)  # fmt: skip


# --- open_readonly, sleep, sysno, use_fd ------------------------------------------------------------------------------


def test_allow_open_readonly(holds: Any) -> None:
    """And O_TRUNC, with which the seed's rule lets a file be emptied."""
    holds("open('there', 'w').write('text')", """
    sets = SystemIO().allow_open_readonly(), SystemIO().allow_read(), SystemIO().allow_metadata(), SystemIO().allow_close()
    SafetyContext().enable(*sets).apply_to_current_thread()
    for mode in ("r+", "a", "w", "x"):
        denied(lambda: open("there", mode))
        denied(lambda: open("new", mode))
    for flags in (os.O_TRUNC, os.O_CREAT, os.O_EXCL, os.O_APPEND, os.O_TMPFILE, os.O_WRONLY, os.O_RDWR):
        denied(lambda: os.open("there", os.O_RDONLY | flags))
    with open("there") as file:
        assert file.read() == "text"
    """)  # fmt: skip


def test_insomnia(holds: Any) -> None:
    holds("import time", """
    SafetyContext().enable(SystemIO().allow_stdout().allow_stderr()).apply_to_current_thread()
    before = time.monotonic()
    denied(lambda: time.sleep(30))
    assert time.monotonic() - before < 20
    """)  # fmt: skip


def test_comfy(holds: Any) -> None:
    holds("import time", """
    sets = SystemIO().allow_stdout().allow_stderr(), Threads().allow_sleep()
    SafetyContext().enable(*sets).apply_to_current_thread()
    time.sleep(.001)
    """)  # fmt: skip


def test_hello_void() -> None:
    with pytest.raises(PolicyError, match="no rules were enabled"):
        SafetyContext().apply_to_current_thread()


def test_hello_world(holds: Any) -> None:
    assert holds("", """
    SafetyContext().enable("write").apply_to_current_thread()
    print("Hello, world!", flush=True)
    """) == "Hello, world!\n"  # fmt: skip


def test_ref_ruleset(holds: Any) -> None:
    """One value, enabled wherever it is wanted; and anything of that shape."""
    holds("", """
    class Shape:
        def simple_rules(self):
            return ["getpgid"]
        def conditional_rules(self):
            return {"write": [Rule("write", Arg(0) == 1)]}
    shape, value = Shape(), SystemIO().allow_stderr()
    SafetyContext().enable(value, shape)
    SafetyContext().enable(value, shape).apply_to_current_thread()
    os.getpgid(0)
    os.write(1, b""), os.write(2, b"")
    denied(lambda: os.write(3, b""))
    """)  # fmt: skip


def test_seccomp_active_tests_fail(locked: Any) -> None:
    done = locked("", "SafetyContext().enable(BasicCapabilities()).apply_to_current_thread()\nassert 1 == 2, 'seen'")
    assert done.returncode == 1
    assert "AssertionError: seen" in done.stderr


OTHER = """
ready, go, seen = threading.Event(), threading.Event(), []
def other():
    ready.set()
    go.wait()
    try:
        open("new", "w").close()
        seen.append("made")
    except OSError as error:
        seen.append(error.errno)
thread = threading.Thread(target=other)
thread.start()
ready.wait()
"""


def test_sync_thread_contexts(holds: Any) -> None:
    """The other thread runs before the context is applied; in the seed's own test it may not yet."""
    holds(OTHER, """
    SafetyContext().enable("write").apply_to_all_threads()
    go.set(); thread.join()
    assert seen == [errno.EPERM]
    """)  # fmt: skip


def test_different_threads_with_different_contexts(holds: Any) -> None:
    holds(OTHER, """
    SafetyContext().enable("write").apply_to_current_thread()
    denied(lambda: open("mine", "w"))
    go.set(); thread.join()
    assert seen == ["made"]
    """)  # fmt: skip


def test_returns_unsupported_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from isolate_fn._api import safety_checks

    monkeypatch.setattr(safety_checks, "sys", SimpleNamespace(platform="darwin", maxsize=2**63 - 1))
    with pytest.raises(Unsupported, match="needs Linux; found: darwin"):
        SafetyContext().enable("write").apply_to_current_thread()


def test_allow_only_specific_files(holds: Any) -> None:
    before = """
    open("file", "w").write("hello world")
    readable, writable, other = open("file"), open("file", "a"), open("file", "a")
    """
    holds(before, """
    files = SystemIO().allow_stdout().allow_stderr().allow_file_read(readable).allow_file_write(writable)
    SafetyContext().enable(files.allow_close()).apply_to_current_thread()
    assert readable.read() == "hello world"
    writable.write(" appended to")
    writable.flush()
    readable.seek(0)
    assert readable.read() == "hello world appended to"
    denied(lambda: os.write(other.fileno(), b"x"))
    denied(lambda: os.read(other.fileno(), 1))
    readable.close()
    denied(lambda: open("file"))
    """)  # fmt: skip
