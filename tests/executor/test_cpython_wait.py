# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: test_as_completed.py and test_wait.py.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""CPython's cases of waiting for several futures."""

from __future__ import annotations

import gc
import itertools
import sys
import time
import weakref
from concurrent import futures
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED

from executor_tasks import mul, sleep_and_raise
from executor_util import (
    CANCELLED_AND_NOTIFIED_FUTURE,
    CANCELLED_FUTURE,
    EXCEPTION_FUTURE,
    FOR_EVER,
    PENDING_FUTURE,
    RUNNING_FUTURE,
    SUCCESSFUL_FUTURE,
    create_executor_tests,
    create_future,
)


class AsCompletedTests:
    def test_no_timeout(self):
        future1 = self.executor.submit(mul, 2, 21)
        future2 = self.executor.submit(mul, 7, 6)
        every = [CANCELLED_AND_NOTIFIED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE, future1, future2]
        self.assertEqual(set(futures.as_completed(every)), set(every))

    def test_future_times_out(self):
        """Test ``futures.as_completed`` timing out before completing it's final future."""
        already_completed = {CANCELLED_AND_NOTIFIED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE}
        for timeout in (0, 0.1):
            with self.subTest(timeout):
                completed_futures = set()
                future = self.submit(time.sleep, FOR_EVER)
                with self.assertRaises(futures.TimeoutError):
                    for f in futures.as_completed(already_completed | {future}, timeout):
                        completed_futures.add(f)
                # Check that ``future`` wasn't completed.
                self.assertEqual(completed_futures, already_completed)

    def test_duplicate_futures(self):
        # Issue 20367. Duplicate futures should not raise exceptions or give duplicate responses.
        # Issue #31641: accept arbitrary iterables.
        future1 = self.executor.submit(time.sleep, 0.1)
        completed = list(futures.as_completed(itertools.repeat(future1, 3)))
        self.assertEqual(len(completed), 1)

    def test_free_reference_yielded_future(self):
        # Issue #14406: Generator should not keep references to finished futures.
        futures_list = [create_future() for _ in range(8)]
        futures_list.append(create_future(state=CANCELLED_AND_NOTIFIED))
        futures_list.append(create_future(state=FINISHED, result=42))

        with self.assertRaises(futures.TimeoutError):
            for future in futures.as_completed(futures_list, timeout=0):
                futures_list.remove(future)
                wr = weakref.ref(future)
                del future
                gc.collect()
                self.assertIsNone(wr())

        futures_list[0].set_result("test")
        for future in futures.as_completed(futures_list):
            futures_list.remove(future)
            wr = weakref.ref(future)
            del future
            gc.collect()
            self.assertIsNone(wr())
            if futures_list:
                futures_list[0].set_result("test")

    def test_correct_timeout_exception_msg(self):
        futures_list = [CANCELLED_AND_NOTIFIED_FUTURE, PENDING_FUTURE, RUNNING_FUTURE, SUCCESSFUL_FUTURE]
        with self.assertRaises(futures.TimeoutError) as cm:
            list(futures.as_completed(futures_list, timeout=0))
        self.assertEqual(str(cm.exception), "2 (of 4) futures unfinished")


class WaitTests:
    def test_20369(self):
        # See https://bugs.python.org/issue20369
        future = self.executor.submit(time.sleep, 0.1)
        done, not_done = futures.wait([future, future], return_when=futures.ALL_COMPLETED)
        self.assertEqual({future}, done)
        self.assertEqual(set(), not_done)

    def test_first_completed(self):
        future1 = self.executor.submit(mul, 21, 2)
        future2 = self.submit(time.sleep, FOR_EVER)
        done, not_done = futures.wait([CANCELLED_FUTURE, future1, future2], return_when=futures.FIRST_COMPLETED)
        self.assertEqual({future1}, done)
        self.assertEqual({CANCELLED_FUTURE, future2}, not_done)

    def test_first_completed_some_already_completed(self):
        future1 = self.submit(time.sleep, FOR_EVER)
        finished, pending = futures.wait(
            [CANCELLED_AND_NOTIFIED_FUTURE, SUCCESSFUL_FUTURE, future1], return_when=futures.FIRST_COMPLETED
        )
        self.assertEqual({CANCELLED_AND_NOTIFIED_FUTURE, SUCCESSFUL_FUTURE}, finished)
        self.assertEqual({future1}, pending)

    def test_first_exception(self):
        future1 = self.executor.submit(mul, 2, 21)
        self.assertEqual(future1.result(), 42)
        future2 = self.executor.submit(sleep_and_raise, 0.1)
        future3 = self.submit(time.sleep, FOR_EVER)
        finished, pending = futures.wait([future1, future2, future3], return_when=futures.FIRST_EXCEPTION)
        self.assertEqual({future1, future2}, finished)
        self.assertEqual({future3}, pending)

    def test_first_exception_some_already_complete(self):
        future1 = self.executor.submit(divmod, 21, 0)
        future2 = self.submit(time.sleep, FOR_EVER)
        finished, pending = futures.wait(
            [SUCCESSFUL_FUTURE, CANCELLED_FUTURE, CANCELLED_AND_NOTIFIED_FUTURE, future1, future2],
            return_when=futures.FIRST_EXCEPTION,
        )
        self.assertEqual({SUCCESSFUL_FUTURE, CANCELLED_AND_NOTIFIED_FUTURE, future1}, finished)
        self.assertEqual({CANCELLED_FUTURE, future2}, pending)

    def test_first_exception_one_already_failed(self):
        future1 = self.submit(time.sleep, FOR_EVER)
        finished, pending = futures.wait([EXCEPTION_FUTURE, future1], return_when=futures.FIRST_EXCEPTION)
        self.assertEqual({EXCEPTION_FUTURE}, finished)
        self.assertEqual({future1}, pending)

    def test_all_completed(self):
        every = [SUCCESSFUL_FUTURE, CANCELLED_AND_NOTIFIED_FUTURE, EXCEPTION_FUTURE]
        every += [self.executor.submit(divmod, 2, 0), self.executor.submit(mul, 2, 21)]
        finished, pending = futures.wait(every, return_when=futures.ALL_COMPLETED)
        self.assertEqual(set(every), finished)
        self.assertEqual(set(), pending)

    def test_timeout(self):
        future = self.submit(time.sleep, FOR_EVER)
        over = [CANCELLED_AND_NOTIFIED_FUTURE, EXCEPTION_FUTURE, SUCCESSFUL_FUTURE]
        finished, pending = futures.wait([*over, future], timeout=0.05, return_when=futures.ALL_COMPLETED)
        self.assertEqual(set(over), finished)
        self.assertEqual({future}, pending)

    def test_pending_calls_race(self):
        # Issue #14406: multi-threaded race condition when waiting on all futures.
        oldswitchinterval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            fs = {self.executor.submit(int) for _ in range(100)}
            finished, _ = futures.wait(fs, return_when=futures.ALL_COMPLETED)
        finally:
            sys.setswitchinterval(oldswitchinterval)
        self.assertEqual(finished, fs)


create_executor_tests(globals(), AsCompletedTests)
create_executor_tests(globals(), WaitTests)
