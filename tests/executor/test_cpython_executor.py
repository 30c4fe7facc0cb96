# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: executor.py, test_process_pool.py and test_thread_pool.py.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""CPython's cases of what is submitted and what comes back."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import traceback
import unittest
import unittest.mock
import weakref
from concurrent import futures

from executor_tasks import (
    MyObject,
    TellsItsEnd,
    capture,
    make_dummy_object,
    mul,
    name_of_isolate,
    raise_runtime_error,
    say,
    what_was_collected,
)
from executor_util import FOR_EVER, create_executor_tests

from isolate_fn.errors import Crashed


class ExecutorTest:
    def test_submit(self):
        future = self.executor.submit(pow, 2, 8)
        self.assertEqual(256, future.result())

    def test_submit_keyword(self):
        future = self.executor.submit(mul, 2, y=8)
        self.assertEqual(16, future.result())
        future = self.executor.submit(capture, 1, self=2, fn=3)
        self.assertEqual(future.result(), ((1,), {"self": 2, "fn": 3}))
        with self.assertRaises(TypeError):
            self.executor.submit(fn=capture, arg=1)
        with self.assertRaises(TypeError):
            self.executor.submit(arg=1)

    def test_map(self):
        expected = list(map(pow, range(10), range(10)))
        self.assertEqual(list(self.executor.map(pow, range(10), range(10))), expected)
        self.assertEqual(list(self.executor.map(pow, range(10), range(10), chunksize=3)), expected)

    def test_map_exception(self):
        i = self.executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
        self.assertEqual(next(i), (0, 1))
        self.assertEqual(next(i), (0, 1))
        self.assertRaises(ZeroDivisionError, i.__next__)

    def test_map_timeout(self):
        results = []
        list(self.executor.map(time.sleep, [0, 0]))  # the spawner runs
        with self.assertRaises(futures.TimeoutError):
            for i in self.executor.map(time.sleep, [0, 0, FOR_EVER], timeout=5):
                results.append(i)
        self.assertEqual([None, None], results)

    def test_shutdown_race_issue12456(self):
        self.executor.map(str, [2] * (self.worker_count + 1))
        self.executor.shutdown()

    def test_no_stale_references(self):
        my_object = MyObject()
        my_object_collected = threading.Event()
        my_object_callback = weakref.ref(my_object, lambda obj: my_object_collected.set())
        # Deliberately discarding the future.
        self.executor.submit(my_object.my_method)
        del my_object
        self.assertTrue(my_object_collected.wait(timeout=60), "Stale reference not collected within timeout.")
        self.assertIsNone(my_object_callback())

    def test_max_workers_negative(self):
        for number in (0, -1):
            with self.assertRaisesRegex(ValueError, "max_workers must be greater than 0"):
                self.executor_type(max_workers=number)

    def test_free_reference(self):
        for chunksize in (1, 4):
            for obj in self.executor.map(make_dummy_object, range(10), chunksize=chunksize):
                wr = weakref.ref(obj)
                del obj
                gc.collect()
                self.assertIsNone(wr())

    # --- test_process_pool ---------------------------------------------------------------------------------------------

    def test_killed_child(self):
        """Where ProcessPoolExecutor is broken from then on, here the future alone fails, by the error that says why."""
        fut = self.submit(time.sleep, FOR_EVER)
        other = self.submit(time.sleep, FOR_EVER)
        kill_isolate_of(fut)
        self.assertRaises(Crashed, fut.result)
        self.assertTrue(other.running())
        self.assertEqual(self.executor.submit(pow, 2, 8).result(), 256)

    def test_map_chunksize(self):
        def bad_map():
            list(self.executor.map(pow, range(40), range(40), chunksize=-1))

        ref = list(map(pow, range(40), range(40)))
        for chunksize in (6, 50, 40):
            self.assertEqual(list(self.executor.map(pow, range(40), range(40), chunksize=chunksize)), ref)
        self.assertRaises(ValueError, bad_map)

    def test_traceback(self):
        future = self.executor.submit(raise_runtime_error)
        with self.assertRaises(RuntimeError) as cm:
            future.result()
        exc = cm.exception
        self.assertIs(type(exc), RuntimeError)
        self.assertEqual(exc.args, (123,))
        self.assertIn("raise RuntimeError(123)  # some comment", str(exc.__cause__))
        self.assertIn("raise RuntimeError(123)  # some comment", "".join(traceback.format_exception(exc)))

    def test_ressources_gced_in_workers(self):
        """One reused worker is asked what it has collected; a fresh isolate is gone with everything in it."""
        with self.executor_type(1, **{**self.executor_kwargs, "reuse": True}) as executor:
            executor.submit(id, TellsItsEnd()).result()
            self.assertEqual(executor.submit(what_was_collected).result(), ["gone"])

    def test_saturation(self):
        """The threads that wait for isolates are counted: there is one for each that works."""
        job_count = 15 * self.worker_count
        for _ in range(job_count):
            self.submit(time.sleep, FOR_EVER)
        self.assertEqual(len(self.executor._crew.threads), self.worker_count)

    def test_idle_process_reuse_one(self):
        executor = self.executor
        for pair in ((21, 2), (6, 7), (3, 14)):
            executor.submit(mul, *pair).result()
            wait_until(lambda: executor._crew._idle == 1)  # a future is done a moment before its thread is idle
        self.assertEqual(len(executor._crew.threads), 1)

    def test_idle_process_reuse_multiple(self):
        executor = self.executor
        executor.submit(mul, 12, 7).result()
        executor.submit(mul, 33, 25)
        executor.submit(mul, 25, 26).result()
        executor.submit(mul, 18, 29)
        executor.submit(mul, 1, 2).result()
        executor.submit(mul, 0, 9)
        self.assertLessEqual(len(executor._crew.threads), 3)
        executor.shutdown()

    def test_max_tasks_per_child(self):
        """The option is called ``reuse`` here."""
        with self.executor_type(1, reuse=3) as executor:
            names = [executor.submit(name_of_isolate).result() for _ in range(4)]
        self.assertEqual(len(set(names[:3])), 1)
        self.assertNotEqual(names[2], names[3])

    def test_max_tasks_early_shutdown(self):
        executor = self.executor_type(3, reuse=1)
        made = [executor.submit(mul, i, i) for i in range(6)]
        executor.shutdown()
        for i, future in enumerate(made):
            self.assertEqual(future.result(), mul(i, i))

    def test_python_finalization_error(self):
        """A thread that cannot be started fails the submission, unless there is one that will do the work."""

        def start(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        with self.executor_type(max_workers=2, **self.executor_kwargs) as executor:
            with unittest.mock.patch.object(threading.Thread, "start", start):
                self.assertRaises(RuntimeError, executor.submit, mul, 2, 3)
            running = executor.submit(time.sleep, FOR_EVER)
            with unittest.mock.patch.object(threading.Thread, "start", start):
                waiting = executor.submit(mul, 2, 3)
            running.cancel()
            self.assertEqual(waiting.result(), 6)

    # --- test_thread_pool ----------------------------------------------------------------------------------------------

    def test_map_submits_without_iteration(self):
        """Tests verifying issue 11777."""
        finished = []
        options = {**self.executor_kwargs, "output": lambda stream, data: finished.extend(data.split())}
        with self.executor_type(2, **options) as executor:
            executor.map(say, range(10))
        self.assertCountEqual(finished, [b"%d" % n for n in range(10)])

    def test_default_workers(self):
        """As many as ProcessPoolExecutor has: the processors that this process may use."""
        executor = self.executor_type()
        self.assertEqual(executor._max_workers, getattr(os, "process_cpu_count", os.cpu_count)())

    def test_hang_global_shutdown_lock(self):
        """Submissions by another thread do not spoil what a forked child does with executors of its own."""
        stop = threading.Event()

        def submit():
            while not stop.is_set():
                self.executor.submit(int)
                stop.wait(0.002)  # or the queue would only grow

        thread = threading.Thread(target=submit)
        thread.start()
        try:
            for _ in range(4):
                self.assertEqual(forked(lambda: self.executor_type(1).submit(int).result()), 0)
        finally:
            stop.set()
            thread.join()
            self.executor.shutdown(cancel_futures=True)

    def test_executor_map_current_future_cancel(self):
        log = []
        options = {**self.executor_kwargs, "output": lambda stream, data: log.append(data)}
        with self.executor_type(max_workers=1, **options) as pool:
            # submit work to saturate the pool
            first = pool.submit(time.sleep, FOR_EVER)
            try:
                with contextlib.closing(pool.map(say, ["second", "third"], timeout=0)) as gen:
                    with self.assertRaises(TimeoutError):
                        next(gen)
            finally:
                first.cancel()
        # "second" is cancelled as a result of raising a TimeoutError, "third" as it remained in the collection of futures
        self.assertListEqual(log, [])


def wait_until(condition):
    """Wait for what is certain to come."""
    while not condition():
        time.sleep(0.001)


def forked(function):
    """Call a function in a forked child; return 0 if it returned 0."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_isolate_of(future):
    """Kill, from outside, the isolate that a future's call runs in."""
    import signal

    from isolate_fn._runtime import lifetime

    while True:
        for held in list(lifetime._held):
            switch = getattr(held, "cancel", None)
            if switch is not None and switch is future._switch and held.ready is not None:
                signal.pidfd_send_signal(held.pidfd, signal.SIGKILL)
                return
        time.sleep(0.001)


create_executor_tests(globals(), ExecutorTest)
