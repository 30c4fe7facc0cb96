"""What ordinary programs do, each with the rule sets that it needs: run by test_essential.py in throwaway processes.

Each is a generator: up to its ``yield`` it imports and prepares, then it is put under its rule sets, and goes on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

READ_FILES = ("SystemIO().allow_open_readonly()", "SystemIO().allow_read()")
THREADS = "Threads().allow_create()"
PROGRAMS = ("ForkAndExec()", "Interpreter()")


class Program(NamedTuple):
    """One of them.

    Attributes:
        what: what it does, in words.
        run: the generator function.
        sets: the smallest list under which it works, beside BasicCapabilities.
        modules: of third parties.
    """

    what: str
    run: Callable[[], Iterator[None]]
    sets: tuple[str, ...]
    modules: tuple[str, ...]


PROGRAM: dict[str, Program] = {}


def needs(
    *sets: str, modules: tuple[str, ...] = ()
) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    def note(run: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        assert run.__doc__
        PROGRAM[run.__name__] = Program(run.__doc__, run, sets, modules)
        return run

    return note


# --- the interpreter -------------------------------------------------------------------------------------------------


@needs()
def memory() -> Iterator[None]:
    """allocate and free memory"""
    import gc

    yield
    blocks = [bytearray(10_000_000) for _ in range(5)]
    del blocks
    gc.collect()


@needs("SystemIO().allow_stdout()", "SystemIO().allow_stderr()")
def prints() -> Iterator[None]:
    """print to stdout and stderr"""
    yield
    print("out", flush=True)
    print("err", file=sys.stderr, flush=True)


@needs("SystemIO().allow_stdin()")
def reads_stdin() -> Iterator[None]:
    """read standard input"""
    yield
    assert sys.stdin.readline() == ""


@needs("Interpreter()")
def import_json() -> Iterator[None]:
    """import json for the first time"""
    for name in [name for name in sys.modules if name.split(".")[0] == "json"]:
        del sys.modules[name]
    yield
    import json

    assert json.loads("[1]") == [1]


@needs("Interpreter()")
def import_many() -> Iterator[None]:
    """import asyncio, ssl, sqlite3, ctypes, multiprocessing, decimal"""
    yield
    import asyncio  # noqa: F401
    import ctypes.util  # noqa: F401
    import decimal  # noqa: F401
    import multiprocessing.pool  # noqa: F401
    import sqlite3  # noqa: F401
    import ssl  # noqa: F401


@needs("Interpreter()", THREADS, modules=("numpy",))
def import_numpy() -> Iterator[None]:
    """import numpy and compute"""
    yield
    import numpy

    assert numpy.linalg.svd(numpy.eye(50))[1].sum() == 50
    numpy.random.default_rng(1).random()


@needs(modules=("numpy",))
def use_numpy() -> Iterator[None]:
    """compute with numpy, imported before"""
    import numpy

    yield
    assert numpy.linalg.svd(numpy.eye(50))[1].sum() == 50
    numpy.random.default_rng(1).random()


@needs()
def random_and_hashes() -> Iterator[None]:
    """random numbers and hashes"""
    import hashlib
    import random
    import secrets
    import uuid

    yield
    os.urandom(9)
    random.random()
    uuid.uuid4()
    secrets.token_hex()
    assert hashlib.sha256(b"x").hexdigest().startswith("2d71")


@needs()
def codecs_and_pickle() -> Iterator[None]:
    """pickle, and codecs found by name"""
    import decimal
    import io
    import pickle

    yield
    assert pickle.loads(pickle.dumps([decimal.Decimal(1)])) == [1]
    for codec in ("idna", "latin-1", "utf-16"):
        io.TextIOWrapper(io.BytesIO(), encoding=codec).write("x")


@needs()
def tracebacks() -> Iterator[None]:
    """show a traceback, log an exception"""
    import io
    import logging
    import traceback

    log = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(log)
    yield
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        traceback.format_exc()
        logging.exception("seen")
    assert "ZeroDivisionError" in log.stream.getvalue()


@needs()
def clocks() -> Iterator[None]:
    """read the time"""
    import datetime
    import time

    yield
    time.time(), time.monotonic(), time.process_time(), time.thread_time(), time.localtime()
    datetime.datetime.now()
    time.strptime("1", "%d")


@needs("Threads().allow_sleep()")
def sleep() -> Iterator[None]:
    """sleep"""
    import time

    yield
    time.sleep(0.01)


@needs("UserId().allow_get_groups()")
def identity() -> Iterator[None]:
    """ask who and where it is"""
    import platform
    import socket

    yield
    os.getuid(), os.getgid(), os.getppid(), os.getgroups(), os.cpu_count()
    platform.uname()
    socket.gethostname()


@needs("Time().allow_cpu_time()")
def limits_and_use() -> Iterator[None]:
    """read limits and what it has used"""
    import resource

    yield
    resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.getrusage(resource.RUSAGE_SELF)
    os.sched_getaffinity(0)


@needs("Signals().allow_wait()", "Signals().allow_timers()", "Signals().allow_raise(os.getpid())")
def signals_and_timers() -> Iterator[None]:
    """timers, and signals to itself"""
    import signal

    seen: list[int] = []
    for number in (signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: seen.append(number))
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    assert seen == [signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR1]


# --- files -----------------------------------------------------------------------------------------------------------


@needs(*READ_FILES)
def read_file() -> Iterator[None]:
    """read a file"""
    with open("f", "w") as file:
        file.write("text")
    yield
    with open("f") as file:
        assert file.read() == "text"
        file.seek(0)
        file.tell()


@needs("SystemIO().allow_open()", "SystemIO().allow_write()", "SystemIO().allow_read()")
def write_file() -> Iterator[None]:
    """write a file, cut it off, read it back"""
    yield
    with open("f", "w+") as file:
        file.write("text")
        file.flush()
        os.fsync(file.fileno())
        file.truncate(2)
        file.seek(0)
        assert file.read() == "te"


@needs("SystemIO().allow_open_readonly()", "SystemIO().allow_metadata()")
def look_at_files() -> Iterator[None]:
    """list directories, look at files"""
    import glob

    os.mkdir("d")
    yield
    assert os.listdir(".") == glob.glob("*") == ["d"]
    os.stat("d"), list(os.walk(".")), os.getcwd(), os.path.realpath("d"), os.access("d", os.R_OK)


@needs(
    "SystemIO().allow_open_readonly()",
    "SystemIO().allow_metadata()",
    "SystemIO().allow_unlink()",
    "SystemIO().allow_ioctl()",
    "FileChanges().allow_directories()",
    "FileChanges().allow_rename()",
    "FileChanges().allow_links()",
    "FileChanges().allow_modes()",
    "FileChanges().allow_times()",
)
def change_files() -> Iterator[None]:
    """make, rename, link, remove files and directories"""
    import shutil

    open("f", "w").close()
    yield
    os.mkdir("d")
    os.rename("f", "d/g")
    os.symlink("g", "d/l")
    os.link("d/g", "d/h")
    assert os.readlink("d/l") == "g"
    os.chmod("d/g", 0o600)
    os.utime("d/g")
    os.unlink("d/l")
    shutil.rmtree("d")


@needs(
    "SystemIO().allow_open()",
    "SystemIO().allow_metadata()",
    "SystemIO().allow_read()",
    "SystemIO().allow_write()",
    "FileChanges().allow_modes()",
    "FileChanges().allow_times()",
    "FileChanges().allow_attributes()",
)
def copy_file() -> Iterator[None]:
    """copy a file with shutil.copy2()"""
    import shutil

    with open("f", "w") as file:
        file.write("x")
    yield
    shutil.copy2("f", "g")
    shutil.disk_usage(".")


@needs(
    "SystemIO().allow_open()",
    "SystemIO().allow_metadata()",
    "SystemIO().allow_write()",
    "SystemIO().allow_unlink()",
    "SystemIO().allow_ioctl()",
    "FileChanges().allow_directories()",
)
def temporary_files() -> Iterator[None]:
    """temporary files and directories"""
    import random  # noqa: F401
    import tempfile

    yield
    with tempfile.TemporaryDirectory(dir=".") as directory, tempfile.NamedTemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()
        with tempfile.TemporaryFile(dir=directory) as other:
            other.write(b"y")


@needs("SystemIO().allow_open()", "SystemIO().allow_write()")
def archives() -> Iterator[None]:
    """write gzip and zip files"""
    import gzip
    import zipfile

    yield
    with gzip.open("g", "wb") as compressed, zipfile.ZipFile("z", "w") as archive:
        compressed.write(b"x")
        archive.writestr("a", "b")


@needs("Memory().allow_shared_files()", "SystemIO().allow_write()")
def map_file() -> Iterator[None]:
    """map a file, flush and resize the mapping"""
    import mmap

    file = open("f", "w+b")
    file.truncate(8192)
    yield
    with mmap.mmap(file.fileno(), 4096) as mapped:
        mapped[0] = 1
        mapped.flush()
        mapped.resize(8192)


@needs()
def sqlite_in_memory() -> Iterator[None]:
    """sqlite, in memory"""
    import sqlite3

    yield
    database = sqlite3.connect(":memory:")
    database.execute("create table t(a)")
    database.execute("insert into t values(1)")
    assert database.execute("select a from t").fetchall() == [(1,)]


@needs("Sqlite()")
def sqlite_in_a_file() -> Iterator[None]:
    """sqlite, in a file"""
    import sqlite3

    yield
    database = sqlite3.connect("db")
    database.execute("create table t(a)")
    database.execute("insert into t values(1)")
    database.commit()
    assert database.execute("select a from t").fetchall() == [(1,)]
    database.close()


@needs("Sqlite()")
def sqlite_with_a_log() -> Iterator[None]:
    """sqlite, in a file with a write-ahead log"""
    import sqlite3

    yield
    database = sqlite3.connect("db")
    assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    database.execute("create table t(a)")
    database.commit()
    database.close()
    assert not os.path.exists("db-wal")


@needs()
def tls_context() -> Iterator[None]:
    """make an ssl context"""
    import ssl

    yield
    ssl.create_default_context()


# --- threads and processes -------------------------------------------------------------------------------------------


@needs(THREADS)
def thread() -> Iterator[None]:
    """start and join a thread"""
    yield
    started = threading.Thread(target=sum, args=([1],))
    started.start()
    started.join()


@needs(THREADS)
def thread_pool() -> Iterator[None]:
    """a pool of threads"""
    import concurrent.futures

    yield
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(abs, [-1, 2])) == 3


@needs()
def timed_locks() -> Iterator[None]:
    """locks, events and queues with a timeout"""
    import queue

    yield
    threading.Lock().acquire(timeout=0.01)
    threading.Event().wait(0.01)
    lines: queue.Queue[int] = queue.Queue()
    lines.put(1)
    assert lines.get(timeout=0.01) == 1


@needs(THREADS)
def watchdog() -> Iterator[None]:
    """faulthandler's timer"""
    import faulthandler

    file = open("f", "w")
    yield
    faulthandler.dump_traceback_later(60, file=file)
    faulthandler.cancel_dump_traceback_later()


@needs("ForkAndExec()")
def fork() -> Iterator[None]:
    """fork"""
    yield
    child = os.fork()
    if child == 0:
        os._exit(3)
    assert os.waitpid(child, 0)[1] == 3 << 8


@needs(*PROGRAMS)
def run_program() -> Iterator[None]:
    """run a program"""
    import subprocess

    yield
    assert subprocess.run(["/bin/true"]).returncode == 0


@needs(*PROGRAMS, "Pipes()", "SystemIO().allow_write()")
def talk_to_program() -> Iterator[None]:
    """run a program, write to it and read from it"""
    import subprocess

    yield
    assert subprocess.run(["/bin/cat"], input=b"x", capture_output=True).stdout == b"x"


@needs(*PROGRAMS, "SystemIO().allow_write()")
def shell() -> Iterator[None]:
    """run a shell"""
    import subprocess

    yield
    assert subprocess.run("echo x | cat", shell=True, stdout=subprocess.PIPE).stdout == b"x\n"


@needs(*PROGRAMS)
def another_python() -> Iterator[None]:
    """run another Python"""
    import subprocess

    yield
    assert subprocess.run([sys.executable, "-I", "-c", "pass"]).returncode == 0


@needs("Multiprocessing()")
def multiprocessing_process() -> Iterator[None]:
    """multiprocessing: a process and a queue, by fork"""
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    lines = forking.SimpleQueue()
    process = forking.Process(target=lines.put, args=(5,))
    process.start()
    assert lines.get() == 5
    process.join()
    assert process.exitcode == 0


@needs("Multiprocessing()")
def multiprocessing_pool() -> Iterator[None]:
    """multiprocessing: a pool, by fork"""
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    with forking.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


@needs("Multiprocessing()")
def process_pool() -> Iterator[None]:
    """concurrent.futures: a pool of processes, by fork"""
    import concurrent.futures
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    with concurrent.futures.ProcessPoolExecutor(1, forking) as pool:
        assert pool.submit(abs, -1).result() == 1


@needs("Multiprocessing()", *PROGRAMS)
def multiprocessing_spawn() -> Iterator[None]:
    """multiprocessing: a process, by spawn"""
    import multiprocessing

    spawning = multiprocessing.get_context("spawn")
    yield
    process = spawning.Process(target=sum, args=([1],))
    process.start()
    process.join()
    assert process.exitcode == 0


@needs("Multiprocessing()", *PROGRAMS)
def shared_memory() -> Iterator[None]:
    """multiprocessing: shared memory"""
    from multiprocessing import resource_tracker, shared_memory

    yield
    block = shared_memory.SharedMemory(create=True, size=99)
    block.buf[0] = 1
    block.close()
    block.unlink()
    # The helper program that it starts really ran, too.
    tracker = resource_tracker._resource_tracker
    os.close(tracker._fd)
    tracker._fd = None
    assert os.waitpid(tracker._pid, 0)[1] == 0


@needs("Pipes()")
def descriptors() -> Iterator[None]:
    """pipes, and copies of descriptors"""
    yield
    reader, writer = os.pipe()
    assert not os.isatty(reader)
    copy = os.dup(writer)
    os.set_inheritable(copy, True)
    os.write(copy, b"x")
    assert os.read(reader, 1) == b"x"
    os.close(copy)


# --- sockets ---------------------------------------------------------------------------------------------------------


@needs("Networking().allow_start_tcp_clients()")
def tcp_client() -> Iterator[None]:
    """TCP client"""
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    yield
    connected = socket.create_connection(server.getsockname(), timeout=5)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.sendall(b"x")
    connected.shutdown(socket.SHUT_WR)
    connected.close()


@needs("Networking().allow_start_tcp_servers()", "Networking().allow_connect()")
def tcp_server() -> Iterator[None]:
    """TCP server, and a client that exists"""
    import contextlib
    import socket

    client = socket.socket()
    client.setblocking(False)
    yield
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)
    with contextlib.suppress(BlockingIOError):
        client.connect(server.getsockname())
    accepted, _ = server.accept()
    accepted.sendall(b"x")
    client.setblocking(True)
    assert client.recv(9) == b"x"
    accepted.close()


@needs("Networking().allow_start_udp_servers()")
def udp() -> Iterator[None]:
    """UDP both ways"""
    import socket

    yield
    bound = socket.socket(type=socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.sendto(b"x", bound.getsockname())
    assert bound.recv(9) == b"x"
    bound.close()


@needs("Networking().allow_start_unix_servers()", "Networking().allow_connect()")
def unix_sockets() -> Iterator[None]:
    """unix sockets"""
    import socket

    yield
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()
    client.connect("s")
    accepted, _ = server.accept()
    accepted.send(b"x")
    assert client.recv(9) == b"x"


@needs("Networking().allow_socketpair()")
def socket_pair() -> Iterator[None]:
    """a pair of sockets"""
    import socket

    yield
    one, other = socket.socketpair()
    one.send(b"x")
    assert other.recv(9) == b"x"


@needs("Networking().allow_running_tcp_clients()")
def waiting() -> Iterator[None]:
    """select, poll and epoll"""
    import select

    reader, _ = os.pipe()
    yield
    assert select.select([reader], [], [], 0.01) == ([], [], [])
    poll = select.poll()
    poll.register(reader)
    assert poll.poll(10) == []
    with select.epoll() as epoll:
        epoll.register(reader)
        assert epoll.poll(0.01) == []


@needs(*READ_FILES, "SystemIO().allow_metadata()")
def look_up_a_name() -> Iterator[None]:
    """look up a name in /etc/hosts"""
    import socket

    yield
    assert socket.getaddrinfo("localhost", 80)


@needs("Networking().allow_start_tcp_servers()", "Networking().allow_connect()", THREADS)
def http() -> Iterator[None]:
    """an HTTP server and its client, in threads"""
    import http.client
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *words: object) -> None: ...

    yield
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_port)
    client.request("GET", "/")
    assert client.getresponse().read() == b"hi"
    client.close()
    server.shutdown()
    serving.join()
    server.server_close()


# --- asyncio ---------------------------------------------------------------------------------------------------------


@needs("Asyncio()")
def asyncio_tasks() -> Iterator[None]:
    """asyncio: tasks that sleep"""
    import asyncio

    async def main() -> None:
        await asyncio.gather(asyncio.sleep(0.01), asyncio.sleep(0.01))

    yield
    asyncio.run(main())


@needs("Asyncio()", "Networking().allow_start_tcp_servers()", "Networking().allow_connect()")
def asyncio_streams() -> Iterator[None]:
    """asyncio: a server and its client"""
    import asyncio

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x\n")
        assert await reader.readline() == b"x\n"
        writer.close()
        server.close()

    yield
    asyncio.run(main())


@needs("Asyncio()", THREADS)
def asyncio_thread() -> Iterator[None]:
    """asyncio: a function in a thread"""
    import asyncio

    async def main() -> None:
        assert await asyncio.to_thread(abs, -1) == 1

    yield
    asyncio.run(main())


@needs("Asyncio()", *PROGRAMS)
def asyncio_program() -> Iterator[None]:
    """asyncio: a program"""
    import asyncio

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 0

    yield
    asyncio.run(main())
