"""Real programs under the real filters: what each policy is for must work, what it is against must not.

One interpreter per group of checks: it installs the filter, runs every check, and prints one JSON object with
what happened to each. A check that is killed ends the interpreter, and the test shows the last one started.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from isolate_fn._plan.seccomp import ALLOW, SyscallPolicy, compile_filter
from isolate_fn._plan.seccomp_base import init_filter, worker_filter
from isolate_fn._sys import numbers

MACHINE = platform.machine()
SECCOMP = str(numbers.table(MACHINE)["seccomp"]) if MACHINE in numbers.MACHINES else ""
pytestmark = pytest.mark.skipif(MACHINE not in numbers.MACHINES, reason="no system call table for this machine")

PRELUDE = """
import ctypes, errno, json, os, sys, traceback

def install(path, number):
    program = open(path, "rb").read()
    libc = ctypes.CDLL(None, use_errno=True)
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = Program(len(program) // 8, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.syscall(number, 1, 1, ctypes.byref(fprog)) == 0, os.strerror(ctypes.get_errno())

results = {}

def check(function):
    sys.stderr.write(f"started {function.__name__}\\n")
    try:
        function()
    except ModuleNotFoundError as error:
        results[function.__name__] = f"skipped: {error}"
    except OSError as error:
        traceback.print_exc()
        results[function.__name__] = errno.errorcode.get(error.errno, str(error))
    except BaseException as error:
        traceback.print_exc()
        results[function.__name__] = repr(error)
    else:
        results[function.__name__] = "ok"
    return function

install(sys.argv[1], int(sys.argv[2]))
"""

PYTHON = """
@check
def threads():
    import threading
    from concurrent.futures import ThreadPoolExecutor
    thread = threading.Thread(target=lambda: None, name="named")
    thread.start()
    thread.join()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(abs, range(20))) == list(range(20))
    assert not threading.Lock().acquire(False) is None
    assert threading.Event().wait(0.01) is False

@check
def asyncio_loop():
    import asyncio
    async def main():
        await asyncio.sleep(0.001)
        assert await asyncio.to_thread(len, "abc") == 3
        left, right = __import__("socket").socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        right.sendall(b"line\\n")
        assert await reader.readline() == b"line\\n"
        writer.close()
        right.close()
        await writer.wait_closed()
    asyncio.run(main())

@check
def database():
    import sqlite3, tempfile
    with tempfile.TemporaryDirectory() as directory:
        with sqlite3.connect(f"{directory}/file.db") as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table t (x)")
            database.executemany("insert into t values (?)", [(1,), (2,)])
        assert sqlite3.connect(f"{directory}/file.db").execute("select sum(x) from t").fetchone() == (3,)

@check
def files():
    import mmap, pathlib, shutil, tempfile
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        one = directory / "one"
        one.write_bytes(b"x" * 5000)
        one.chmod(0o600)
        os.utime(one, (1, 1))
        shutil.copy2(one, directory / "two")
        (directory / "two").rename(directory / "three")
        os.link(one, directory / "four")
        os.symlink("one", directory / "five")
        os.truncate(directory / "three", 10)
        assert os.readlink(directory / "five") == "one"
        assert {path.name for path in directory.iterdir()} == {"one", "three", "four", "five"}
        with open(one, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:3] = b"abc"
            mapped.flush()
            mapped.resize(9000)
        shutil.make_archive(str(directory / "archive"), "tar", directory, "one")
        shutil.disk_usage(directory)
        os.statvfs(directory)
    with tempfile.NamedTemporaryFile() as file, tempfile.SpooledTemporaryFile(4) as other:
        file.write(b"x"); other.write(b"x" * 10)

@check
def archives():
    import gzip, io, tarfile, zipfile
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("name", b"content")
    assert zipfile.ZipFile(stream).read("name") == b"content"
    assert gzip.decompress(gzip.compress(b"x" * 1000)) == b"x" * 1000

@check
def sockets_and_waiting():
    import select, selectors, socket
    left, right = socket.socketpair()
    left.settimeout(1)
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10000)
    right.sendall(b"x")
    assert select.select([left], [], [], 1)[0] == [left]
    with selectors.DefaultSelector() as selector:
        selector.register(left, selectors.EVENT_READ)
        assert selector.select(1)
    poll = select.poll(); poll.register(left); poll.poll(0)
    assert left.recv(1) == b"x"
    reader, writer = os.pipe()
    socket.send_fds(left, [b"fd"], [writer])
    message, descriptors, _, _ = socket.recv_fds(right, 10, 1)
    os.write(descriptors[0], b"through")
    assert os.read(reader, 10) == b"through"
    left.shutdown(socket.SHUT_WR)
    left.close(); right.close()

@check
def time_and_signals():
    import resource, signal, time
    time.sleep(0.001)
    time.process_time(); time.thread_time(); os.times(); time.localtime(); time.strftime("%c")
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGALRM, lambda *_: seen.append(2))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    assert seen == [1, 1, 2]
    resource.getrusage(resource.RUSAGE_SELF)
    resource.getrlimit(resource.RLIMIT_NOFILE)

@check
def identity():
    import getpass, platform, pwd, socket, uuid
    os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.getlogin if 0 else None
    os.cpu_count(), os.sched_getaffinity(0), os.getloadavg(), os.uname(), os.path.expanduser("~")
    platform.machine(); uuid.uuid4(); os.urandom(8); os.isatty(0); socket.gethostname()

@check
def a_program_that_may_be_missing():
    import platform
    platform.platform()  # asks uname(1), and goes on without it

@check
def numerics():
    import numpy
    matrix = numpy.random.default_rng(1).random((200, 200))
    assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(200))
    numpy.linalg.svd(matrix); numpy.sort(matrix); numpy.fft.fft(matrix)

@check
def images():
    import io
    from PIL import Image
    image = Image.new("RGB", (300, 200), "red")
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        stream = io.BytesIO()
        image.save(stream, kind)
        loaded = Image.open(io.BytesIO(stream.getvalue()))
        loaded.thumbnail((50, 50))
        assert loaded.size == (50, 33)

@check
def markup():
    from lxml import etree
    assert etree.fromstring(b"<a><b>x</b></a>").findtext("b") == "x"

@check
def native_code():
    import ctypes
    qsort = ctypes.CDLL(None).qsort
    array = (ctypes.c_int * 4)(3, 1, 2, 0)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    qsort(array, 4, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
    assert list(array) == [0, 1, 2, 3]

@check
def modules():
    import ast, csv, decimal, email, hashlib, html, http.client, inspect, json, logging, lzma, multiprocessing
    import pickle, random, re, secrets, ssl, statistics, tokenize, urllib.request, xml.dom.minidom, zoneinfo
    ssl.create_default_context()
    hashlib.sha256(b"x"); "x".encode("idna"); decimal.Decimal(1) / 3

@check
def locks_across_processes():
    import fcntl, tempfile
    with tempfile.TemporaryFile() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
"""

DENIED = """
import ctypes, signal, socket, subprocess, tempfile

@check
def child_process():
    os.fork()

@check
def program():
    subprocess.run(["true"])

@check
def shell():
    assert os.system("true") == 0

@check
def internet():
    socket.socket()

@check
def unix_socket():
    socket.socket(socket.AF_UNIX)

@check
def datagram_pair():
    socket.socketpair(type=socket.SOCK_DGRAM)

@check
def memory_file():
    os.memfd_create("x")

@check
def set_user_id_file():
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0o4755)

@check
def lease():
    import fcntl
    with tempfile.NamedTemporaryFile() as name, open(name.name) as file:
        name.close()
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)

@check
def raising_a_limit():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 1))

@check
def namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) == -1:
        raise OSError(ctypes.get_errno(), "unshare")

@check
def peer_process():
    left, right = socket.socketpair()
    left.getsockopt(socket.SOL_SOCKET, 77, 4)
"""

TOOLS = """
import subprocess, tempfile

def sh(script, **options):
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, **options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout

@check
def shell():
    assert sh("for i in 3 1 2; do echo $i; done | sort | tr '\\\\n' ' '") == "1 2 3 "
    assert sh("set -m; (exit 3) & wait $!; echo $?") == "3\\n"
    assert sh("x=$(mktemp -d); cd $x; echo a > f; cat <(cat f) f; trap 'echo bye' EXIT") == "a\\na\\nbye\\n"

@check
def coreutils():
    sh('''set -e; cd "$(mktemp -d)"; mkdir -p a/b; echo x > a/f; mkfifo never 2> refused && exit 1
       cp -r --preserve=mode,timestamps,links a c; mv c d; ln -s a/f link; ln a/f hard
       touch -d yesterday a/f; chmod 640 a/f; stat a/f; ls -laR .; find . -type f -exec wc -c {} +; du .; df .
       head -c 1000 /dev/zero | sha256sum; seq 1000 | sort -rn | uniq | tail -n 1
       dd if=/dev/zero of=z bs=1k count=4; tar czf x.tgz a; tar xzf x.tgz --no-same-owner -C d
       xargs echo < link; rm -r a d; nproc; uname -a; date; id -u; sleep 0.01; timeout 1 true; nohup true
       setsid true; env true''')

@check
def another_python():
    code = "import json, threading; t = threading.Thread(target=print, args=('hi',)); t.start(); t.join()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "hi\\n"

@check
def pool():
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]

@check
def asynchronous():
    import asyncio
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        assert (await process.communicate(b"x"))[0] == b"x"
    asyncio.run(main())

@check
def new_session():
    subprocess.run(["true"], check=True, start_new_session=True)
    subprocess.run(["true"], check=True, close_fds=False)
    assert os.posix_spawnp("true", ["true"], {}) > 0
    os.wait()

@check
def transcoding():
    import shutil
    if shutil.which("ffmpeg") is None:
        raise ModuleNotFoundError("ffmpeg")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc=d=0.2:s=64x64",
                        "-c:v", "mpeg4", f"{directory}/out.mp4"], check=True)
        assert os.path.getsize(f"{directory}/out.mp4") > 500
"""

NETWORK = """
import socket, threading

@check
def tcp():
    server = socket.create_server(("127.0.0.1", 0))
    def serve():
        connection, _ = server.accept()
        connection.sendall(connection.recv(10).upper())
        connection.close()
    thread = threading.Thread(target=serve); thread.start()
    client = socket.create_connection(server.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(b"abc")
    assert client.recv(10) == b"ABC"
    thread.join(); client.close(); server.close()

@check
def udp():
    one, two = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    one.bind(("127.0.0.1", 0)); two.sendto(b"x", one.getsockname())
    assert one.recv(1) == b"x"

@check
def names():
    assert socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

@check
def servers():
    import http.server, urllib.request
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        thread = threading.Thread(target=server.serve_forever); thread.start()
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read()
        server.shutdown(); thread.join()

@check
def streams():
    import asyncio
    async def main():
        async def answer(reader, writer):
            writer.write(await reader.readline()); await writer.drain(); writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\\n")
        assert await reader.readline() == b"line\\n"
        writer.close(); server.close()
    asyncio.run(main())

@check
def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)

@check
def netlink():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)

@check
def unix_socket():
    socket.socket(socket.AF_UNIX)
"""

PID_1 = """
import select, signal, socket, time
left, right = PAIR

@check
def waiting():
    left.sendall(b"x")
    assert right.recv(1) == b"x"
    poll = select.poll(); poll.register(left, select.POLLIN); assert poll.poll(1) == []
    time.sleep(0.001)
    right.sendmsg([b"status"]); assert left.recvmsg(10)[0] == b"status"

@check
def reading_proc():
    for name in ("stat", "status", "statm", "smaps_rollup"):
        with open(f"/proc/self/{name}") as file:
            assert file.read()
    assert "self" in os.listdir("/proc")
    os.statvfs("/")

@check
def reaping():
    pid, status = os.waitpid(CHILD, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass

@check
def killing():
    os.kill(os.getpid(), 0)

@check
def allocating():
    data = [bytearray(100_000) for _ in range(100)]
    del data

@check
def forking():
    os.fork()

@check
def writing():
    open("never", "w")

@check
def executable_memory():
    mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ)
"""


def outcomes(tmp_path: Path, program: bytes, script: str, before: str = "") -> dict[str, str]:
    """Run the checks of a script under a filter; return check -> "ok", "skipped: ...", or what it raised."""
    (tmp_path / "filter").write_bytes(program)
    source = textwrap.dedent(before) + PRELUDE + script + "\nprint(json.dumps(results))\n"
    (tmp_path / "script.py").write_text(source)
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-B", tmp_path / "script.py", tmp_path / "filter", SECCOMP],
        capture_output=True, text=True, timeout=60, cwd=work, env={**os.environ, "TMPDIR": str(work)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    if any(value not in ("ok", "EPERM") for value in json.loads(ran.stdout.splitlines()[-1]).values()):
        sys.stderr.write(ran.stderr)
    found: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def failures(tmp_path: Path, program: bytes, script: str, before: str = "") -> dict[str, str]:
    """Run the checks; return what failed, without what fails in the same way under a filter that allows everything.

    Libraries may be missing, and an interpreter may be half broken for an ordinary user: not the filter's doing.
    """
    failed = _not_ok(outcomes(tmp_path, program, script, before))
    if failed:
        everything = compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW), MACHINE)
        control = _not_ok(outcomes(tmp_path, everything, script, before))
        failed = {name: value for name, value in failed.items() if control.get(name) != value}
    return failed


def _not_ok(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if value != "ok" and not value.startswith("skipped")}


@pytest.mark.parametrize("on_denied", ["errno", "kill"])
def test_what_python_does_works_in_a_worker(tmp_path: Path, on_denied: str) -> None:
    program = worker_filter(MACHINE, on_denied="kill" if on_denied == "kill" else "errno")
    # Where denials kill, starting a program does too.
    script = PYTHON.replace("platform.platform()", "pass") if on_denied == "kill" else PYTHON

    assert failures(tmp_path, program, script) == {}


def test_what_a_worker_must_not_do_fails_with_its_errno(tmp_path: Path) -> None:
    found = outcomes(tmp_path, worker_filter(MACHINE), DENIED)

    failed_otherwise = {"shell": "AssertionError()", "raising_a_limit": "ValueError"}
    for name, value in found.items():
        expected = failed_otherwise.get(name, "EPERM")
        assert value.startswith(expected), (name, value)
    assert len(found) == 12


def test_the_same_acts_succeed_without_the_filter(tmp_path: Path) -> None:
    """The control: a knob counts when what it denies works without it."""
    program = compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW), MACHINE)
    script = DENIED.replace(
        "    os.fork()\n", "    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n"
    )
    found = outcomes(tmp_path, program, script)

    worked = {name for name, value in found.items() if value == "ok"}
    assert worked >= {
        "child_process",
        "program",
        "shell",
        "internet",
        "unix_socket",
        "datagram_pair",
        "memory_file",
    }
    assert worked >= {"set_user_id_file", "lease"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("on_denied", ["errno", "kill"])
def test_tools_work_where_programs_may_be_started(tmp_path: Path, on_denied: str) -> None:
    program = worker_filter(MACHINE, exec=True, on_denied="kill" if on_denied == "kill" else "errno")

    assert failures(tmp_path, program, TOOLS) == {}


def test_connections_work_where_the_network_is_granted(tmp_path: Path) -> None:
    found = failures(tmp_path, worker_filter(MACHINE, network=True), NETWORK)

    refused = {"raw_socket": "EAFNOSUPPORT", "netlink": "EAFNOSUPPORT", "unix_socket": "EAFNOSUPPORT"}
    assert found == refused


def test_pid_1_can_do_its_work_and_no_more(tmp_path: Path) -> None:
    before = """
    import mmap, os, socket
    PAIR = socket.socketpair()
    CHILD = os.fork()
    if CHILD == 0:
        os._exit(3)
    """
    found = _not_ok(outcomes(tmp_path, init_filter(MACHINE), PID_1, before))

    assert found == {"forking": "EPERM", "writing": "EPERM", "executable_memory": "EPERM"}


def test_an_interpreter_starts_and_ends_under_the_filter(tmp_path: Path) -> None:
    """The filter of tools stands before execve: start-up, daemon threads and finalisation are under it."""
    code = "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    script = f"import os\nos.execv(sys.executable, [sys.executable, '-c', {code!r}])\n"
    (tmp_path / "filter").write_bytes(worker_filter(MACHINE, exec=True))
    (tmp_path / "script.py").write_text(PRELUDE + script)

    subprocess.run([sys.executable, tmp_path / "script.py", tmp_path / "filter", SECCOMP], check=True, timeout=30)


def test_abort_is_an_abort(tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(worker_filter(MACHINE))
    (tmp_path / "script.py").write_text(PRELUDE + "os.abort()\n")
    ran = subprocess.run([sys.executable, tmp_path / "script.py", tmp_path / "filter", SECCOMP], timeout=30)

    assert ran.returncode == -signal.SIGABRT


def test_waits_go_on_after_a_stop(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT during a timed wait: the kernel resumes it through restart_syscall(2)."""
    (tmp_path / "filter").write_bytes(worker_filter(MACHINE))
    waits = """
import select, threading, time
lock = threading.Lock(); lock.acquire()
print("waiting", flush=True)
assert lock.acquire(timeout=0.3) is False
reader, writer = os.pipe()
poll = select.poll(); poll.register(reader, select.POLLIN)
print("waiting", flush=True)
assert poll.poll(300) == []
print("done")
"""
    (tmp_path / "script.py").write_text(PRELUDE + waits)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path / "filter", SECCOMP],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=20)[0] == "done\n"
    assert process.returncode == 0
