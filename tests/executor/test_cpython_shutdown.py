# Adapted from CPython 3.13, Lib/test/test_concurrent_futures/: test_shutdown.py.
# Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved. PSF License Version 2, see LICENSE.python.txt.
# conftest.py says what was changed.
"""CPython's cases of shutting an executor down, also by forgetting it and by leaving the interpreter."""

from __future__ import annotations

import gc
import os
import select
import signal
import time

from executor_util import FOR_EVER, assert_python_ok, create_executor_tests

HEAD = """
import time
from executor_tasks import sleep_and_print
from isolate_fn import IsolatedExecutor
options = {options!r}
if __name__ == "__main__":
"""


class ShutdownTest:
    worker_count = 5

    def script(self, body, **more):
        return assert_python_ok(HEAD.format(options=self.executor_kwargs) + body, **more)

    def test_run_after_shutdown(self):
        self.executor.shutdown()
        self.assertRaises(RuntimeError, self.executor.submit, pow, 2, 5)

    def test_interpreter_shutdown(self):
        # Test the atexit hook for shutdown of worker threads
        out, err = self.script("""
    t = IsolatedExecutor(5, **options)
    t.submit(sleep_and_print, 0.2, "apple")
    t.submit(sleep_and_print, 0.2, "apple")
""")
        self.assertFalse(err)
        self.assertEqual(out.split(), ["apple", "apple"])

    def test_submit_after_interpreter_shutdown(self):
        out, err = self.script("""
    import atexit
    @atexit.register
    def run_last():
        try:
            t.submit(id, None)
        except RuntimeError:
            print("runtime-error")
            raise
    t = IsolatedExecutor(5, **options)
    t.submit(id, 42).result()
""")
        # Errors in atexit hooks don't change the process exit code, check stderr manually.
        self.assertIn("RuntimeError: cannot schedule new futures", err)
        self.assertEqual(out.strip(), "runtime-error")

    def test_hang_issue12364(self):
        fs = [self.executor.submit(time.sleep, 0.01) for _ in range(50)]
        self.executor.shutdown()
        for f in fs:
            f.result()

    def test_cancel_futures(self):
        """What runs is not cancelled by that; it is held until the rest was looked at."""
        running = [self.submit(time.sleep, FOR_EVER) for _ in range(self.worker_count)]
        while not all(f.running() for f in running):
            time.sleep(0.001)
        fs = [self.executor.submit(int) for _ in range(50)]
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.assertTrue(all(f.cancelled() for f in fs))
        self.assertTrue(all(f.running() for f in running))

    def test_hang_gh83386(self):
        """shutdown(wait=False) doesn't hang at exit with running futures."""
        out, err = self.script("""
    t = IsolatedExecutor(max_workers=3, **options)
    t.submit(sleep_and_print, 0.2, "apple")
    t.shutdown(wait=False)
""")
        self.assertFalse(err)
        self.assertEqual(out.strip(), "apple")

    def test_hang_gh94440(self):
        """shutdown(wait=True) doesn't hang when a future was submitted and quickly canceled right before shutdown."""

        def timeout(_signum, _frame):
            raise RuntimeError("timed out waiting for shutdown")

        executor = self.executor_type(max_workers=1, **self.executor_kwargs)
        executor.submit(int).result()
        old_handler = signal.signal(signal.SIGALRM, timeout)
        try:
            signal.alarm(60)
            executor.submit(int).cancel()
            executor.shutdown(wait=True)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, old_handler)

    def test_threads_terminate(self):
        for _ in range(3):
            self.submit(time.sleep, FOR_EVER)
        threads = set(self.executor._crew.threads)
        self.assertEqual(len(threads), 3)
        self.executor._crew.kill()
        self.executor.shutdown()
        self.assertFalse(any(t.is_alive() for t in threads))

    def test_processes_terminate(self):
        """Nothing of an isolate is left when shutdown() returns, neither of those that ran nor of those that waited."""
        from isolate_fn._runtime import lifetime

        before = set(lifetime._held)
        self.executor.submit(int).result()
        ours = [held for held in set(lifetime._held) - before if hasattr(held, "pidfd")]
        ends = [os.dup(held.pidfd) for held in ours if held.pidfd >= 0]
        self.executor.shutdown()
        over, _, _ = select.select(ends, (), (), 0)  # readable once the process, and its pid namespace, has ended
        for end in ends:
            os.close(end)
        self.assertEqual(over, ends)
        self.assertFalse([held for held in set(lifetime._held) - before if hasattr(held, "pidfd")])

    def test_context_manager_shutdown(self):
        with self.executor_type(max_workers=5, **self.executor_kwargs) as e:
            self.assertEqual(list(e.map(abs, range(-5, 5))), [5, 4, 3, 2, 1, 0, 1, 2, 3, 4])
        self.assertFalse(e._crew.threads)

    def test_del_shutdown(self):
        executor = self.executor_type(max_workers=5, **self.executor_kwargs)
        res = executor.map(abs, range(-5, 5))
        threads = set(executor._crew.threads)
        del executor
        gc.collect()
        for t in threads:
            t.join()
        # Make sure the results were all computed before the executor got shutdown.
        self.assertEqual(list(res), [abs(v) for v in range(-5, 5)])

    def test_shutdown_no_wait(self):
        # Ensure that the executor cleans up the threads when calling shutdown with wait=False
        executor = self.executor_type(max_workers=5, **self.executor_kwargs)
        res = executor.map(abs, range(-5, 5))
        threads = set(executor._crew.threads)
        executor.shutdown(wait=False)
        for t in threads:
            t.join()
        self.assertEqual(list(res), [abs(v) for v in range(-5, 5)])

    def test_thread_names_default(self):
        self.executor.map(abs, range(-5, 5))
        for t in set(self.executor._crew.threads):
            # Ensure that our default name is reasonably sane and unique.
            self.assertRegex(t.name, r"IsolatedExecutor-\d+_[0-4]$")

    def test_cancel_futures_wait_false(self):
        out, err = self.script("""
    t = IsolatedExecutor(**options)
    t.submit(sleep_and_print, .1, "apple")
    t.shutdown(wait=False, cancel_futures=True)
""")
        self.assertFalse(err)
        # gh-116682: stdout may be empty if shutdown happens before task starts executing.
        self.assertIn(out.strip(), ["apple", ""])


create_executor_tests(globals(), ShutdownTest)
