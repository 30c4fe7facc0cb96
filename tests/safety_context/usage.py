"""Every public method as a program would call it, for the type checker; test_typing.py runs it over this file."""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path
from typing import assert_type

from isolate_fn import Isolate, IsolateOutput, Restrictions, SafetyContext, lock_pid_file, restrict_privileges
from isolate_fn.rules import KILL_PROCESS, Custom, Rule, RuleSet, SystemIO, Threads


def contexts() -> None:
    context = SafetyContext()
    assert_type(context.enable(SystemIO().allow_stdout(), Threads(), "getpgid"), SafetyContext)
    assert_type(context.enable(Custom("mine", Rule("getpgid"))).with_errno(errno.EACCES), SafetyContext)
    assert_type(context.with_action(KILL_PROCESS).landlock_only().seccomp_only().require("truncate"), SafetyContext)
    assert_type(len(context), int)
    assert_type(bool(context), bool)
    assert_type(list(context), list[RuleSet | str])
    assert_type(context.apply_to_current_thread(), Restrictions)
    done = context.apply_to_all_threads()
    assert_type(done.dropped, tuple[str, ...])
    assert_type(done.listener, int | None)
    context.enable(3)  # type: ignore[arg-type]
    context.with_errno("EPERM")  # type: ignore[arg-type]


def isolates() -> None:
    built = Isolate("name", lambda: None).add_bind_mount(Path("/data"), "/data", read_only=True)
    assert_type(built.set_rootfs_size(10).new_network(True).options(timeout=5), Isolate)
    assert_type(built.run(), IsolateOutput)
    assert_type(built.run(env={"NAME": "value"}).stdout, bytes)
    Isolate.main_hook("name", lambda name: Isolate(name, os.getpid))
    assert_type(Isolate.run("name", {"NAME": "value"}), IsolateOutput)
    assert_type(Isolate.run("name").success, bool)
    Isolate("name", lambda value: None)  # type: ignore[arg-type, misc]
    built.set_rootfs_size("1M")  # type: ignore[arg-type]


def helpers() -> None:
    assert_type(lock_pid_file("pid"), FileIO)
    assert_type(lock_pid_file(Path("pid"), closefd=True, cloexec=False, mode=0o600, contents=b"x"), FileIO)
    restrict_privileges()
    restrict_privileges(unshare=True)
    lock_pid_file(b"pid")  # type: ignore[arg-type]
