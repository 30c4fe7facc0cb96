# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: test_init.py and test_deadlock.py.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""CPython's cases of initializers, and of everything that could leave a future without an end."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from pickle import PicklingError

from executor_tasks import (
    CrashAtPickle,
    CrashAtUnpickle,
    ErrorAtPickle,
    ErrorAtUnpickle,
    ExitAtPickle,
    ExitAtUnpickle,
    crash,
    crash_later,
    get_init_status,
    init,
    init_fail,
    leave,
    raise_error,
    return_instance,
)
from executor_util import create_executor_tests

from isolate_fn.errors import CallRejected, Crashed, RemoteError, ResultRejected


class InitializerTest:
    worker_count = 2

    def setUp(self):
        self.executor_kwargs = {**self.executor_kwargs, "initializer": init, "initargs": ("initialized",)}
        super().setUp()

    def test_initializer(self):
        for f in [self.executor.submit(get_init_status) for _ in range(self.worker_count)]:
            self.assertEqual(f.result(), "initialized")


class FailingInitializerTest:
    worker_count = 2

    def setUp(self):
        self.executor_kwargs = {**self.executor_kwargs, "initializer": init_fail}
        super().setUp()

    def test_initializer(self):
        with self.assertLogs("concurrent.futures", "CRITICAL") as cm:
            future = self.executor.submit(get_init_status)
            with self.assertRaises(BrokenExecutor) as broken:
                future.result()
        self.assertTrue(any("ValueError: error in initializer" in line for line in cm.output), cm.output)
        self.assertIsInstance(broken.exception.__cause__, ValueError)
        # From this point submit() is guaranteed to fail.
        with self.assertRaises(BrokenExecutor):
            self.executor.submit(get_init_status)


class DeadlockTest:
    """Where ProcessPoolExecutor breaks, only the one future fails here: each case submits once more afterwards."""

    worker_count = 2
    TIMEOUT = 60

    def _check_crash(self, error, func, *args):
        res = self.executor.submit(func, *args)
        with self.assertRaises(error) as cm:
            res.result(timeout=self.TIMEOUT)
        self.assertEqual(self.executor.submit(pow, 2, 8).result(timeout=self.TIMEOUT), 256)
        return cm.exception

    def test_error_at_task_pickle(self):
        rejected = self._check_crash(CallRejected, id, ErrorAtPickle())
        self.assertIsInstance(rejected.__cause__, PicklingError)

    def test_exit_at_task_unpickle(self):
        """SystemExit inside is no end of the worker here, and never one of the caller."""
        self._check_crash(RemoteError, id, ExitAtUnpickle())

    def test_error_at_task_unpickle(self):
        self._check_crash(CallRejected, id, ErrorAtUnpickle())

    def test_crash_at_task_unpickle(self):
        self._check_crash(Crashed, id, CrashAtUnpickle())

    def test_crash_during_func_exec_on_worker(self):
        self._check_crash(Crashed, crash)

    def test_exit_during_func_exec_on_worker(self):
        self._check_crash(RemoteError, leave)

    def test_error_during_func_exec_on_worker(self):
        self._check_crash(RuntimeError, raise_error, RuntimeError)

    def test_crash_during_result_pickle_on_worker(self):
        """Results are not pickled: an object that would do something then is refused, and does nothing."""
        self._check_crash(ResultRejected, return_instance, CrashAtPickle)

    def test_exit_during_result_pickle_on_worker(self):
        self._check_crash(ResultRejected, return_instance, ExitAtPickle)

    def test_error_during_result_pickle_on_worker(self):
        self._check_crash(ResultRejected, return_instance, ErrorAtPickle)

    def test_error_during_result_unpickle_in_result_handler(self):
        self._check_crash(ResultRejected, return_instance, ErrorAtUnpickle)

    def test_exit_during_result_unpickle_in_result_handler(self):
        self._check_crash(ResultRejected, return_instance, ExitAtUnpickle)

    def test_shutdown_deadlock(self):
        # Test that the pool calling shutdown do not cause deadlock if a worker fails after the shutdown call.
        f = self.executor.submit(crash_later, 0.1)
        self.executor.shutdown(wait=True)
        with self.assertRaises(Crashed):
            f.result()

    def test_shutdown_deadlock_pickle(self):
        # Test that the pool calling shutdown with wait=False does not cause a deadlock if a task fails at pickle after
        # the shutdown call. Reported in bpo-39104.
        self.executor.submit(id, 42).result()
        threads = set(self.executor._crew.threads)
        f = self.executor.submit(id, ErrorAtPickle())
        self.executor.shutdown(wait=False)
        with self.assertRaises(CallRejected):
            f.result()
        for thread in threads:
            thread.join()

    def test_crash_big_data(self):
        # Test that there is a clean exception instad of a deadlock when a child process crashes while some data is being
        # written. https://github.com/python/cpython/issues/94777
        data = "a" * (4 << 20)
        with self.assertRaises(Crashed):
            list(self.executor.map(crash, [data] * 10))
        self.executor.shutdown(wait=True)


create_executor_tests(globals(), InitializerTest)
create_executor_tests(globals(), FailingInitializerTest)
create_executor_tests(globals(), DeadlockTest)
