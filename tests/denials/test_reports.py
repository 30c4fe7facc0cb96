"""What is told of a denied system call: by the report, notes, logging and fields, wherever it was made."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
import threading

import pytest

from isolate_fn import Limits, isolated, sandbox
from isolate_fn.errors import SyscallDenied, TimedOut
from isolate_fn.rules import Interpreter, SystemIO

pytestmark = pytest.mark.needs("namespaces")

HERE = os.path.abspath(__file__)


def line_of(text):
    """The number of this file's line that ends in a mark."""
    with open(HERE, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


def change_root():
    os.chroot("/tmp")  # the call that is denied


def try_often(count):
    for _ in range(count):
        try:
            os.chroot("/tmp")
        except PermissionError as error:
            code = error.errno
    return code


def in_a_thread():
    thread = threading.Thread(target=try_often, args=(1,))
    thread.start()
    thread.join()
    return thread.native_id


def connect_elsewhere():
    libc = ctypes.CDLL(None, use_errno=True)
    address = bytes([2, 0, 0, 80, 192, 0, 2, 1]) + bytes(8)
    libc.bind(0, address, len(address))
    return ctypes.get_errno()


def nothing():
    return 1


def only(report):
    (denial,) = report.denied
    return denial


def test_name_arguments_path_and_line():
    with sandbox() as box:
        with pytest.raises(PermissionError) as caught:
            box.call(change_root)
        denial = only(box.report())
    assert (denial.syscall, denial.args, denial.path, denial.errno) == ("chroot", ("'/tmp'",), "/tmp", errno.EPERM)
    assert denial.location == f"{HERE}:{line_of('the call that is denied')}"
    assert denial.stack == (f"{denial.location} in change_root",)
    assert (denial.count, denial.pid, denial.tid, denial.program, denial.fix) == (1, denial.tid, denial.pid, False, "")
    assert denial.pid > 1
    assert caught.value.__notes__ == [f"isolate_fn: {denial}"]
    assert f"chroot('/tmp') was denied with EPERM at {denial.location}" in str(denial)


def test_same_denials_are_counted():
    with sandbox() as box:
        assert box.call(try_often, 7) == errno.EPERM
        assert only(box.report()).count == 7
        box.call(try_often, 1)
        assert only(box.report()).count == 8


def test_many_same_denials_are_counted_roughly():
    with sandbox() as box:
        box.call(try_often, 600)
        assert 300 <= only(box.report()).count <= 600


def test_different_denials_are_bounded():
    with sandbox() as box:
        box.call(deny_differently, 200)
        denied = box.report().denied
    assert len(denied) == 65
    assert denied[-1].syscall == "others"
    assert str(denied[-1]) == f"further system calls were denied, {denied[-1].count} times"


def deny_differently(count):
    for number in range(count):
        try:
            os.mkdir(f"/tmp/{number}", 0o4755)
        except PermissionError:
            pass


def test_a_thread_is_told_from_its_process():
    with sandbox() as box:
        thread = box.call(in_a_thread)
        denial = only(box.report())
    assert denial.tid == thread != denial.pid
    assert denial.location.startswith(HERE)


def test_an_address_is_written_as_such():
    with sandbox() as box:
        assert box.call(connect_elsewhere) == errno.EPERM
        denial = only(box.report())
    assert denial.syscall == "bind"
    assert denial.args[:2] == ("0", "192.0.2.1:80")


def test_what_is_permitted_is_not_reported():
    with sandbox() as box:
        assert box.call(nothing) == 1
        assert box.report().denied == ()


@pytest.mark.parametrize(
    "options",
    [{}, {"reuse": 3}, {"reuse": True}, {"prewarm": 2}, {"prewarm": 0}, {"fresh_exec": True}, {"network": True}],
    ids=str,
)
def test_fresh_prewarmed_and_reused_workers(options):
    change = isolated(**options)(change_root)
    for _ in range(3):
        with pytest.raises(PermissionError) as caught:
            change()
        (note,) = caught.value.__notes__
        assert f"at {HERE}:{line_of('the call that is denied')}" in note
    change.close()


def test_a_reused_worker_after_calls_that_went_well():
    once = isolated(reuse=True)(chroot_at)
    assert [once(number, 3) for number in range(3)] == [0, 1, 2]
    with pytest.raises(PermissionError) as caught:
        once(3, 3)
    assert len(caught.value.__notes__) == 1
    assert once(4, 3) == 4
    once.close()


def chroot_at(number, when):
    if number == when:
        os.chroot("/tmp")
    return number


def test_a_denial_that_the_function_survives_is_logged(caplog):
    with caplog.at_level(logging.INFO, "isolate_fn.denied"):
        assert isolated(name="survivor")(try_often)(2) == errno.EPERM
    (record,) = [each for each in caplog.records if each.name == "isolate_fn.denied"]
    assert record.levelno == logging.WARNING
    assert record.isolate == "survivor"
    assert record.denial.syscall == "chroot"
    assert record.getMessage() == str(record.denial)


def test_programs_are_heard_as_well():
    with sandbox() as box:
        done = box.run(["sh", "-c", "chroot /tmp true"], capture_output=True)
        assert done.returncode != 0
        denials = [each for each in box.report().denied if each.syscall == "chroot"]
    assert [(each.path, each.program, each.location) for each in denials] == [("/tmp", True, None)]
    assert denials[0].pid > 2


def test_popen_too():
    with sandbox() as box:
        with box.popen(["chroot", "/tmp", "true"]) as program:
            program.wait()
        assert "chroot" in [each.syscall for each in box.report().denied if each.program]


def test_a_report_of_a_call_that_was_killed_tells_what_was_denied():
    with pytest.raises(TimedOut) as caught:
        isolated(timeout=5)(deny_and_wait)()
    assert only(caught.value.report).syscall == "chroot"
    assert "chroot" in caught.value.__notes__[0]


def deny_and_wait():
    import time

    try_often(1)
    time.sleep(60)


# --- rules -----------------------------------------------------------------------------------------------------------


def read_hosts():
    with open("/etc/hosts", encoding="utf-8") as file:  # the file that is denied
        return file.read()


def test_denials_by_rules_name_the_set_that_permits():
    with pytest.raises(PermissionError) as caught:
        isolated(rules=[])(read_hosts)()
    (note,) = caught.value.__notes__
    assert "openat(AT_FDCWD, '/etc/hosts', O_RDONLY|O_CLOEXEC, 0o0) was denied with EPERM" in note
    assert f"at {HERE}:{line_of('the file that is denied')}" in note
    assert note.endswith("; add rules=[SystemIO().allow_open_readonly()]")


def make_socket():
    socket.socket()


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (os.fork, "rules=[ForkAndExec()]"),
        (make_socket, "network=True, rules=[Networking().allow_start_tcp_clients()]"),
    ],
)
def test_what_the_base_filter_denies_below_rules(function, fix):
    with pytest.raises(PermissionError) as caught:
        isolated(rules=[SystemIO.everything()])(function)()
    assert caught.value.__notes__[0].endswith(f"; add {fix}")


def test_programs_under_rules():
    with sandbox(rules=[SystemIO.everything()]) as box:
        assert box.run(["sh", "-c", "(true)"], capture_output=True).returncode != 0
        (denial,) = {(each.fix, each.program) for each in box.report().denied}
    assert denial == ("rules=[ForkAndExec()]", True)


# --- the other two words ---------------------------------------------------------------------------------------------


def test_errno_records_nothing(caplog):
    with sandbox(on_denied="errno") as box:
        with pytest.raises(PermissionError) as caught:
            box.call(change_root)
        assert box.report().denied is None
    assert not hasattr(caught.value, "__notes__")
    assert not [each for each in caplog.records if each.name == "isolate_fn.denied"]


def test_kill_kills():
    with pytest.raises(SyscallDenied) as caught:
        isolated(on_denied="kill")(change_root)()
    assert caught.value.syscall == ""


def make_a_socket():
    socket.socket()


def write_an_attribute():
    os.setxattr("/tmp", "user.a", b"")


@pytest.mark.parametrize("call", [make_a_socket, write_an_attribute])
def test_kill_spares_what_libraries_try(call):
    with pytest.raises(PermissionError):
        isolated(on_denied="kill")(call)()
    with pytest.raises(SyscallDenied):
        isolated(on_denied="kill", rules=[Interpreter()])(call)()


# --- where there can be no listener ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"rules": []}], ids=str)
def test_without_user_notification_it_is_said(monkeypatch, options):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "user_notification=0")
    change = isolated(**options)(change_root)
    assert [each for each in change.enforcement().dropped if each.startswith("on_denied='report': ")]
    with pytest.raises(PermissionError) as caught:
        change()
    assert not hasattr(caught.value, "__notes__")
    change.close()


def test_without_a_killable_wait_a_signal_does_no_harm(monkeypatch):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "killable_wait=0")
    with sandbox(timeout=60) as box:
        assert box.call(deny_under_signals, 200) == 200
        assert box.report().denied[0].syscall == "chroot"


def deny_under_signals(count):
    import signal

    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    denied = 0
    for _ in range(count):
        try:
            os.chroot("/tmp")
        except (PermissionError, InterruptedError):  # before Linux 5.19 a signal ends the wait for the answer
            denied += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    return denied


def test_a_limit_says_how_to_raise_it():
    from isolate_fn.errors import LimitExceeded

    with pytest.raises(LimitExceeded) as caught:
        isolated(limits=Limits(processes=4))(start_threads)(10)
    assert "raise it with limits=Limits(processes=8)" in str(caught.value)


def start_threads(count):
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
    finally:
        gate.set()
