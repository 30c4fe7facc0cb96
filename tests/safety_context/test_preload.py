"""What CPython would load too late: with the preload it is there, without it the same program fails.

Every module of the table in `isolate_fn._enforce.preload` has a program here that uses it without naming it, or as error
handlers do. Both times the module is forgotten before the context is applied, because this package may have imported it
for its own purposes; then it is preloaded, or not.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest

from isolate_fn._enforce import preload

VERSION = sys.version_info[1]

FORGET = """
from isolate_fn._api import safety_apply
def _forget(load=safety_apply.load_what_comes_later, preload={preload}):
    for name in {modules!r}.split():
        sys.modules.pop(name, None)
        package, _, attribute = name.rpartition(".")
        if package in sys.modules:
            vars(sys.modules[package]).pop(attribute, None)
    # As in a script: "" in its place (python -c) takes getcwd(2), and another error where that is denied.
    sys.path[:] = filter(None, sys.path)
    if preload:
        load()
safety_apply.load_what_comes_later = _forget

def unless_import_error(action):
    '''Only what could not be imported counts; that files and programs are denied is what the context is for.'''
    try:
        action()
    except ImportError:
        raise
    except Exception:
        pass
"""


class Late(NamedTuple):
    """Something that imports when it is used.

    Attributes:
        owner: the line of the table.
        modules: what it imports.
        before: what the program does first.
        inside: the use.
        sets: rule sets beside BasicCapabilities.
        python: versions where it imports late.
    """

    owner: str
    modules: str
    before: str
    inside: str
    sets: str = ""
    python: tuple[int, int] = (11, 99)


FAILING = """
import traceback
with open("m.py", "w", encoding="utf-8") as file:
    file.write("def fail(x):\\n    return x['\\u00e4'] / 0 + x['b']\\n")
sys.path.insert(0, os.getcwd())
import m
"""
READ = FAILING + "import linecache; linecache.getlines(m.__file__)"
SHOW = "try: m.fail({'\\u00e4': 1, 'b': 2})\nexcept ZeroDivisionError: assert 'return x' in traceback.format_exc()"
METADATA = "SystemIO().allow_metadata()"  # a changed source file is not shown
SHARED = (
    "Multiprocessing(), Threads().allow_create(), SystemIO().allow_read_path('/dev/shm').allow_write_file('/dev/shm')"
    ".allow_create_in_dir('/dev/shm').allow_remove_file('/dev/shm')"
)
FORK = "import multiprocessing; fork = multiprocessing.get_context('fork')"

LATE = [
    Late("", "traceback", "", "try: 1 / 0\nexcept ZeroDivisionError: import traceback; traceback.format_exc()"),
    Late("", "tokenize", FAILING, "try: m.fail({})\nexcept KeyError: assert 'KeyError' in traceback.format_exc()", python=(13, 99)),
    Late("", "traceback linecache tokenize", "", "try: 1 / 0\nexcept ZeroDivisionError: import traceback; traceback.format_exc()"),
    Late("", "ast", READ, SHOW, METADATA),
    Late("", "unicodedata", READ, SHOW, METADATA, python=(12, 99)),
    Late("", "unicodedata", "", "assert eval('\"\\\\N{SNOWMAN}\"') == '\\u2603'"),
    Late("", "warnings", "thread = threading.current_thread()", "import io; sys.stderr = io.StringIO(); thread.setName('late')"),
    Late("", "re", "import warnings", "warnings.filterwarnings('ignore', 'late')"),
    Late("", "_strptime locale calendar", "import time", "time.strptime('1', '%d')"),
    Late("", "_strptime", "import datetime", "datetime.datetime.strptime('1', '%d')"),
    Late("", "_pylong", "sys.set_int_max_str_digits(0)", "assert len(str(10 ** 200000)) == 200001", python=(12, 99)),
    Late("", "decimal _decimal _pylong", "sys.set_int_max_str_digits(0)", "assert len(str(10 ** 200000)) == 200001", python=(12, 99)),
    Late("", "copy", "import collections\nclass Mine(collections.UserDict): pass", "Mine(a=1).copy()"),
    Late("", "heapq", "import collections", "assert collections.Counter('aab').most_common(1) == [('a', 2)]"),
    Late("", "types", "import functools", "functools.singledispatch(len)"),
    Late("", "weakref", "import functools", "functools.singledispatch(len)"),
    Late("argparse", "shutil", "import argparse", "argparse.ArgumentParser().format_help()"),
    Late("argparse", "textwrap", "import argparse", "assert 'late' in argparse.ArgumentParser(description='late').format_help()"),
    Late("asyncio", "concurrent.futures.thread", "import asyncio", "async def main(): assert await asyncio.to_thread(abs, -1) == 1\nasyncio.run(main())", "Asyncio(), Threads().allow_create()"),
    Late("concurrent.futures", "concurrent.futures.thread", "import concurrent.futures", "concurrent.futures.ThreadPoolExecutor"),
    Late("concurrent.futures", "concurrent.futures.process", "import concurrent.futures", "concurrent.futures.ProcessPoolExecutor"),
    Late("email.feedparser", "email.message", "import email.feedparser", "email.feedparser.FeedParser().feed('a: b')"),
    Late("email.message", "email.generator", "import email.message", "m = email.message.Message(); m['a'] = 'b'; assert m.as_string() == 'a: b\\n\\n'"),
    Late("email.message", "email.policy", "import email.message", "email.message.EmailMessage()"),
    Late("functools", "typing", "import functools", "@functools.singledispatch\ndef f(x): pass\n@f.register\ndef g(x: int): pass"),
    Late("gettext", "locale", "import gettext; os.environ['LANGUAGE'] = 'de'", "gettext.find('x')", METADATA),
    Late("multiprocessing", "multiprocessing.popen_fork multiprocessing.util multiprocessing.connection", FORK,
         "p = fork.Process(target=print); p.start(); p.join(); assert p.exitcode == 0", SHARED),
    Late("multiprocessing", "multiprocessing.synchronize", FORK, "with fork.Lock(): pass", SHARED),
    Late("multiprocessing", "multiprocessing.queues", FORK, "q = fork.SimpleQueue(); q.put(1); assert q.get() == 1", SHARED),
    Late("multiprocessing", "multiprocessing.pool", FORK, "with fork.Pool(1) as pool: assert pool.map(abs, [-1]) == [1]", SHARED),
    Late("multiprocessing", "multiprocessing.sharedctypes", FORK, "assert fork.RawValue('i', 5).value == 5", SHARED),
    Late("multiprocessing", "multiprocessing.heap multiprocessing.sharedctypes", FORK, "assert fork.RawValue('i', 5).value == 5", SHARED),
    Late("multiprocessing", "multiprocessing.managers", FORK, "unless_import_error(fork.Manager)"),
    Late("multiprocessing", "tempfile", f"{FORK}; import multiprocessing.util", "unless_import_error(multiprocessing.util.get_temp_dir)"),
    Late("multiprocessing", "logging", FORK, "fork.get_logger()"),
    Late("multiprocessing", "hmac", "import multiprocessing.connection", "unless_import_error(lambda: multiprocessing.connection.deliver_challenge(None, b'x'))", python=(11, 11)),
    Late("multiprocessing", "hmac", "import multiprocessing.connection", "multiprocessing.connection._create_response(b'x', b'{sha256}' + bytes(32))", python=(12, 99)),
    Late("multiprocessing", "multiprocessing.popen_spawn_posix", "import multiprocessing; p = multiprocessing.get_context('spawn').Process(target=print)", "unless_import_error(p.start)"),
    Late("multiprocessing", "multiprocessing.resource_tracker multiprocessing.popen_spawn_posix", "import multiprocessing; p = multiprocessing.get_context('spawn').Process(target=print)", "unless_import_error(p.start)"),
    Late("multiprocessing", "multiprocessing.popen_forkserver", "import multiprocessing; p = multiprocessing.get_context('forkserver').Process(target=print)", "unless_import_error(p.start)"),
    Late("multiprocessing", "multiprocessing.forkserver multiprocessing.popen_forkserver", "import multiprocessing; p = multiprocessing.get_context('forkserver').Process(target=print)", "unless_import_error(p.start)"),
    Late("numpy", "", "import numpy as np", "np.random.default_rng(1).random()"),
    Late("numpy", "", "import numpy as np", "np.fft.fft([1, 2])"),
    Late("platform", "struct", "import platform", "platform.architecture()"),
    Late("random", "hashlib _sha2 _sha512", "import random", "random.seed('text')", python=(13, 99)),
    Late("shutil", "tarfile", "import shutil", "unless_import_error(lambda: shutil.make_archive('a', 'tar'))"),
    Late("shutil", "zipfile", "import shutil", "unless_import_error(lambda: shutil.make_archive('a', 'zip'))"),
    Late("socketserver", "traceback", "import socketserver, io; server = socketserver.BaseServer(None, None)", "sys.stderr = io.StringIO(); server.handle_error(None, 'peer')"),
    Late("sqlite3", "sqlite3.dump", "import sqlite3; d = sqlite3.connect(':memory:')", "assert list(d.iterdump())"),
    Late("typing", "inspect", "import typing\n@typing.runtime_checkable\nclass P(typing.Protocol):\n    a: int", "assert not isinstance(1, P)", python=(12, 99)),
    Late("urllib.request", "http.cookiejar", "import urllib.request", "urllib.request.HTTPCookieProcessor()"),
    Late("urllib.request", "email.utils", "import urllib.request", "unless_import_error(lambda: urllib.request.FileHandler().open_local_file(urllib.request.Request('file:///x')))"),
    Late("urllib.request", "mimetypes", "import urllib.request", "unless_import_error(lambda: urllib.request.FileHandler().open_local_file(urllib.request.Request('file:///x')))"),
    Late("urllib.request", "ftplib", "import urllib.request", "unless_import_error(lambda: urllib.request.FTPHandler().ftp_open(urllib.request.Request('ftp://localhost/x')))"),
    Late("uuid", "hashlib", "import uuid", "uuid.uuid5(uuid.NAMESPACE_DNS, 'x')"),
    Late("xml.dom.minidom", "xml.dom.expatbuilder", "import xml.dom.minidom", "xml.dom.minidom.parseString('<a/>')"),
    Late("xml.sax", "xml.sax.expatreader", "import xml.sax, xml.sax.handler", "xml.sax.parseString('<a/>', xml.sax.handler.ContentHandler())"),
    Late("zoneinfo", "importlib.resources", "import zoneinfo", "unless_import_error(lambda: zoneinfo.ZoneInfo('No/Where'))"),
]  # fmt: skip


def needed(late: Late) -> None:
    if late.owner == "numpy":
        pytest.importorskip("numpy")


def lines() -> list[Any]:
    here = [late for late in LATE if late.python[0] <= VERSION <= late.python[1]]
    return [
        pytest.param(late, id=f"{late.owner or 'interpreter'}: {late.modules} {late.inside[-30:]}") for late in here
    ]


def under(locked: Any, late: Late, *, loaded: bool) -> Any:
    before = f"{late.before}\n{FORGET.format(modules=late.modules, preload=loaded)}"
    apply = f"SafetyContext().enable('write', 'fstat', {late.sets}).apply_to_current_thread()\n"
    names = [name for name in ("np", "numpy") if name in late.before]
    return locked(before, "".join(f"global {name}\n" for name in names) + apply + late.inside)


@pytest.mark.parametrize("late", lines())
def test_it_is_there(locked: Any, late: Late) -> None:
    needed(late)
    done = under(locked, late, loaded=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("late", lines())
def test_it_fails_without_the_preload(locked: Any, late: Late) -> None:
    needed(late)
    done = under(locked, late, loaded=False)
    assert done.returncode == 1, f"needs no preload on 3.{VERSION}"


def test_every_module_of_the_table_has_a_program() -> None:
    programs = {(late.owner, module) for late in LATE for module in late.modules.split()}
    programs |= {("numpy", "numpy.fft"), ("numpy", "numpy.random")}  # cannot be imported a second time
    table = {(owner, module) for owner, modules in preload.LATER.items() for module in modules.split()}
    assert table <= programs


@pytest.mark.parametrize("codec", preload.CODECS.split())
def test_codecs_are_there(locked: Any, codec: str) -> None:
    """Opening a file looks its codec up, whatever shortcuts str.encode() has."""
    use = (
        f"SafetyContext().enable('write').apply_to_current_thread(); io.TextIOWrapper(io.BytesIO(), encoding={codec!r})"
    )
    done = locked("import io", use)
    assert done.returncode == 0, done.stderr
    never = "from isolate_fn._api import safety_apply; safety_apply.load_what_comes_later = lambda: None; import io"
    started_with = {"utf-8", "utf-8-sig"}  # source files and, since 3.13, .pth files are read with them
    assert locked(never, use).returncode == 1 or codec in started_with


# --- the thread unwinder ---------------------------------------------------------------------------------------------

DAEMON = """
import time
def spin(wait=threading.Lock().acquire):
    while True:
        wait(timeout=0.0001) or wait(timeout=0.0001)
class Burns:
    '''Holds the interpreter up while it ends, so that the thread asks for the lock of one that is ending.'''
    def __del__(self, now=time.monotonic):
        end = now() + 0.3
        while now() < end:
            pass
kept = Burns()
threading.Thread(target=spin, daemon=True).start()
SafetyContext().enable("write", "writev", Signals().allow_raise(os.getpid())).apply_to_all_threads()
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="CPython 3.14 leaves such threads hanging and ends none")
def test_a_daemon_thread_at_exit(run: Any) -> None:
    """Its end is pthread_exit(3), for which glibc opens libgcc_s.so.1, or aborts the process."""
    done = run(DAEMON)
    assert (done.returncode, done.stderr) == (0, "")
    aborted = run("from isolate_fn._enforce import preload; preload._load_unwinder = lambda: None" + DAEMON)
    assert "libgcc_s.so.1 must be installed" in aborted.stderr
    assert aborted.returncode == -6


def test_the_library_is_really_loaded(ok: Any) -> None:
    printed = ok("""
    SafetyContext().enable(SystemIO.everything()).apply_to_current_thread()
    say("libgcc_s" in open("/proc/self/maps").read())
    """)
    assert printed == "True\n"


def test_it_happens_when_a_context_is_applied_and_not_before(ok: Any) -> None:
    ok("""
    late = {"_strptime", "encodings.idna"}
    SafetyContext().enable(SystemIO.everything())
    assert not late & set(sys.modules)
    SafetyContext().enable(SystemIO.everything()).apply_to_current_thread()
    assert late <= set(sys.modules)
    """)


def test_a_missing_module_is_no_error(ok: Any) -> None:
    ok("""
    sys.modules["_strptime"] = None     # as where a build lacks it: the import fails
    SafetyContext().enable("write").apply_to_current_thread()
    assert "encodings.idna" in sys.modules
    """)


def test_modules_that_others_bring_bring_theirs(ok: Any) -> None:
    """shutil comes with argparse, zipfile with shutil."""
    ok("""
    import argparse
    for name in ("shutil", "zipfile"):
        sys.modules.pop(name, None)
    SafetyContext().enable("write").apply_to_current_thread()
    assert {"shutil", "zipfile"} <= set(sys.modules)
    """)
