# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: executor.py, test_deadlock.py and others.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""What the tests run in isolates."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import sys
import threading
import time
import uuid

# --- of CPython's tests ------------------------------------------------------------------------------------------------

INITIALIZER_STATUS = "uninitialized"


def mul(x, y):
    return x * y


def capture(*args, **kwargs):
    return args, kwargs


class MyObject:
    def my_method(self):
        pass


@dataclasses.dataclass
class Dummy:
    number: int


def make_dummy_object(number) -> Dummy:
    return Dummy(number)


def say(number):
    print(number)


def sleep_and_print(t, msg):
    time.sleep(t)
    print(msg)


def sleep_and_raise(t):
    time.sleep(t)
    raise Exception("this is an exception")


def raise_runtime_error():
    raise RuntimeError(123)  # some comment


def init(x):
    global INITIALIZER_STATUS
    INITIALIZER_STATUS = x


def get_init_status():
    return INITIALIZER_STATUS


def init_fail():
    raise ValueError("error in initializer")


def crash(*_):
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_later(delay):
    time.sleep(delay)
    crash()


def leave():
    sys.exit(1)


def raise_error(kind):
    raise kind()


def return_instance(kind):
    return kind()


class CrashAtPickle:
    def __reduce__(self):
        crash()


class CrashAtUnpickle:
    def __reduce__(self):
        return crash, ()


class ExitAtPickle:
    def __reduce__(self):
        leave()


class ExitAtUnpickle:
    def __reduce__(self):
        return leave, ()


class ErrorAtPickle:
    def __reduce__(self):
        raise pickle.PicklingError("Error in pickle")


class ErrorAtUnpickle:
    def __reduce__(self):
        return raise_error, (pickle.UnpicklingError,)


collected = []


class TellsItsEnd:
    def __del__(self):
        collected.append("gone")


def what_was_collected():
    return collected


# --- of our own --------------------------------------------------------------------------------------------------------

NAME = uuid.uuid4().hex  # of the isolate, where it is not imported by the spawner


def name_of_isolate():
    global NAME
    if not os.path.exists("named"):  # the working directory is the isolate's own
        NAME = uuid.uuid4().hex
        with open("named", "w", encoding="ascii") as file:
            file.write(NAME)
    return NAME


def grow(path):
    """Write on and on, from a second thread as well."""
    threading.Thread(target=_grow, args=(path + ".thread",)).start()
    _grow(path)


def grow_with_child(path):
    """Write on and on, from a child that has left its session as well."""
    if os.fork() == 0:
        os.setsid()
        path += ".child"
    _grow(path)


def _grow(path):
    with open(path, "ab", buffering=0) as file:
        while True:
            file.write(b"x")
            time.sleep(0.001)


def end(how):
    {
        "abort": os.abort,
        "exit": lambda: os._exit(7),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "close": lambda: os.closerange(0, 1000) or time.sleep(600),
    }[how]()


def attack_init():
    """Try to kill what ends the isolate, and everything else."""
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(1, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(1, signal.SIGTERM)
    return "alive"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def fail_at(number, where):
    if number == where:
        raise LookupError(number)
    return number


def start_with_files(text):
    with open("initialized", "a", encoding="utf-8") as file:
        file.write(text)


def generate():
    yield 1
