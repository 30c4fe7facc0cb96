# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: util.py.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""What the adapted tests share: futures in each state, one class of tests per way to use isolates, and scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import unittest
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from pathlib import Path
from typing import Any, ClassVar

from isolate_fn import IsolatedExecutor
from isolate_fn._api.future import IsolatedFuture

ROOT = Path(__file__).parents[2]
FOR_EVER = 600  # seconds; the tests' own limit is shorter


def create_future(state=PENDING, exception=None, result=None):
    f = IsolatedFuture()
    f._state = state
    f._exception = exception
    f._result = result
    return f


PENDING_FUTURE = create_future(state=PENDING)
RUNNING_FUTURE = create_future(state=RUNNING)
CANCELLED_FUTURE = create_future(state=CANCELLED)
CANCELLED_AND_NOTIFIED_FUTURE = create_future(state=CANCELLED_AND_NOTIFIED)
EXCEPTION_FUTURE = create_future(state=FINISHED, exception=OSError())
SUCCESSFUL_FUTURE = create_future(state=FINISHED, result=42)


class BaseTestCase(unittest.TestCase):
    """Each test ends with the threads it began with."""

    def setUp(self):
        self.threads = set(threading.enumerate())

    def tearDown(self):
        self.assertEqual(set(threading.enumerate()) - self.threads, set())


class ExecutorMixin:
    worker_count = 3
    executor_type = IsolatedExecutor
    executor_kwargs: ClassVar[dict[str, Any]] = {}

    def setUp(self):
        super().setUp()
        self.executor = self.executor_type(max_workers=self.worker_count, **self.executor_kwargs)

    def tearDown(self):
        self.executor.shutdown(wait=True)
        self.executor = None
        super().tearDown()

    def submit(self, fn, *args):
        """Submit what does not end by itself while the test runs."""
        future = self.executor.submit(fn, *args)
        self.addCleanup(future.cancel)
        return future


def create_executor_tests(namespace, tests):
    """Make one class of tests for each way to use isolates, as the namespace's own."""
    for name, options in (("Fresh", {}), ("Reused", {"reuse": True})):

        class Made(tests, ExecutorMixin, BaseTestCase):
            executor_kwargs: ClassVar[dict[str, Any]] = {**options}

            def tearDown(self):
                self.executor._crew.kill()
                super().tearDown()

        Made.__name__ = Made.__qualname__ = f"Test{name}{tests.__name__}"
        Made.__module__ = namespace["__name__"]
        namespace[Made.__name__] = Made


def assert_python_ok(script, fails=False):
    """Run a script in an interpreter of its own; return what it wrote to stdout and stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=100, env={**kept, "PYTHONPATH": path}, cwd="/", check=False,
    )  # fmt: skip
    if not fails and done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout, done.stderr
