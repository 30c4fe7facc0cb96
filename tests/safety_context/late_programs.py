"""Uses of modules that the standard library imports only inside functions; run by test_preload.py.

Each is a generator: up to its ``yield`` it imports what a program imports, then files can no longer be opened, and it
goes on to the use. `late` says which line of the preload's table it is about, and which modules are imported late.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Run = Callable[[], Iterator[None]]


class Late(NamedTuple):
    """One use.

    Attributes:
        owner: the line of the table.
        modules: imported late, separated by spaces; empty where they cannot be imported a second time.
        run: the generator function.
        sets: rule sets that it needs beside BasicCapabilities.
        python: first and last minor version in which it imports late.
    """

    owner: str
    modules: str
    run: Run
    sets: str
    python: tuple[int, int]


USES: dict[str, Late] = {}
METADATA = "SystemIO().allow_metadata()"  # sources that are read already are shown where they can be seen unchanged
SHARED = (
    "Multiprocessing(), Threads().allow_create(), SystemIO().allow_read_path('/dev/shm').allow_write_file('/dev/shm')"
    ".allow_create_in_dir('/dev/shm').allow_remove_file('/dev/shm')"
)


def late(owner: str, modules: str, sets: str = "", *, first: int = 11, last: int = 99) -> Callable[[Run], Run]:
    def note(run: Run) -> Run:
        name = run.__name__ if run.__name__ not in USES else f"{run.__name__}_{modules.split()[0]}"
        assert name not in USES, name
        USES[name] = Late(owner, modules, run, sets, (first, last))
        return run

    return note


def unless_import_error(action: Callable[[], Any]) -> None:
    """Only what could not be imported counts; that files and programs are denied is what the context is for."""
    try:
        action()
    except ImportError:
        raise
    except Exception:
        pass


def failing_module(*, read: bool) -> Any:
    """Make and import a module with a function that fails; with `read`, have its source lines at hand."""
    import linecache

    with open("failing.py", "w", encoding="utf-8") as file:
        file.write("def fail(x):\n    return x['\u00e4'] / 0 + x['b']\n")
    sys.path.insert(0, os.getcwd())
    failing = importlib.import_module("failing")
    if read:
        linecache.getlines(failing.__file__)
    return failing


# --- the interpreter, and what it always has loaded ------------------------------------------------------------------


@late("", "traceback")
@late("", "traceback linecache tokenize")
def an_error_handler() -> Iterator[None]:
    yield
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        import traceback

        traceback.format_exc()


@late("", "tokenize", first=13)
def traceback_without_sources() -> Iterator[None]:
    import traceback

    failing = failing_module(read=False)
    yield
    try:
        failing.fail({})
    except KeyError:
        assert "KeyError" in traceback.format_exc()


@late("", "ast", METADATA)
@late("", "unicodedata", METADATA, first=12)
def traceback_with_sources() -> Iterator[None]:
    import traceback

    failing = failing_module(read=True)
    yield
    try:
        failing.fail({"\u00e4": 1, "b": 2})
    except ZeroDivisionError:
        assert "return x" in traceback.format_exc()


@late("", "unicodedata")
def character_by_name() -> Iterator[None]:
    yield
    assert eval('"\\N{SNOWMAN}"') == "\u2603"


@late("", "warnings")
def deprecated_function() -> Iterator[None]:
    import io

    thread = threading.current_thread()
    yield
    sys.stderr = io.StringIO()
    thread.setName("late")


@late("", "re")
def filter_of_warnings() -> Iterator[None]:
    import warnings

    yield
    warnings.filterwarnings("ignore", "late")


@late("", "_strptime locale calendar")
def time_from_text() -> Iterator[None]:
    import time

    yield
    time.strptime("1", "%d")


@late("", "_strptime")
def date_from_text() -> Iterator[None]:
    import datetime

    yield
    datetime.datetime.strptime("1", "%d")


@late("", "_pylong", first=12)
@late("", "decimal _decimal _pylong", first=12)
def number_to_text() -> Iterator[None]:
    sys.set_int_max_str_digits(0)
    yield
    assert len(str(10**200000)) == 200001


@late("", "copy")
def copy_of_a_collection() -> Iterator[None]:
    import collections

    class Mine(collections.UserDict[str, int]): ...

    yield
    Mine(a=1).copy()


@late("", "heapq")
def most_common() -> Iterator[None]:
    import collections

    yield
    assert collections.Counter("aab").most_common(1) == [("a", 2)]


@late("", "types")
@late("", "weakref")
def singledispatch() -> Iterator[None]:
    import functools

    yield
    functools.singledispatch(len)


@late("functools", "typing")
def singledispatch_by_annotation() -> Iterator[None]:
    import functools

    yield

    @functools.singledispatch
    def show(value: object) -> None: ...

    @show.register
    def show_int(value: int) -> None: ...


@late("typing", "inspect", first=12)
def runtime_protocol() -> Iterator[None]:
    import typing

    @typing.runtime_checkable
    class Named(typing.Protocol):
        name: str

    yield
    assert not isinstance(1, Named)


# --- modules of the standard library ---------------------------------------------------------------------------------


@late("argparse", "shutil")
@late("argparse", "textwrap")
def help_text() -> Iterator[None]:
    import argparse

    yield
    assert "late" in argparse.ArgumentParser(description="late").format_help()


@late("asyncio", "concurrent.futures.thread", "Asyncio(), Threads().allow_create()")
def to_thread() -> Iterator[None]:
    import asyncio

    async def main() -> None:
        assert await asyncio.to_thread(abs, -1) == 1

    yield
    asyncio.run(main())


@late("concurrent.futures", "concurrent.futures.thread")
def thread_pool() -> Iterator[None]:
    import concurrent.futures

    yield
    assert concurrent.futures.ThreadPoolExecutor


@late("concurrent.futures", "concurrent.futures.process")
def process_pool() -> Iterator[None]:
    import concurrent.futures

    yield
    assert concurrent.futures.ProcessPoolExecutor


@late("email.feedparser", "email.message")
def parse_mail() -> Iterator[None]:
    import email.feedparser

    yield
    email.feedparser.FeedParser().feed("a: b")


@late("email.message", "email.generator")
def mail_as_text() -> Iterator[None]:
    import email.message

    yield
    message = email.message.Message()
    message["a"] = "b"
    assert message.as_string() == "a: b\n\n"


@late("email.message", "email.policy")
def modern_mail() -> Iterator[None]:
    import email.message

    yield
    email.message.EmailMessage()


@late("gettext", "locale", METADATA)
def translation() -> Iterator[None]:
    import gettext

    os.environ["LANGUAGE"] = "de"
    yield
    gettext.find("x")


@late("platform", "struct")
def architecture() -> Iterator[None]:
    import platform

    yield
    platform.architecture()


@late("random", "hashlib _sha2 _sha512", first=13)
def seed_from_text() -> Iterator[None]:
    import random

    yield
    random.seed("text")


@late("shutil", "tarfile")
def make_tar() -> Iterator[None]:
    import shutil

    yield
    unless_import_error(lambda: shutil.make_archive("a", "tar"))


@late("shutil", "zipfile")
def make_zip() -> Iterator[None]:
    import shutil

    yield
    unless_import_error(lambda: shutil.make_archive("a", "zip"))


@late("socketserver", "traceback")
def server_error() -> Iterator[None]:
    import io
    import socketserver

    server = socketserver.BaseServer(("", 0), socketserver.BaseRequestHandler)
    yield
    sys.stderr = io.StringIO()
    server.handle_error(None, "peer")  # type: ignore[arg-type]


@late("sqlite3", "sqlite3.dump")
def dump_of_a_database() -> Iterator[None]:
    import sqlite3

    database = sqlite3.connect(":memory:")
    yield
    assert list(database.iterdump())


@late("urllib.request", "http.cookiejar")
def cookies() -> Iterator[None]:
    import urllib.request

    yield
    urllib.request.HTTPCookieProcessor()


@late("urllib.request", "email.utils")
@late("urllib.request", "mimetypes")
def file_url() -> Iterator[None]:
    import urllib.request as requests

    yield
    unless_import_error(lambda: requests.FileHandler().open_local_file(requests.Request("file:///x")))  # type: ignore[attr-defined]


@late("urllib.request", "ftplib")
def ftp_url() -> Iterator[None]:
    import urllib.request as requests

    yield
    unless_import_error(lambda: requests.FTPHandler().ftp_open(requests.Request("ftp://localhost/x")))


@late("uuid", "hashlib")
def uuid_of_a_name() -> Iterator[None]:
    import uuid

    yield
    uuid.uuid5(uuid.NAMESPACE_DNS, "x")


@late("xml.dom.minidom", "xml.dom.expatbuilder")
def parse_dom() -> Iterator[None]:
    import xml.dom.minidom

    yield
    xml.dom.minidom.parseString("<a/>")


@late("xml.sax", "xml.sax.expatreader")
def parse_sax() -> Iterator[None]:
    import xml.sax
    import xml.sax.handler

    yield
    xml.sax.parseString("<a/>", xml.sax.handler.ContentHandler())


@late("zoneinfo", "importlib.resources")
def unknown_zone() -> Iterator[None]:
    import zoneinfo

    yield
    unless_import_error(lambda: zoneinfo.ZoneInfo("No/Where"))


@late("numpy", "")
def numpy_random() -> Iterator[None]:
    import numpy

    yield
    numpy.random.default_rng(1).random()


@late("numpy", "")
def numpy_fft() -> Iterator[None]:
    import numpy

    yield
    numpy.fft.fft([1, 2])


# --- multiprocessing -------------------------------------------------------------------------------------------------


@late("multiprocessing", "multiprocessing.popen_fork", SHARED)
@late("multiprocessing", "multiprocessing.util multiprocessing.popen_fork", SHARED)
@late("multiprocessing", "multiprocessing.connection", SHARED)
def forked_process() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    process = forking.Process(target=sum, args=([1],))
    process.start()
    process.join(10)
    assert process.exitcode == 0


@late("multiprocessing", "multiprocessing.synchronize", SHARED)
def lock() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    with forking.Lock():
        pass


@late("multiprocessing", "multiprocessing.queues", SHARED)
def queue() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    lines = forking.SimpleQueue()
    lines.put(1)
    assert lines.get() == 1


@late("multiprocessing", "multiprocessing.pool", SHARED)
def pool() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    with forking.Pool(1) as workers:
        assert workers.map(abs, [-1]) == [1]


@late("multiprocessing", "multiprocessing.sharedctypes", SHARED)
@late("multiprocessing", "multiprocessing.heap multiprocessing.sharedctypes", SHARED)
def shared_value() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    assert forking.RawValue("i", 5).value == 5


@late("multiprocessing", "multiprocessing.managers")
def manager() -> Iterator[None]:
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    yield
    unless_import_error(forking.Manager)


@late("multiprocessing", "tempfile")
def temporary_directory() -> Iterator[None]:
    import multiprocessing.util

    yield
    unless_import_error(multiprocessing.util.get_temp_dir)  # type: ignore[attr-defined]


@late("multiprocessing", "logging")
def log() -> Iterator[None]:
    import multiprocessing

    yield
    multiprocessing.get_logger()


@late("multiprocessing", "hmac")
def challenge() -> Iterator[None]:
    import multiprocessing.connection

    connection: Any = multiprocessing.connection
    yield
    if hasattr(connection, "_create_response"):  # since 3.12
        connection._create_response(b"x", b"{sha256}" + bytes(32))
    else:
        unless_import_error(lambda: connection.answer_challenge(Peer(), b"x"))


class Peer:
    """A connection that sends a challenge."""

    def recv_bytes(self, size: int) -> bytes:
        return b"#CHALLENGE#" + bytes(20)

    def send_bytes(self, data: bytes) -> None: ...


@late("multiprocessing", "multiprocessing.popen_spawn_posix")
@late("multiprocessing", "multiprocessing.resource_tracker multiprocessing.popen_spawn_posix")
def spawned_process() -> Iterator[None]:
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=sum, args=([1],))
    yield
    unless_import_error(process.start)


@late("multiprocessing", "multiprocessing.popen_forkserver")
@late("multiprocessing", "multiprocessing.forkserver multiprocessing.popen_forkserver")
def process_of_a_server() -> Iterator[None]:
    import multiprocessing

    process = multiprocessing.get_context("forkserver").Process(target=sum, args=([1],))
    yield
    unless_import_error(process.start)
