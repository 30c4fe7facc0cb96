"""What ordinary Python programs need: each works under the smallest list of rule sets, and fails without any of them.

Each workload runs in a throwaway process under its list, and once more for every set of the list without that set. So
no list is longer than it must be. docs/safety-context.md prints the table; a test here keeps the two equal.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from isolate_fn._sys.numbers import table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "safety-context.md"

READ_FILES = ("SystemIO().allow_open_readonly()", "SystemIO().allow_read()")
IMPORT = ("Interpreter()",)
THREADS = ("Threads().allow_create()",)
PROGRAMS = ("ForkAndExec()", "Interpreter()")


class Workload(NamedTuple):
    """One thing that programs do.

    Attributes:
        what: for the table.
        before: code that runs first, unrestricted: imports, files, sockets.
        inside: the code that needs the sets.
        sets: the smallest list that lets it work.
        python: versions that need this list; others have a line of their own.
    """

    what: str
    before: str
    inside: str
    sets: tuple[str, ...]
    python: tuple[int, int] = (11, 99)


WORKLOADS = [
    Workload("allocate and free memory", "import gc", "x = [bytearray(10_000_000) for _ in range(5)]; del x; gc.collect()", ()),
    Workload("print to stdout and stderr", "", "print('x', flush=True); print('', end='', file=sys.stderr, flush=True)",
             ("SystemIO().allow_stdout()", )),
    Workload("read standard input", "", "assert sys.stdin.readline() == ''", ("SystemIO().allow_stdin()",)),
    Workload("import a module of the standard library", "", "import colorsys", IMPORT),
    Workload("import json for the first time", "for name in [n for n in sys.modules if n.startswith('json')]: del sys.modules[name]", "import json; assert json.loads('[1]') == [1]", IMPORT),
    Workload("import many modules", "", "import asyncio, ssl, sqlite3, ctypes.util, multiprocessing.pool, decimal", IMPORT),
    Workload("import numpy and compute", "", "import numpy; assert numpy.linalg.svd(numpy.eye(50))[1].sum() == 50; numpy.random.default_rng(1).random()", (*IMPORT, *THREADS)),
    Workload("compute with numpy, imported before", "import numpy", "assert numpy.linalg.svd(numpy.eye(50))[1].sum() == 50; numpy.random.default_rng(1).random()", ()),
    Workload("read a file", "open('f', 'w').write('text')", "file = open('f'); assert file.read() == 'text'; file.seek(0); file.tell(); file.close()", READ_FILES),
    Workload("write a file", "", "file = open('f', 'w+'); file.write('text'); file.flush(); os.fsync(file.fileno()); file.truncate(2); file.seek(0); assert file.read() == 'te'; file.close()",
             ("SystemIO().allow_open()", "SystemIO().allow_write()", "SystemIO().allow_read()")),
    Workload("list and look at files", "os.mkdir('d'); import glob", "os.listdir('.'); os.stat('d'); list(os.walk('.')); os.getcwd(); os.path.realpath('d'); os.access('d', os.R_OK); glob.glob('*')",
             ("SystemIO().allow_open_readonly()", "SystemIO().allow_metadata()")),
    Workload("make, rename, link, remove files",  "open('f', 'w').close(); import shutil",
             "os.mkdir('d'); os.rename('f', 'd/g'); os.symlink('g', 'd/l'); os.link('d/g', 'd/h'); os.readlink('d/l'); os.chmod('d/g', 0o600); os.utime('d/g'); os.unlink('d/l'); shutil.rmtree('d')",
             ("SystemIO().allow_open_readonly()", "SystemIO().allow_metadata()", "SystemIO().allow_unlink()", "SystemIO().allow_ioctl()", "FileChanges().allow_directories()", "FileChanges().allow_rename()",
              "FileChanges().allow_links()", "FileChanges().allow_modes()", "FileChanges().allow_times()")),
    Workload("shutil.copy2", "open('f', 'w').write('x'); import shutil", "shutil.copy2('f', 'g'); shutil.disk_usage('.')",
             ("SystemIO().allow_open()", "SystemIO().allow_metadata()", "SystemIO().allow_read()", "SystemIO().allow_write()", "FileChanges().allow_modes()", "FileChanges().allow_times()",
              "FileChanges().allow_attributes()")),
    Workload("temporary files and directories", "import tempfile, random",
             """
             with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as file, tempfile.TemporaryFile(dir=d) as other:
                 file.write(b'x'); file.flush(); other.write(b'y')
             """,
             ("SystemIO().allow_open()", "SystemIO().allow_metadata()", "SystemIO().allow_write()", "SystemIO().allow_unlink()", "SystemIO().allow_ioctl()", "FileChanges().allow_directories()")),
    Workload("start and join a thread", "", "t = threading.Thread(target=sum, args=([1],)); t.start(); t.join()", THREADS),
    Workload("a pool of threads", "import concurrent.futures", "with concurrent.futures.ThreadPoolExecutor(3) as pool: assert sum(pool.map(abs, [-1, 2])) == 3", THREADS),
    Workload("locks, events and queues with a timeout", "import queue", "threading.Lock().acquire(timeout=.01); threading.Event().wait(.01); e = queue.Queue(); e.put(1); assert e.get(timeout=.01)", ()),
    Workload("sleep", "import time", "time.sleep(.01)", ("Threads().allow_sleep()",)),
    Workload("read the time", "import time, datetime", "time.time(); time.monotonic(); time.process_time(); time.localtime(); datetime.datetime.now(); time.strptime('1', '%d')", ()),
    Workload("run a program", "import subprocess", "assert subprocess.run(['/bin/true']).returncode == 0", PROGRAMS),
    Workload("run a program and talk to it", "import subprocess", "assert subprocess.run(['/bin/cat'], input=b'x', capture_output=True).stdout == b'x'",
             (*PROGRAMS, "Pipes()", "SystemIO().allow_write()")),
    Workload("run a shell", "import subprocess", "assert subprocess.run('echo x | cat', shell=True, stdout=subprocess.PIPE).stdout == b'x\\n'", (*PROGRAMS, "SystemIO().allow_write()")),
    Workload("run another Python", "import subprocess", "assert subprocess.run([sys.executable, '-I', '-c', 'pass']).returncode == 0", PROGRAMS),
    Workload("fork", "", "p = os.fork(); p or os._exit(3); assert os.waitpid(p, 0)[1] == 3 << 8", ("ForkAndExec()",)),
    Workload("multiprocessing: process and queue, by fork", "import multiprocessing as mp; fork = mp.get_context('fork')",
             "q = fork.SimpleQueue(); p = fork.Process(target=q.put, args=(5,)); p.start(); assert q.get() == 5; p.join(); assert p.exitcode == 0", ("Multiprocessing()",)),
    Workload("multiprocessing: pool, by fork", "import multiprocessing as mp; fork = mp.get_context('fork')", "with fork.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]",
             ("Multiprocessing()",)),
    Workload("multiprocessing: spawn", "import multiprocessing as mp; spawn = mp.get_context('spawn')", "p = spawn.Process(target=print); p.start(); p.join(); assert p.exitcode == 0",
             ("Multiprocessing()", "ForkAndExec()", "Interpreter()")),
    Workload("multiprocessing: shared memory", "from multiprocessing import resource_tracker, shared_memory",
             """
             m = shared_memory.SharedMemory(create=True, size=99); m.buf[0] = 1; m.close(); m.unlink()
             tracker = resource_tracker._resource_tracker; os.close(tracker._fd); tracker._fd = None
             assert os.waitpid(tracker._pid, 0)[1] == 0, 'the helper program did not run'
             """,
             ("Multiprocessing()", "ForkAndExec()", "Interpreter()")),
    Workload("a process pool", "import concurrent.futures, multiprocessing as mp; fork = mp.get_context('fork')", "with concurrent.futures.ProcessPoolExecutor(1, fork) as pool: assert pool.submit(abs, -1).result() == 1",
             ("Multiprocessing()",)),
    Workload("TCP client", "import socket; server = socket.create_server(('127.0.0.1', 0))",
             "s = socket.create_connection(server.getsockname(), timeout=5); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); s.sendall(b'x'); s.shutdown(socket.SHUT_WR); s.close()",
             ("Networking().allow_start_tcp_clients()",)),
    Workload("TCP server", "import socket; client = socket.socket(); client.setblocking(False)",
             """
             server = socket.create_server(('127.0.0.1', 0)); server.settimeout(5)
             try: client.connect(server.getsockname())
             except BlockingIOError: pass
             c, _ = server.accept(); c.sendall(b'x'); client.setblocking(True); assert client.recv(9) == b'x'; c.close(); server.close()
             """,
             ("Networking().allow_start_tcp_servers()", "Networking().allow_connect()")),
    Workload("UDP both ways", "import socket", "s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); s.sendto(b'x', s.getsockname()); assert s.recv(9) == b'x'; s.close()",
             ("Networking().allow_start_udp_servers()",)),
    Workload("unix sockets", "import socket", "s = socket.socket(socket.AF_UNIX); s.bind('s'); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect('s'); d, _ = s.accept(); d.send(b'x'); assert c.recv(9) == b'x'",
             ("Networking().allow_start_unix_servers()", "Networking().allow_connect()")),
    Workload("a pair of sockets", "import socket", "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(9) == b'x'; a.close()", ("Networking().allow_socketpair()",)),
    Workload("look a name up in /etc/hosts", "import socket", "assert socket.getaddrinfo('localhost', 80)", (*READ_FILES, "SystemIO().allow_metadata()")),
    Workload("HTTP server and client in threads",
             "import http.server, http.client, io",
             """
             class Handler(http.server.BaseHTTPRequestHandler):
                 def do_GET(self): self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'hi')
                 def log_message(self, *a): pass
             server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
             t = threading.Thread(target=server.serve_forever, args=(.05,)); t.start()
             c = http.client.HTTPConnection('127.0.0.1', server.server_port); c.request('GET', '/'); assert c.getresponse().read() == b'hi'; c.close()
             server.shutdown(); t.join(); server.server_close()
             """,
             ("Networking().allow_start_tcp_servers()", "Networking().allow_connect()", *THREADS)),
    Workload("asyncio: sleep and tasks", "import asyncio",
             "async def main(): await asyncio.gather(asyncio.sleep(.01), asyncio.sleep(.01))\nasyncio.run(main())", ("Asyncio()",)),
    Workload("asyncio: streams", "import asyncio",
             """
             async def main():
                 async def serve(r, w): w.write(await r.readline()); await w.drain(); w.close()
                 server = await asyncio.start_server(serve, '127.0.0.1', 0)
                 r, w = await asyncio.open_connection(*server.sockets[0].getsockname()); w.write(b'x\\n'); assert await r.readline() == b'x\\n'
                 w.close(); server.close()
             asyncio.run(main())
             """, ("Asyncio()", "Networking().allow_start_tcp_servers()", "Networking().allow_connect()")),
    Workload("asyncio: a thread", "import asyncio", "async def main(): assert await asyncio.to_thread(abs, -1) == 1\nasyncio.run(main())", ("Asyncio()", *THREADS)),
    Workload("asyncio: a program", "import asyncio", "async def main(): p = await asyncio.create_subprocess_exec('/bin/true'); assert await p.wait() == 0\nasyncio.run(main())",
             ("Asyncio()", *PROGRAMS)),
    Workload("select, poll and epoll", "import select; r, w = os.pipe()", "select.select([r], [], [], .01); p = select.poll(); p.register(r); p.poll(10); e = select.epoll(); e.register(r); e.poll(.01); e.close()",
             ("Networking().allow_running_tcp_clients()",)),
    Workload("sqlite in memory", "import sqlite3", "d = sqlite3.connect(':memory:'); d.execute('create table t(a)'); d.execute('insert into t values(1)'); assert d.execute('select a from t').fetchall() == [(1,)]", ()),
    Workload("sqlite in a file", "import sqlite3", "d = sqlite3.connect('db'); d.execute('create table t(a)'); d.execute('insert into t values(1)'); d.commit(); assert d.execute('select a from t').fetchall() == [(1,)]; d.close()",
             ("Sqlite()",)),
    Workload("sqlite in a file, write-ahead log", "import sqlite3", "d = sqlite3.connect('db'); assert d.execute('pragma journal_mode=wal').fetchone() == ('wal',); d.execute('create table t(a)'); d.commit(); d.close(); assert not os.path.exists('db-wal')",
             ("Sqlite()",)),
    Workload("ssl context with the system's certificates", "import ssl", "ssl.create_default_context(); ssl.create_default_context().load_default_certs()", ()),
    Workload("random numbers and hashes", "import random, uuid, hashlib, secrets", "os.urandom(9); random.random(); uuid.uuid4(); hashlib.sha256(b'x').hexdigest(); secrets.token_hex()", ()),
    Workload("signals and timers", "hits = []; signal.signal(signal.SIGALRM, lambda *_: hits.append(1)); signal.signal(signal.SIGUSR1, lambda *_: hits.append(2))",
             "signal.setitimer(signal.ITIMER_REAL, .05); signal.pause(); os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1); assert hits == [1, 2, 2]",
             ("Signals().allow_wait()", "Signals().allow_timers()", "Signals().allow_raise(os.getpid())")),
    Workload("show a traceback", "import logging, traceback, io", "log = logging.StreamHandler(io.StringIO()); logging.getLogger().addHandler(log)\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.format_exc(); logging.exception('x')\nassert 'ZeroDivisionError' in log.stream.getvalue()", ()),
    Workload("map a file", "import mmap; f = open('f', 'w+b'); f.truncate(8192)", "m = mmap.mmap(f.fileno(), 4096); m[0] = 1; m.flush(); m.resize(8192); m.close()",
             ("SystemIO().allow_ioctl()", "Memory().allow_shared_files()", "SystemIO().allow_write()")),
    Workload("gzip and zip files", "import gzip, zipfile", "with gzip.open('g', 'wb') as g, zipfile.ZipFile('z', 'w') as z: g.write(b'x'); z.writestr('a', 'b')", ("SystemIO().allow_open()", "SystemIO().allow_write()")),
    Workload("who am I", "import platform, pwd, socket", "os.getuid(); os.getgid(); os.getppid(); os.getgroups(); platform.uname(); socket.gethostname(); os.cpu_count()", ("UserId().allow_get_groups()",)),
    Workload("read limits and use", "import resource", "resource.getrlimit(resource.RLIMIT_NOFILE); resource.getrusage(resource.RUSAGE_SELF); os.sched_getaffinity(0)", ("Time().allow_cpu_time()",)),
    Workload("descriptors: pipe, dup, isatty", "", "r, w = os.pipe(); os.isatty(r); d = os.dup(r); os.set_inheritable(d, True); os.close(d)", ("Pipes()",)),
    Workload("faulthandler's timer", "import faulthandler, time; f = open('f', 'w')", "faulthandler.dump_traceback_later(60, file=f); faulthandler.cancel_dump_traceback_later()", THREADS),
    Workload("pickle, codecs", "import pickle, pathlib, decimal", "pickle.loads(pickle.dumps([pathlib.Path('x'), decimal.Decimal(1)])); 'x'.encode('idna'); 'x'.encode('latin-1'); 'x'.encode('utf-16')", ()),
]  # fmt: skip

VERSION = sys.version_info[1]
HERE = [workload for workload in WORKLOADS if workload.python[0] <= VERSION <= workload.python[1]]


def run_under(locked: Any, workload: Workload, sets: tuple[str, ...]) -> Any:
    apply = (
        f"SafetyContext().enable(BasicCapabilities(), {''.join(f'{each}, ' for each in sets)}).apply_to_all_threads()\n"
    )
    return locked(workload.before, apply + textwrap.dedent(workload.inside).strip(), input="")


@pytest.mark.parametrize("workload", HERE, ids=lambda workload: workload.what)
def test_works_under_its_list(locked: Any, workload: Workload) -> None:
    if "numpy" in workload.what:
        pytest.importorskip("numpy")
    done = run_under(locked, workload, workload.sets)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    ("workload", "dropped"),
    [
        pytest.param(each, index, id=f"{each.what} without {each.sets[index]}")
        for each in HERE
        for index in range(len(each.sets))
    ],
)
def test_fails_without_any_of_it(locked: Any, workload: Workload, dropped: int) -> None:
    if "numpy" in workload.what:
        pytest.importorskip("numpy")
    sets = tuple(each for index, each in enumerate(workload.sets) if index != dropped)
    done = run_under(locked, workload, sets)
    assert done.returncode != 0, "it works without: the list is longer than it must be"


# --- SIGSTOP and SIGCONT while something waits with a timeout -------------------------------------------------------

WAITS = {
    # what waits: (imports, wait, the call that the kernel shows, sets)
    "lock": ("", "assert not lock.acquire(timeout=.5)", "futex", ""),
    "poll": ("import select", "assert select.poll().poll(500) == []", "poll", "Pipes()"),
    "sleep": ("import time", "time.sleep(.5)", "clock_nanosleep", "Threads().allow_sleep()"),
    "select": ("import select", "assert select.select([], [], [], .5) == ([], [], [])", "pselect6", "Pipes()"),
}


def stopped_while_waiting(what: str, basic: str, tmp_path: Path) -> int:
    """Stop a child with SIGSTOP as soon as it waits, let it go on, and return how it ended."""
    imports, wait, call, sets = WAITS[what]
    script = f"""
import os, sys, threading
{imports}
from isolate_fn import SafetyContext
from isolate_fn.rules import *
lock = threading.Lock()
lock.acquire()
SafetyContext().enable({basic}, {sets}).apply_to_all_threads()
{wait}
os._exit(3)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    process = Path(f"/proc/{child.pid}")
    numbers_of_call = {str(table(os.uname().machine).get(name)) for name in (call, f"p{call}")}
    try:
        wait_until(lambda: process.joinpath("syscall").read_text().split()[0] in numbers_of_call, child)
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T", child)
        child.send_signal(signal.SIGCONT)
        return child.wait(30)
    finally:
        child.kill()
        child.wait()


def wait_until(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert child.poll() is None, f"ended with {child.returncode} before it waited"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("what", WAITS)
def test_a_timed_wait_survives_stop_and_continue(what: str, tmp_path: Path) -> None:
    assert stopped_while_waiting(what, "BasicCapabilities()", tmp_path) == 3


@pytest.mark.parametrize("what", ["lock", "poll"])
def test_and_does_not_without_restart_syscall(what: str, tmp_path: Path) -> None:
    """A timed lock aborts the process then: glibc does not know what to make of futex(2) failing with EPERM."""
    status = stopped_while_waiting(what, "BasicCapabilities().without('restart_syscall')", tmp_path)
    assert status < 0 if what == "lock" else status == 1  # without tgkill(2) abort(3) ends in SIGSEGV
