"""What CPython loads only when it is needed, loaded while files can still be opened.

A program imports its modules first and locks itself down then. But modules of the standard library import others
inside functions, codecs are modules found by name, and glibc opens a library when a thread ends. Under a filter these
fail in ways that hide the cause: ``LookupError: unknown encoding: idna``, ``ModuleNotFoundError: tokenize`` in place of
a traceback, or the process aborts.

Measured on CPython 3.11 to 3.13; tests/safety_context/test_preload.py has a program for each line that fails without
it. What cannot be known here is the program's own: time zones (``zoneinfo.ZoneInfo(...)``), codecs of file contents,
lazy imports of other packages. Use them once before locking down.
"""

from __future__ import annotations

import codecs
import ctypes
import importlib
import sys
from collections.abc import Iterator

#: pthread_exit(3) opens it to unwind the thread's stack; where it cannot, it aborts the whole process: a daemon thread
#: that is alive when the interpreter ends is enough. musl has no such need, and no such file.
UNWINDER = "libgcc_s.so.1"

#: module -> modules that it, or the interpreter ("") and what it always has loaded, imports inside functions.
LATER = {
    "": (
        "traceback tokenize ast unicodedata "  # error handlers, source lines in tracebacks, "\\N{...}" in literals
        "warnings re "  # deprecated functions, filters of warnings
        "_strptime "  # time.strptime() and datetime.strptime()
        "_pylong decimal "  # numbers of thousands of digits as text, since 3.12
        "copy heapq types weakref"  # collections and functools
    ),
    "argparse": "shutil textwrap",
    "asyncio": "concurrent.futures.thread",
    "concurrent.futures": "concurrent.futures.process concurrent.futures.thread",
    "email.feedparser": "email.message",
    "email.message": "email.generator email.policy",
    "functools": "typing",
    "gettext": "locale",
    "multiprocessing": (
        "multiprocessing.connection multiprocessing.forkserver multiprocessing.heap multiprocessing.managers "
        "multiprocessing.pool multiprocessing.popen_fork multiprocessing.popen_forkserver "
        "multiprocessing.popen_spawn_posix multiprocessing.queues multiprocessing.resource_tracker "
        "multiprocessing.sharedctypes multiprocessing.synchronize multiprocessing.util hmac logging tempfile"
    ),
    "numpy": "numpy.fft numpy.random",
    "platform": "struct",
    "random": "_sha2 hashlib",
    "shutil": "tarfile zipfile",
    "socketserver": "traceback",
    "sqlite3": "sqlite3.dump",
    "typing": "inspect",
    "urllib.request": "email.utils ftplib http.cookiejar mimetypes",
    "uuid": "hashlib",
    "xml.dom.minidom": "xml.dom.expatbuilder",
    "xml.sax": "xml.sax.expatreader",
    "zoneinfo": "importlib.resources",
}

#: Codecs that the interpreter, sockets, pickles and archives look up by name. Looked up once, not only imported: the
#: registry remembers them, and the look-up itself needs getcwd(2) on CPython 3.13.
CODECS = (
    "ascii cp437 idna iso-8859-1 latin-1 punycode raw-unicode-escape unicode-escape utf-8 utf-8-sig utf-16 utf-16-be "
    "utf-16-le utf-32"
)


def load_what_comes_later() -> None:
    """Import what the modules that are loaded now will import inside functions, and the thread unwinder.

    What this interpreter does not have is left out: it could not be imported later either.
    """
    for name in _later():
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # another version of CPython, or a build without it
    for name in CODECS.split():
        codecs.lookup(name)
    _load_unwinder()


def _later() -> Iterator[str]:
    """Yield module names; those that were imported meanwhile bring their own."""
    done: set[str] = set()
    while missing := [owner for owner in LATER if owner not in done and (not owner or owner in sys.modules)]:
        for owner in missing:
            done.add(owner)
            yield from LATER[owner].split()


def _load_unwinder() -> None:
    try:
        ctypes.CDLL(UNWINDER)
    except OSError:
        pass  # not glibc; or glibc without it, where the end of a thread aborts with and without a filter
