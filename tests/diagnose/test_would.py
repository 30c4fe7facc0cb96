"""`would` against what really happens: the same questions, asked outside and tried inside."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isolate_fn import Answer, Policy, file, isolated, ro, rw, sandbox, symlink, tmpfs, would
from isolate_fn.errors import PolicyError, SyscallDenied
from isolate_fn.rules import Arg, Custom, ForkAndExec, Interpreter, Networking, Rule, SystemIO, Threads

pytestmark = pytest.mark.needs("namespaces")
ATTEMPTS = Path(__file__).with_name("attempts.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attempts", ATTEMPTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


attempts = _load()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of every kind to be mounted."""
    for directory in ("ro/deep", "rw", "locked", "empty", "tools"):
        (tmp_path / directory).mkdir(parents=True)
    for path in ("ro/a", "ro/deep/b", "rw/a", "rw/b", "rw/frozen", "outside", "single", "locked/in"):
        (tmp_path / path).write_text("x")
    (tmp_path / "ro" / "in").symlink_to("deep/b")
    (tmp_path / "ro" / "out").symlink_to("/etc/shadow")
    (tmp_path / "ro" / "up").symlink_to("../outside")
    (tmp_path / "ro" / "way").symlink_to("deep")
    (tmp_path / "ro" / "dangling").symlink_to("nothing")
    (tmp_path / "ro" / "loop").symlink_to("loop")
    (tmp_path / "ro" / "secret").write_text("x")
    (tmp_path / "ro" / "secret").chmod(0)
    (tmp_path / "rw" / "frozen").chmod(0o444)
    (tmp_path / "locked").chmod(0o600)
    os.mkfifo(tmp_path / "ro" / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "ro" / "socket"))
    (tmp_path / "tools" / "tool").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "tools" / "tool").chmod(0o755)
    (tmp_path / "tools" / "plain").write_text("#!/bin/sh\nexit 0\n")
    return tmp_path


@pytest.mark.skipif(not os.path.islink("/bin"), reason="/bin is no symbolic link on this machine")
def test_a_mount_behind_a_link_of_the_system() -> None:
    policy, place = Policy(mounts=[ro("/bin/sh")]), os.path.join("/", os.readlink("/bin"), "sh")
    assert isolated(policy=policy, prewarm=0)(os.path.exists)(place)
    for path in ("/bin/sh", place):
        assert not would(Policy(), "open", path)
        assert would(policy, "open", path)
        assert "ro('/bin/sh')" in would(policy, "open", path).reason


def file_cases(t: Path) -> list[tuple[Any, ...]]:
    read = [
        f"{t}/ro/a",
        f"{t}/ro/deep/b",
        f"{t}/ro/in",
        f"{t}/ro/way/b",
        f"{t}/ro/out",
        f"{t}/ro/up",
        f"{t}/ro/dangling",
        f"{t}/ro/loop",
        f"{t}/ro/secret",
        f"{t}/ro/deep",
        f"{t}/ro/none",
        f"{t}/ro/a/below",
        f"{t}/ro/socket",
        f"{t}/ro/deep/../a",
        f"{t}/outside",
        f"{t}/single",
        f"{t}",
        f"{t}/locked/in",
        f"{t}/rw/a",
        "/elsewhere/deep/b",
        "/elsewhere/../etc/passwd",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hostname",
        "/etc/app.conf",
        "/conf",
        "/etc/fstab",
        "/root/.ssh/id_rsa",
        "/home",
        "/",
        "/tmp",
        "/tmp/none",
        "/tmp/none/deeper",
        "none",
        "/work/none",
        "/dev/null",
        "/dev/zero",
        "/dev/sda",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/tty",
        "/dev/shm/none",
        "/scratch/none",
        "/var",
        "/var/log/syslog",
        "/sys/kernel",
        "/boot",
        "/usr/lib",
        "/usr/share/doc",
        os.__file__,
        sys.executable,
        "/proc/self/status",
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/maps",
        "/proc/self/cmdline",
        "/proc/1/status",
        "/proc/1/environ",
        "/proc/1/maps",
        "/proc/self/cwd",
        "/proc/2/comm",
        "/proc/4711/status",
        "/proc/cpuinfo",
        "/proc/sys/kernel/core_pattern",
        "/proc/kcore",
        "/proc/self/nothing",
        "/proc/self/fd",
        "/dev/fd",
        "/dev/stdin",
        "/grants",
        "/grants/none",
        f"{t}/ro/a/",
        f"{t}/ro/in/",
        f"{t}/ro/deep/",
        f"{t}/ro/way/",
        f"{t}/ro/none/",
        "/etc/passwd/",
        "/dev/null/",
    ]
    write = [
        f"{t}/ro/a",
        f"{t}/ro/new",
        f"{t}/ro/secret",
        f"{t}/rw/a",
        f"{t}/rw/frozen",
        f"{t}/rw/new/x",
        f"{t}/outside",
        f"{t}/new",
        f"{t}/single",
        "/etc/passwd",
        "/etc/new",
        "/etc/app.conf",
        "/new",
        "/tmp",
        "/tmp/none/deeper",
        "/usr/lib/new",
        os.__file__,
        "/dev/null",
        "/dev/full",
        "/dev/new",
        "/proc/self/comm",
        "/proc/self/oom_score_adj",
        "/proc/sys/kernel/core_pattern",
        "/proc/new",
        "/proc/self/new",
        "/dev/stdin",
        "/grants/new",
        f"{t}/ro/a/",
        f"{t}/rw/a/",
        f"{t}/rw/new/",
        f"{t}/ro/deep/",
        "/tmp/none/",
        "/tmp/none/deeper/",
        "/home/new",
        "/nowhere/new",
    ]
    made = [f"{t}/rw/new", "/tmp/new", "/work/new", "new too", "/dev/shm/new", "/scratch/new"]
    return [
        *(("open", path) for path in read),
        *(("open", path, mode) for path in write for mode in ("w", "a", "r+", "rb")),
        *(("open", f"{path}.{mode}", mode) for path in made for mode in ("w", "a", "x", "wb+")),
        ("open", f"{t}/rw/b", "x"),
        ("open", f"{t}/ro/a", "x"),
        *(("open", f"{t}/ro/{name}", "x") for name in ("in", "out", "up", "way", "dangling", "loop", "deep", "new", "dangling/")),
        *(("open", path, "x") for path in ("/conf", "/dev/stdin", "/proc/self/cwd", f"{t}/ro/loop/new", f"{t}/ro/dangling/new")),
        ("open", "/tmp/plus", "r+"),
        *(("list", path) for path in read),
        *(("stat", path) for path in read),
    ]


def filled(t: Path) -> Policy:
    return Policy(
        mounts=[
            ro(t / "ro"),
            rw(t / "rw"),
            ro(t / "single"),
            ro(t / "locked"),
            ro(t / "ro", "/elsewhere"),
            file("/etc/app.conf", "x"),
            symlink("/conf", "/etc/app.conf"),
            tmpfs("/scratch", "1M"),
        ],
        name="would",
    )


SYSCALLS: list[tuple[Any, ...]] = [
    ("syscall", "getpid"),
    ("syscall", "ptrace", 16, 1),
    ("syscall", "mount"),
    ("syscall", "unshare", 0x10000000),
    ("syscall", "bpf"),
    ("syscall", "keyctl", 0),
    ("syscall", "personality", 0xFFFFFFFF),
    ("syscall", "socket", 2, 1, 0),
    ("syscall", "socket", 1, 1, 0),
    ("syscall", "socket", 16, 3, 0),
    ("syscall", "socket", 38, 5, 0),
    ("syscall", "setuid", 0),
    ("syscall", "io_uring_setup"),
    ("syscall", "clone3"),
    ("syscall", "perf_event_open"),
    ("syscall", "kexec_load"),
    ("syscall", "sched_yield"),
    ("syscall", "umask", 0o22),
    ("syscall", "getppid"),
    ("syscall", "sync"),
    ("syscall", "prctl", 3),
    ("syscall", "prctl", 4, 1),
    ("syscall", "setpriority"),
    ("syscall", "memfd_secret"),
    ("syscall", "userfaultfd"),
    ("syscall", "epoll_create1", 0),
    ("syscall", "timerfd_create", 1, 0),
    ("syscall", "inotify_init1", 0),
    ("syscall", "swapoff"),
    ("syscall", "getuid"),
]
CONNECTIONS: list[tuple[Any, ...]] = [
    ("connect", "127.0.0.1", 9),
    ("connect", "::1", 9),
    ("connect", "127.0.0.1", 1),
    ("connect", "/run/nothing.sock"),
]


def inside(policy: Policy, cases: list[tuple[Any, ...]]) -> list[tuple[bool, int]]:
    return isolated(policy=policy)(attempts.attempt_all)(cases)


def test_files_as_a_function_sees_them(tree: Path) -> None:
    cases = file_cases(tree)
    assert len(cases) > 250
    before = {case: would(filled(tree), *case) for case in cases}
    seen = inside(filled(tree), cases)
    for path in ("rw/a", "rw/b"):
        (tree / path).write_text("x")
    for path in tree.glob("rw/new.*"):
        path.unlink()
    attempts.compare(filled(tree), cases, seen)
    assert {case: would(filled(tree), *case) for case in cases} == before, "asking changes nothing"


def test_files_of_a_project(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tree / "project"
    (project / "package" / "data").mkdir(parents=True)
    (project / "notes").mkdir()
    (project / ".git").mkdir()
    for path in (
        "module.py",
        "package/__init__.py",
        "package/data/table.csv",
        ".env",
        "secrets.json",
        "notes/x.txt",
        ".git/config",
    ):
        (project / path).write_text("")
    monkeypatch.syspath_prepend(str(project))
    paths = [*(str(path.relative_to(project)) for path in sorted(project.rglob("*"))), "package/none.py", "none"]
    cases = [(action, f"{project}/{path}") for path in paths for action in ("open", "stat", "list")]
    cases += [("open", f"{project}/module.py", "a"), ("open", f"{project}/package/new.py", "w")]  # type: ignore[list-item]
    seen = inside(Policy(), cases)
    attempts.compare(Policy(), cases, seen)
    assert not would(Policy(), "open", f"{project}/.env")
    assert would(Policy(), "open", f"{project}/module.py")


@pytest.mark.parametrize("network", [False, True])
def test_connections_and_system_calls(network: bool) -> None:
    cases = [*CONNECTIONS, *SYSCALLS]
    policy = Policy(network=network)
    attempts.compare(policy, cases, inside(policy, cases))


def narrow(t: Path) -> list[Policy]:
    reading = SystemIO().allow_open_readonly().allow_read().allow_metadata().allow_close()
    interpreter = [Interpreter(), SystemIO().allow_ioctl()]
    return [
        Policy(mounts=[ro(t / "ro"), rw(t / "rw")], rules=[reading, SystemIO().allow_ioctl()]),
        Policy(mounts=[ro(t / "ro"), rw(t / "rw")], rules=[SystemIO.everything()]),
        Policy(
            mounts=[ro(t / "ro"), rw(t / "rw")],
            rules=[
                *interpreter,
                SystemIO()
                .allow_read_path(t / "ro" / "deep")
                .allow_list_dir(t / "ro")
                .allow_create_in_dir("/tmp")
                .allow_remove_file("/tmp"),
            ],
        ),
        Policy(network=True, rules=[*interpreter, Networking().allow_start_tcp_clients().allow_connect_ports(9)]),
        Policy(rules=[*interpreter, Custom("own", "getppid", "umask", "ptrace", Rule("prctl", Arg(0) == 3))]),
    ]


@pytest.mark.parametrize("index", range(5))
def test_rules(index: int, tree: Path) -> None:
    policy = narrow(tree)[index]
    files = [case for case in file_cases(tree) if "/rw/" not in str(case[1]) or case[2:] == ()]
    cases = [*files, *CONNECTIONS, *SYSCALLS]
    attempts.compare(policy, cases, inside(policy, cases))


def test_lists_that_rules_deny(tree: Path) -> None:
    """The directory is opened before the kernel hears that it is to be read."""
    policy = Policy(mounts=[ro(tree / "ro")], rules=[SystemIO().allow_open_readonly()])
    cases = [("list", case[1]) for case in file_cases(tree) if case[0] == "list" and "/rw/" not in case[1]]
    assert {code for _, code in inside(policy, cases)} >= {errno.EPERM, errno.ENOENT, errno.ENOTDIR}
    cases.append(("syscall", "getpid"))  # something that happens
    attempts.compare(policy, cases, inside(policy, cases))


def test_programs(tree: Path) -> None:
    policy = Policy.from_options(
        filled(tree), mounts=[*filled(tree).mounts, ro(tree / "tools"), ro(tree / "tools", "/plain", noexec=True)]
    )
    paths = [
        "/bin/true",
        "true",
        "/bin/sh",
        "no-such-program",
        f"{tree}/tools/tool",
        f"{tree}/tools/plain",
        "/plain/tool",
        "/usr/lib",
        "/etc/passwd",
        f"{tree}/outside",
        "/tmp/none",
        f"{tree}/ro/fifo",
    ]
    cases = [("run", path) for path in paths]
    with sandbox(policy=policy) as box:
        definitions = ATTEMPTS.read_text().replace("from __future__ import annotations", "")
        source = f"import json\n{definitions}\nprint(json.dumps(attempt_all(json.loads(input()))))"
        done = box.run([sys.executable, "-c", source], input=json.dumps(cases), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        attempts.compare(box, cases, [tuple(each) for each in json.loads(done.stdout)], program=True)
        denied = [(action, path) for action in ("run", "exec") for path in paths]
        assert {would(box, *case).errno for case in denied} == {errno.EPERM}
        assert set(box.call(attempts.attempt_all, denied)) == {(False, errno.EPERM)}


@pytest.mark.parametrize("policy", ["MEDIA", "IMAGES", Policy(rules=[Interpreter()])], ids=["MEDIA", "IMAGES", "own"])
def test_programs_of_a_block_with_rules(policy: Policy | str) -> None:
    """The process that starts them is not under the rules, which say nothing of clone(2); each program is."""
    cases = [("run", path) for path in ("true", "/bin/sh", "no-such-program", "/usr/lib", "/etc/passwd")]
    with sandbox(policy=policy) as box:
        seen = []
        for _, path in cases:
            try:
                box.run([path], capture_output=True)
                seen.append((True, 0))
            except OSError as error:
                seen.append((False, error.errno or 0))
        attempts.compare(policy, cases, seen, program=True)
        attempts.compare(box, cases, seen, program=True)
        assert not would(box, "run", "true")
        assert not would(box, "syscall", "clone", signal.SIGCHLD, program=True), "of the program itself"


def test_programs_of_a_function_whose_rules_have_them(tree: Path) -> None:
    rules = [Interpreter(), SystemIO.everything(), ForkAndExec(), Threads.everything()]
    policy = Policy(rules=rules, mounts=[ro("/bin"), ro("/usr/bin"), ro(tree / "tools")])
    cases = [("run", path) for path in ("/usr/bin/true", f"{tree}/tools/plain", f"{tree}/tools/tool", "/usr/bin/none")]
    attempts.compare(policy, cases, inside(policy, cases))


def test_where_denials_kill(tree: Path) -> None:
    policy = Policy(on_denied="kill")
    answer = would(policy, "syscall", "ptrace", 16, 1)
    assert (answer.permitted, answer.errno, answer.wall) == (False, 0, "filter")
    assert "kill process" in answer.reason
    with pytest.raises(SyscallDenied):
        inside(policy, [("syscall", "ptrace", 16, 1)])


# --- the answer itself --------------------------------------------------------------------------------------------------


def test_fixes_work_when_they_are_pasted_in(tree: Path) -> None:
    answer = would(Policy(), "open", f"{tree}/outside")
    assert answer.fix == f"add mounts=[ro({str(tree / 'outside')!r})]"
    assert would(Policy(mounts=[ro(tree / "outside")]), "open", f"{tree}/outside")
    answer = would(Policy(mounts=[ro(tree / "rw")]), "open", f"{tree}/rw/a", "w")
    assert answer.fix == f"in place of ro({str(tree / 'rw')!r}): rw({str(tree / 'rw')!r})"
    assert would(Policy(mounts=[rw(tree / "rw")]), "open", f"{tree}/rw/a", "w")
    answer = would(Policy(), "connect", "192.0.2.1", 443)
    assert answer.fix == "network=True"
    assert would(Policy(network=True), "connect", "192.0.2.1", 443)
    only = Policy(rules=[Interpreter()])
    answer = would(only, "syscall", "getppid")
    assert would(only, "syscall", "umask", 0).fix == "add FileChanges().allow_modes() to rules="
    assert answer
    assert would(only, "syscall", "nanosleep").fix == "add Threads().allow_sleep() to rules="
    assert would(Policy(rules=[Interpreter(), Threads().allow_sleep()]), "syscall", "nanosleep")
    paths = Policy(rules=[Interpreter(), SystemIO().allow_read_path("/usr")])
    assert would(paths, "open", "/etc/passwd").fix == "add SystemIO().allow_read_path('/etc/passwd') to rules="
    assert would(
        Policy(rules=[Interpreter(), SystemIO().allow_read_path("/usr").allow_read_path("/etc/passwd")]),
        "open",
        "/etc/passwd",
    )


def test_an_answer_says_itself() -> None:
    answer = would(Policy(), "open", "/etc/shadow")
    assert isinstance(answer, Answer)
    assert not answer
    assert str(answer) == (
        "open '/etc/shadow' with mode 'r': no (ENOENT): no mount shows it\n  try: add mounts=[ro('/etc/shadow')]"
    )
    assert json.loads(json.dumps(answer.as_dict()))["wall"] == "mounts"
    assert str(would(Policy(), "open", "/tmp/x", "w")).endswith(
        ": yes: the isolate's own, in memory, gone when it ends"
    )


def test_subjects() -> None:
    @isolated
    def plain() -> None: ...

    class Holder:
        @isolated(network=True)
        def method(self) -> None: ...

    assert not would(plain, "connect", "192.0.2.1", 443)
    assert would(Holder().method, "connect", "192.0.2.1", 443)
    assert would("NETWORK_CLIENT", "connect", "192.0.2.1", 443)
    assert not would("COMPUTE", "connect", "192.0.2.1", 443)
    with pytest.raises(PolicyError, match="has no policy"):
        would(len, "open", "/")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("opn", "/x"), "did you mean 'open'"),
        (("open",), "missing 1 required"),
        (("open", "/x", "rw"), "is not a mode"),
        (("open", ""), "is not a path"),
        (("open", "/x", "r", 3), "takes from"),
        (("connect", "h", 0), "is not a port"),
        (("connect", "h", "80"), "is not a port"),
        (("syscall", "opn"), "did you mean"),
        (("syscall", "open", "x"), "six numbers"),
    ],
)
def test_wrong_questions(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        would(Policy(), *arguments)
    assert said in str(refusal.value)


def test_asking_starts_nothing() -> None:
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        before = children.read()
    assert not would(Policy(name="never started"), "open", "/etc/shadow")
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        assert children.read() == before
