"""rules=[...] in isolates: exactly what a list permits, each denial beside the call that succeeds without the list."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Limits, isolated, ro, sandbox
from isolate_fn.dangerous import NoSeccomp
from isolate_fn.errors import CallRejected, ConflictingRules, IsolationError, PolicyError, SyscallDenied
from isolate_fn.rules import (
    Arg,
    BasicCapabilities,
    Custom,
    ForkAndExec,
    Interpreter,
    Networking,
    Pipes,
    Rule,
    RuleSet,
    Signals,
    SystemIO,
    Threads,
)

pytestmark = pytest.mark.needs("namespaces")

READING = SystemIO.nothing().allow_open_readonly().allow_read().allow_metadata().allow_close()


def inside(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return isolated(prewarm=0, **options)(function)(*args)


def open_a_file() -> str:
    with open("/proc/self/cmdline") as file:
        return type(file).__name__


def print_a_line() -> int:
    import os

    return os.write(1, b"a line\n")


def start_a_thread() -> bool:
    import threading

    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    thread.join()
    return done.is_set()


def pair_of_sockets() -> int:
    import socket

    return len(socket.socketpair())


def child_process() -> int:
    import os

    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make_code() -> int:
    import mmap

    return len(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))


# Each: what is done, the smallest list that permits it.
DENIED = {
    "open": (open_a_file, [READING]),
    "write": (print_a_line, [SystemIO.nothing().allow_stdout()]),
    "thread": (start_a_thread, [Threads.nothing().allow_create()]),
    "socketpair": (pair_of_sockets, ["socketpair"]),
    "rename": (lambda: __import__("os").rename("/tmp", "/tmp/x"), None),
}


@pytest.mark.parametrize("name", [name for name, (_, rules) in DENIED.items() if rules])
def test_a_list_permits_what_it_says_and_nothing_else(name: str) -> None:
    function, rules = DENIED[name]
    without_rules = inside(function, output="discard")
    assert inside(function, rules=rules, output="discard") == without_rules
    with pytest.raises((PermissionError, RuntimeError)):  # "can't start new thread"
        inside(function, rules=[], output="discard")


def test_the_whole_list_is_needed(tmp_path: Path) -> None:
    def rename() -> str:
        import os

        try:
            os.rename("/nowhere", "/nowhere/else")
        except OSError as failure:
            return errno.errorcode[failure.errno or 0]
        return ""

    assert inside(rename) == "ENOENT"
    assert inside(rename, rules=[]) == "EPERM"
    assert inside(rename, rules=["rename"]) == "ENOENT"


def test_an_empty_list_still_takes_and_gives_everything() -> None:
    big = os.urandom(3_000_000)
    echo = isolated(rules=[], reuse=True)(lambda *parts: parts)
    try:
        for value in (1, "text", big, [big, {"a": big[:10]}], None):
            assert echo(value) == (value,)
    finally:
        echo.close()


def test_exceptions_come_with_their_lines() -> None:
    def fail() -> None:
        raise ValueError("here")  # the line that is shown

    with pytest.raises(ValueError, match="here") as caught:
        inside(fail, rules=[])
    assert 'raise ValueError("here")  # the line that is shown' in str(caught.value.__cause__)


def test_children_and_programs_only_where_a_list_has_them() -> None:
    with pytest.raises(PermissionError):
        inside(child_process)
    with pytest.raises(PermissionError):
        inside(child_process, rules=[Threads.nothing().allow_create()])
    assert inside(child_process, rules=[ForkAndExec()]) == 7

    def program() -> str:
        import subprocess

        return subprocess.run(["/usr/bin/env", "echo", "ran"], capture_output=True, text=True, check=True).stdout

    mounts = [ro("/usr/bin")]
    with pytest.raises(PermissionError):
        inside(program, mounts=mounts)
    rules = [
        ForkAndExec(),
        Pipes(),
        SystemIO.nothing().allow_open_readonly().allow_metadata(),
        SystemIO.nothing().allow_read(),
    ]
    rules += [SystemIO.nothing().allow_write(), Signals()]
    assert inside(program, mounts=mounts, rules=rules) == "ran\n"
    with pytest.raises(PermissionError):
        inside(program, mounts=mounts, rules=[Pipes(), Interpreter()])


def test_a_tightened_base_set() -> None:
    w_xor_x = BasicCapabilities().restrict(Rule("mmap", Arg(2).masked(4) == 0))
    assert inside(make_code, rules=["ftruncate"]) == inside(make_code) == 4096
    with pytest.raises(PermissionError):
        inside(make_code, rules=[w_xor_x])
    assert inside(len, "four", rules=[w_xor_x]) == 4


def test_own_sets_and_conditions() -> None:
    class OnlyOwnPid(RuleSet):
        def conditional_rules(self) -> dict[str, list[Rule]]:
            return {"getsid": [Rule("getsid", Arg(0, bits=32) == 0)]}

    def ask(pid: int) -> int:
        import os

        try:
            return os.getsid(pid)
        except OSError as failure:
            return -(failure.errno or 0)

    assert inside(ask, 0, rules=[OnlyOwnPid()]) > 0
    assert inside(ask, 1, rules=[OnlyOwnPid()]) == -errno.EPERM
    assert inside(ask, 1, rules=[Custom("any", "getsid")]) != -errno.EPERM
    assert inside(ask, 1) != -errno.EPERM


def test_a_denial_can_kill() -> None:
    assert inside(open_a_file, on_denied="kill") == "TextIOWrapper"
    with pytest.raises(SyscallDenied):
        inside(open_a_file, rules=[], on_denied="kill")


@pytest.fixture
def two() -> Iterator[tuple[Path, Path]]:
    """Two directories with a file each, outside /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as root:
        os.chmod(root, 0o755)
        made = (Path(root, "one"), Path(root, "two"))
        for path in made:
            path.mkdir()
            (path / "note").write_text(path.name)
        yield made


@pytest.mark.needs("landlock")
def test_paths_of_a_list_narrow_the_mounts(two: tuple[Path, Path]) -> None:
    def read(path: str) -> str:
        with open(path) as file:
            return file.read()

    one, other = two
    mounts = [ro(one), ro(other)]
    rules = [SystemIO.nothing().allow_read_path(one)]
    for path in two:
        assert inside(read, f"{path}/note", mounts=mounts) == path.name
    assert inside(read, f"{one}/note", mounts=mounts, rules=rules) == "one"
    with pytest.raises(PermissionError):
        inside(read, f"{other}/note", mounts=mounts, rules=rules)
    single = [SystemIO.nothing().allow_read_path(one / "note")]
    assert inside(read, f"{one}/note", mounts=mounts, rules=single) == "one"


@pytest.mark.needs("landlock")
def test_a_path_that_is_not_inside_is_told(two: tuple[Path, Path]) -> None:
    with pytest.raises(CallRejected, match="does not exist inside") as caught:
        inside(len, "x", mounts=[ro(two[0])], rules=[SystemIO.nothing().allow_read_path(two[1])])
    assert not caught.value.ran
    assert "mounts=[ro(" in str(caught.value)


@pytest.mark.needs("landlock")
def test_threads_of_a_module_that_landlock_cannot_reach_are_told(run_python: Callable[..., str], two: Any) -> None:
    (two[0] / "threaded.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def work():\n    return 'ran'\n"
    )
    printed = run_python(
        """
        import threaded
        from isolate_fn import isolated
        from isolate_fn.rules import SystemIO, Threads
        print(isolated(threaded.work, rules=[Threads.nothing().allow_create()])())
        try:
            isolated(threaded.work, rules=[SystemIO.nothing().allow_read_path("/tmp")])()
        except Exception as error:
            print(type(error).__name__, "threads" in str(error), error.ran)
        """,
        path=(str(two[0]),),
    )
    assert printed == "ran\nCallRejected True False\n"


def test_wrong_lists_are_refused_before_anything_starts() -> None:
    stdout, writing = SystemIO.nothing().allow_stdout(), Custom("writing", "write")
    with pytest.raises(ConflictingRules) as conflict:
        inside(len, "x", rules=[stdout, writing])
    assert conflict.value.syscall == "write"
    assert conflict.value.sets == ("SystemIO", "writing")
    with pytest.raises(PolicyError, match="openat"):
        inside(len, "x", rules=["opanat"])
    with pytest.raises(ConflictingRules, match="NoSeccomp"):
        inside(len, "x", rules=[], accept=(NoSeccomp,))


def test_what_no_isolate_may_do_is_said() -> None:
    function = isolated(rules=["reboot", "getsid"])(len)
    (told,) = [line for line in function.enforcement().dropped if line.startswith("rules:")]
    assert "reboot" in told
    assert "getsid" not in told
    assert "rules" in function.enforcement().layers
    assert "rules" not in isolated(len).enforcement().layers


def test_a_reused_worker_keeps_its_rules() -> None:
    def attempt(path: str) -> int:
        with open(path) as file:
            return len(file.read(1))

    function = isolated(rules=[], reuse=True)(attempt)
    try:
        for _ in range(2):
            with pytest.raises(PermissionError):
                function("/proc/self/cmdline")
        with pytest.raises(CallRejected, match="Interpreter"):  # an argument of a module that nobody has imported
            function(Rule("read"))
    finally:
        function.close()


def test_an_interpreter_executed_anew_takes_them_too() -> None:
    assert inside(open_a_file, fresh_exec=True, rules=[READING]) == "TextIOWrapper"
    with pytest.raises(PermissionError):
        inside(open_a_file, fresh_exec=True, rules=[])


def test_with_the_network_of_the_host() -> None:
    def listen() -> int:
        import socket

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            return int(listener.getsockname()[1])

    assert inside(listen, network=True) > 0
    assert inside(listen, network=True, rules=[Networking.nothing().allow_start_tcp_servers().yes_really()]) > 0
    with pytest.raises(PermissionError):
        inside(listen, network=True, rules=[Networking.nothing().allow_start_tcp_clients()])


def test_programs_of_a_sandbox_run_under_the_list() -> None:
    script = ["/usr/bin/env", "sh", "-c", "echo word > /tmp/file && echo written"]
    mounts = [ro("/usr/bin")]
    with sandbox(mounts=mounts) as box:
        assert box.run(script, capture_output=True, text=True).stdout == "written\n"
    with sandbox(mounts=mounts, rules=[SystemIO.nothing().allow_stdout()]) as box:
        assert box.run(["/usr/bin/env", "echo", "said"], capture_output=True, text=True).stdout == "said\n"
        denied = box.run(script, capture_output=True, text=True)
        assert denied.stdout == ""
        assert denied.returncode != 0
        assert box.call(len, "four") == 4
        with pytest.raises(PermissionError):
            box.call(lambda: open("/proc/self/cmdline"))


def test_native_code_gets_no_further() -> None:
    """What is permitted is decided in the kernel, whoever asks."""

    def attack(*names: str) -> dict[str, int]:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        tried = {
            "open": lambda: libc.open(b"/proc/self/status", 0),
            "openat2": lambda: libc.syscall(437, -100, b"/proc/self/status", bytes(24), 24),
            "socket": lambda: libc.socketpair(1, 1, 0, ctypes.create_string_buffer(8)),
            "memfd": lambda: libc.memfd_create(b"x", 0),
            "seccomp": lambda: libc.syscall({"x86_64": 317}.get(os.uname().machine, 277), 1, 0, 0),
            "write to the channel": lambda: libc.write(3, b"x", 1),
            "read from the channel": lambda: libc.read(3, ctypes.create_string_buffer(1), 1),
            "recvmsg elsewhere": lambda: libc.recvmsg(0, bytes(64), 0x40),
            "stdout": lambda: libc.write(1, b"x", 1),
            "fork": libc.fork,
        }
        found = {}
        for name in names or tried:
            result = tried[name]()
            found[name] = ctypes.get_errno() if result == -1 else 0
        return found

    denied = inside(attack, rules=[], output="discard", limits=Limits(processes=8))
    assert set(denied.values()) <= {errno.EPERM, errno.ENOSYS}, denied
    assert set(inside(attack, "open", "socket", "stdout", output="discard").values()) == {0}


def test_errors_carry_what_a_list_would_have_to_say() -> None:
    with pytest.raises(IsolationError):
        inside(len, "x", rules=[Custom("impossible", Rule("write", Arg(0) == 1, Arg(0) == 2))])


@pytest.mark.needs("landlock>=4")
def test_ports_of_a_list_narrow_the_network() -> None:
    def connect(port: int) -> str:
        import socket

        with socket.socket() as client:
            try:
                client.connect(("127.0.0.1", port))
            except OSError as failure:
                return errno.errorcode[failure.errno or 0]
        return "connected"

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
        clients = Networking.nothing().allow_start_tcp_clients()
        for port in ports:
            assert inside(connect, port, network=True, rules=[clients]) == "connected"
        narrow = [clients.allow_connect_ports(ports[0])]
        assert inside(connect, ports[0], network=True, rules=narrow) == "connected"
        assert inside(connect, ports[1], network=True, rules=narrow) == "EACCES"
