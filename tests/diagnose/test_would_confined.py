"""`would` against what really happens where isolates have no namespaces: the host's tree, Landlock, one more filter."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Policy, explain, isolated, ro, rw, sandbox, would

pytestmark = [pytest.mark.needs("landlock", "interpreter"), pytest.mark.usefixtures("without_namespaces")]
ATTEMPTS = Path(__file__).with_name("attempts.py")
_spec = importlib.util.spec_from_file_location("attempts", ATTEMPTS)
assert _spec is not None
assert _spec.loader is not None
attempts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(attempts)


@pytest.fixture
def tree() -> Iterator[Path]:
    """Files that every user may reach, as a root caller's isolates need them."""
    top = Path(tempfile.mkdtemp(prefix="would-", dir="/var/tmp"))
    top.chmod(0o755)
    for directory in ("ro/deep", "rw", "locked", "tools"):
        (top / directory).mkdir(parents=True)
    (top / "rw").chmod(0o777)
    for path in ("ro/a", "ro/deep/b", "rw/a", "rw/b", "rw/frozen", "outside", "single", "locked/in", "ro/secret"):
        (top / path).write_text("x")
    for path in ("rw/a", "rw/b"):
        (top / path).chmod(0o666)
    (top / "ro" / "out").symlink_to("/etc/passwd")
    (top / "ro" / "up").symlink_to("../outside")
    (top / "ro" / "loop").symlink_to("loop")
    (top / "ro" / "secret").chmod(0)
    (top / "rw" / "frozen").chmod(0o444)
    (top / "locked").chmod(0o600)
    (top / "tools" / "tool").write_text("#!/bin/sh\nexit 0\n")
    (top / "tools" / "tool").chmod(0o755)
    (top / "tools" / "plain").write_text("#!/bin/sh\nexit 0\n")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{top}/ro/socket")
    yield top
    (top / "locked").chmod(0o700)
    shutil.rmtree(top)


def cases_of(t: Path) -> list[tuple[Any, ...]]:
    read = [
        *(f"{t}/{name}" for name in ("ro/a", "ro/deep/b", "ro/out", "ro/up", "ro/loop", "ro/secret", "ro/deep", "ro/none")),
        *(f"{t}/{name}" for name in ("ro/a/below", "ro/socket", "ro/deep/../a", "outside", "single", "locked/in", "rw/a")),
        str(t), f"{t}/none",
        "/etc/passwd", "/etc/shadow", "/etc/none", "/root/.ssh/id_rsa", "/", "/tmp", "/tmp/none", "/home", "none", ".",
        "../tmp", "../tmp/none", "/dev/null", "/dev/zero", "/dev/tty", "/dev/shm/none", "/var/log/none", "/sys/kernel",
        os.__file__, os.path.realpath(sys.executable), "/proc/self/status", "/proc/self/environ", "/proc/self/mem",
        "/proc/1/environ", "/proc/1/status", "/proc/1/cwd", "/proc/self/cwd", "/proc/self/exe", "/proc/self/root/etc/passwd",
        f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/maps", "/proc/999999999/status", "/proc/cpuinfo", "/proc/self/none",
        "/proc/sys/kernel/core_pattern", "/proc/self",
    ]  # fmt: skip
    write = [
        *(f"{t}/{name}" for name in ("ro/a", "ro/new", "rw/a", "rw/frozen", "outside", "new", "single", "ro/secret")),
        "/etc/passwd", "/etc/new", "/tmp/new", "/dev/null", "/dev/full", "/proc/self/comm", os.__file__, "/nowhere/new",
        "/tmp", "none/deeper",
    ]  # fmt: skip
    made = [f"{t}/rw/new", "new", "../tmp/new"]
    return [
        *(("open", path) for path in read),
        *(("open", path, mode) for path in write for mode in ("w", "a", "r+", "rb")),
        *(("open", f"{path}.{mode}", mode) for path in made for mode in ("w", "a", "x", "wb+")),
        ("open", f"{t}/rw/b", "x"),
        *(("list", path) for path in read),
        *(("stat", path) for path in read),
    ]


CALLS: list[tuple[Any, ...]] = [
    ("connect", "127.0.0.1", 9), ("connect", "::1", 9), ("connect", "/run/nothing.sock"), ("syscall", "getpid"),
    ("syscall", "ptrace", 16, 1), ("syscall", "mount"), ("syscall", "unshare", 0x10000000), ("syscall", "bpf"),
    ("syscall", "keyctl", 0), ("syscall", "socket", 2, 1, 0), ("syscall", "setuid", 0), ("syscall", "clone3"),
    ("syscall", "umask", 0o22), ("syscall", "getppid"), ("syscall", "sched_yield"), ("syscall", "epoll_create1", 0),
]  # fmt: skip


def test_files_and_calls(tree: Path) -> None:
    policy = Policy(mounts=[ro(tree / "ro"), rw(tree / "rw"), ro(tree / "single")], name="would")
    function = isolated(policy=policy)(attempts.attempt_all)
    assert function.enforcement().engine == "landlock"
    cases = [*cases_of(tree), *CALLS]
    attempts.compare(policy, cases, function(cases))


def test_with_a_network() -> None:
    policy = Policy(network=True)
    attempts.compare(policy, CALLS, isolated(policy=policy)(attempts.attempt_all)(CALLS))


def test_programs(tree: Path) -> None:
    paths = ["/bin/true", "true", "no-such-program", f"{tree}/tools/tool", f"{tree}/tools/plain", f"{tree}/outside", "/usr/lib"]
    cases: list[tuple[Any, ...]] = [("run", path) for path in paths]
    with sandbox(mounts=[ro(tree / "tools")]) as box:
        definitions = ATTEMPTS.read_text().replace("from __future__ import annotations", "")
        source = f"import json\n{definitions}\nprint(json.dumps(attempt_all(json.loads(input()))))"
        done = box.run([sys.executable, "-c", source], input=json.dumps(cases), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        attempts.compare(box, cases, [tuple(each) for each in json.loads(done.stdout)], program=True)


def test_fixes_work_when_they_are_pasted_in(tree: Path) -> None:
    answer = would(Policy(), "open", f"{tree}/outside")
    assert (answer.wall, answer.fix) == ("landlock", f"add mounts=[ro('{tree}/outside')]")
    assert would(Policy(mounts=[ro(tree / "outside")]), "open", f"{tree}/outside")
    answer = would(Policy(), "open", f"{tree}/rw/made", "w")
    assert answer.fix == f"add mounts=[rw('{tree}/rw')]"
    assert would(Policy(mounts=[rw(tree / "rw")]), "open", f"{tree}/rw/made", "w")
    assert would(Policy(), "open", "/proc/self/status").fix == ""
    assert would(Policy(), "syscall", "mount").fix == "", "NoSeccomp is refused without namespaces"
    extended = would(Policy(), "syscall", "listxattr")
    assert (extended.permitted, extended.errno) == (False, errno.ENOTSUP)
    assert "without namespaces" in extended.reason


def test_what_is_explained(tree: Path) -> None:
    policy = Policy(mounts=[ro(tree / "ro"), rw(tree / "rw")], name="here")
    text = explain(policy)
    sections = json.loads(explain(policy, form="json"))["sections"]
    assert any("no content of any other file" in line["text"] for line in sections["Can read"])
    assert any("the working directory, tempfile.gettempdir()" in line["text"] for line in sections["Can write"])
    assert any("engine 'landlock', because" in line["text"] for line in sections["Weaker than it could be"])
    assert tuple(json.loads(explain(policy, form="json"))["walls"]) == isolated(policy=policy)(len).enforcement().layers
    assert "namespaces, filter" not in text
    assert "Asked before the base filter, because there are no namespaces:" in text
    assert "in memory" not in text.partition("Its file tree")[2].partition("Asked before")[0]
    assert "<svg" in explain(policy, form="html")
    assert "Landlock" in explain(policy, program=True)
