"""Promise 4: nothing of the caller's environment, arguments, descriptors, memory, keys, terminal or directory leaks in.

Each look finds its secret where the wall is away. Secrets are made anew for each test, and asked for in two halves.
"""

from __future__ import annotations

import errno
import os
import pty
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path

import native
import pytest
from support import IDLE_TIMEOUT, run_without

from isolate_fn import sandbox

pytestmark = pytest.mark.needs("namespaces")

EPERM, EACCES, ENOENT, ENOTTY = -errno.EPERM, -errno.EACCES, -errno.ENOENT, -errno.ENOTTY
FILES = ("mounts", "landlock")
PATH = [str(Path(native.__file__).parents[2]), str(Path(native.__file__).parent)]


@pytest.fixture
def halves():
    """Give the two halves of a secret; joined they exist nowhere yet."""
    return secrets.token_hex(16), secrets.token_hex(16)


def in_fresh_caller(script, *arguments, **environment):
    """Run a script as the caller and return what it printed."""
    head = f"import sys\nsys.path[:0] = {PATH!r}\nimport conftest, native, os\nfrom support import run_without\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(script), *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def forked(function, *arguments):
    """Call a function in a plain fork of this process: what an isolate would be without exec."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        os.write(there, repr(function(*arguments)).encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here) as answer:
        found = answer.read()
    os.waitpid(pid, 0)
    return found


def test_environment():
    """EN-01: in os.environ, in /proc, and in the memory where the kernel put it."""
    value = secrets.token_hex(16)
    script = """
        first, second = sys.argv[1:3]
        print(run_without((), native.environment))
        print(run_without((), native.in_memory, first, second))
        print(run_without((), native.in_memory, first, second, env={"GRANTED": os.environ["SECRET"]}) != [])
    """
    known = {"SECRET": value, "PYTHONHASHSEED": "7", "LD_LIBRARY_PATH": "/x"}
    names, memory, granted = in_fresh_caller(script, value[:16], value[16:], **known)
    allowed = {"HOME", "LANG", "LANGUAGE", "PATH", "PWD", "TMPDIR", "TZ"}
    seen = set(eval(names))
    assert {name for name in seen if not name.startswith("LC_")} <= allowed
    assert memory == "[]"
    assert granted == "True"  # the search finds what is there


def test_arguments_of_the_caller():
    """EN-02: on its command line, and so in its memory."""
    value = secrets.token_hex(16)
    script = """
        first, second, joined = sys.argv[1:4]
        print(run_without((), native.read, "/proc/self/cmdline"))
        print(run_without((), native.read, f"/proc/{os.getpid()}/cmdline"))
        print(run_without((), native.in_memory, first, second))
        print(joined.encode() in run_without(("mounts", "landlock"), native.read, f"/proc/{os.getpid()}/cmdline"))
    """
    own, other, memory, control = in_fresh_caller(script, value[:16], value[16:], value)
    assert value not in own
    assert "launcher.py" in own
    assert other == str(ENOENT)
    assert memory == "[]"
    assert control == "True"


def test_memory_of_the_caller(halves):
    """EN-03: an isolate is executed, not forked. A fork, which this tries too, has everything."""
    held = "".join(halves)
    assert run_without((), native.in_memory, *halves) == []
    assert forked(native.in_memory, *halves) != "[]"
    assert held == halves[0] + halves[1]


def test_memory_of_the_call_before(halves):
    """Neither the worker nor the spawner, from which the next worker is forked, keeps anything of a call."""

    def keep(text):
        import builtins

        builtins.kept = text

    held = "".join(halves)
    run_without((), keep, held)
    assert run_without((), native.in_memory, *halves) == []
    # One worker for several calls is one trust domain.
    with sandbox(idle_timeout=IDLE_TIMEOUT) as box:
        box.call(keep, held)
        assert box.call(native.in_memory, *halves) != []


def test_addresses_and_random_numbers_are_not_the_callers():
    """EN-03, EN-09: neither layout nor canary nor random state of the caller; and isolates differ in the last."""

    def look():
        import ctypes
        import random

        libc = ctypes.CDLL(None)
        libc.getauxval.restype = ctypes.c_ulong
        return ctypes.string_at(libc.getauxval(25), 16), random.getrandbits(128)

    first, second = run_without((), look), run_without((), look)
    mine = look()
    assert first[0] != mine[0]
    assert first[1] != second[1] != mine[1]
    assert forked(lambda: look()[0]) == repr(mine[0])


def test_descriptors(host, secret, weaken):
    """FS-09, EN-04: files, pipes and sockets that the caller lets its children inherit."""
    file = os.open(secret, os.O_RDWR)
    os.set_inheritable(file, True)
    try:
        for fresh in ("1", "2"):
            assert run_without((), native.descriptors, env={"FRESH": host.name + fresh}) == NUMBERS
        source = "first_calls.close_from = calls.close_from = lambda first: None"
        found = run_without(("self-check",), native.held_text, **weaken(source))
        assert b"the host's secret" in found
        assert run_without((), native.held_text, env={"FRESH": host.name + "3"}) == []
    finally:
        os.close(file)


# Null device, two pipes, and the channel.
NUMBERS = [(0, "character device"), (1, "pipe"), (2, "pipe"), (3, "socket")]


def test_the_callers_end_of_the_channel():
    """SO_PEERPIDFD would be a handle of the caller's process, across every namespace; labels and groups leak, too."""
    pidfd, groups, label = 77, 59, 31

    def ask():
        import ctypes

        import native

        found = []
        for option in (pidfd, groups, label):
            buffer, size = ctypes.create_string_buffer(64), ctypes.c_uint(64)
            found.append(native.call("getsockopt", 3, 1, option, buffer, ctypes.byref(size)))
        return found

    assert run_without((), ask) == [EPERM] * 3
    given = run_without(("seccomp",), ask)
    if given[0] == -errno.ENOPROTOOPT:
        pytest.skip("SO_PEERPIDFD needs Linux 6.5")
    assert given[:2] == [0, 0]


def test_keyrings():
    """KS-04: keyrings are in no namespace. The filter, and a session keyring of its own."""
    script = """
        if native.call("keyctl", 1, 0) < 0:
            print("missing")
            raise SystemExit
        key = native.call("add_key", "user", "attack", b"the key", 7, -3)
        for walls in ((), ("keyring",), ("seccomp",), ("seccomp", "keyring")):
            print(run_without(walls, native.key, key))
    """
    found = in_fresh_caller(script)
    if found == ["missing"]:
        pytest.skip("this kernel has no keyrings")
    assert found == [str(EPERM), str(EPERM), str(EACCES), str(b"the key")]


TERMINAL = """
    import contextlib, os
    from isolate_fn._runtime import spawner_client

    def terminal():
        import native
        opened = native.call("openat", -100, "/dev/tty", os.O_RDWR | os.O_NOCTTY)
        pushed = [native.call("ioctl", number, 0x5412, b"x") for number in (0, 1, 2, 3)]
        high = [native.call("ioctl", number, 0x5412 | 1 << 32, b"x") for number in (0, 1, 2, 3)]
        return opened, pushed, high, os.getsid(0) == os.getpid()

    print(run_without((), terminal))
    print(run_without(FILES, terminal)[0])
    # Without a session of its own, from spawner to worker.
    plain = os.posix_spawn
    os.posix_spawn = lambda *arguments, setsid, **more: plain(*arguments, **more)
    print(run_without((*FILES, "session"), terminal, env={"FRESH": "1"})[0] >= 0)
    """.replace("FILES", repr(FILES))


@pytest.mark.needs("interpreter")
def test_terminal():
    """TT-01: characters pushed into the caller's terminal are commands to its shell."""
    assert os.path.exists("/dev/tty")
    head = f"import sys\nsys.path[:0] = {PATH!r}\nimport conftest\nfrom support import run_without\n"
    script = head + textwrap.dedent(TERMINAL)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", script])
    text = b""
    while True:
        try:
            text += os.read(terminal, 4096)
        except OSError:  # EIO: the other side has closed
            break
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, text
    inside, sessioned, control = text.decode().splitlines()
    assert inside == str((ENOENT, [ENOTTY] * 4, [ENOTTY] * 4, True))
    assert int(sessioned) == -errno.ENXIO
    assert control == "True"


@pytest.mark.needs("interpreter")
def test_working_directory(host):
    """Neither its name nor the directory itself."""
    before = os.getcwd()
    os.chdir(host)
    try:

        def look(path):
            import native

            return os.getcwd(), os.readlink("/proc/self/cwd"), native.read(path), open("/proc/self/mountinfo").read()

        (host / "secret").write_text("here")
        name, link, content, mounts = run_without((), look, "secret", env={"FRESH": host.name})
        assert (name, link, content) == ("/work", "/work", ENOENT)
        assert host.name not in mounts
        # The spawner has left the caller's directory as well; without the mounts its root is the host's.
        name, link, content, _ = run_without(FILES, look, "secret", env={"FRESH": host.name})
        assert (name, link, content) == ("/", "/", ENOENT)
        name, link, content, _ = run_without(FILES, look, str(host).lstrip("/") + "/secret", env={"FRESH": host.name})
        assert (name, link, content) == ("/", "/", b"here")
    finally:
        os.chdir(before)


def test_names_of_host_and_users():
    def look():
        import pwd

        return os.uname().nodename, sorted(entry.pw_name for entry in pwd.getpwall()), open("/etc/hosts").read()

    name, users, hosts = run_without((), look)
    assert name == "isolate"
    assert users == ["isolate", "nobody"]
    assert "localhost" in hosts
    if os.path.exists("/etc/hosts") and os.uname().nodename != "localhost":
        assert os.uname().nodename not in hosts
    assert run_without(("namespaces",), look)[0] == os.uname().nodename
    assert "root" in run_without(FILES, look)[1]


@pytest.mark.needs("root")
def test_groups_of_the_caller():
    """A supplementary group opens files to it: docker, disk, shadow."""
    script = """
        os.setgroups([4, 6, 999])
        print(run_without((), native.status, "Groups")[0]["Groups"] == "")
        print(run_without(("groups",), native.status, "Groups")[0]["Groups"] != "")
    """
    assert in_fresh_caller(script) == ["True", "True"]


def test_control_groups_of_the_host():
    """The names of control groups tell of containers and users."""
    own = Path("/proc/self/cgroup").read_text()
    inside = run_without((), native.read, "/proc/self/cgroup").decode()
    assert all(line.endswith(":/") for line in inside.splitlines())
    assert run_without(("namespaces",), native.read, "/proc/self/cgroup").decode() == own


def test_what_proc_still_tells():
    """EN-05: known and documented: the host id, and the host paths of what is mounted; of nothing else."""
    host_id = run_without((), native.read, "/proc/self/uid_map").split()
    assert host_id[0] == b"1000"
    assert host_id[2] == b"1"
    roots = {root for root, _, _, _ in run_without((), native.mountinfo)}
    assert not any(root.startswith(("/home/", "/root/.ssh", "/etc/shadow", "/var/log")) for root in roots)
