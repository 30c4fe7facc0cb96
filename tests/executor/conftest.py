"""Tests of `IsolatedExecutor`; those in test_cpython_*.py are CPython's own, adapted.

CPython 3.13's Lib/test/test_concurrent_futures is the contract of an executor, written down by those who keep it. Each of
its cases is here under its own name, run with fresh isolates and with reused ones. What was changed, in all of them:

- tasks and their classes are in executor_tasks.py, where isolates can import them;
- tasks cannot share locks, events or queues with the caller, so what is held open by those is a long sleep that is cancelled
  at the end (and thereby killed), and what is signalled by those is found in the output or in a future;
- ``support`` is not used, as not every Python has it; `executor_util.assert_python_ok` runs scripts;
- nothing sleeps to give another thread time, and nothing is measured by the clock.

Where the subject differs, the case says so. Left out, because their subject does not exist here:

==========================================================  ==========================================================
``test_process_pool``: ``test_max_workers_too_large``       a limit of Windows
``…: test_max_tasks_per_child_defaults_to_spawn_context``   there are no start methods; an isolate is never the caller's
                                                            fork
``test_shutdown``: ``test_thread_names_assigned``           there is no ``thread_name_prefix``
``test_init``: ``FailingInitializerResourcesTest``          multiprocessing's resource tracker is not used
``test_deadlock``: ``test_gh105829_…_wakeup_pipe_full``     there is no wake-up pipe; test_attacks.py submits from many
                                                            threads while none takes
==========================================================  ==========================================================

Adapted cases are derived from Python, Copyright (c) 2001-2024 Python Software Foundation; All Rights Reserved; see
LICENSE.python.txt beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).parent)

if HERE not in sys.path:  # executor_tasks.py is imported under that name, here and in isolates
    sys.path.append(HERE)
