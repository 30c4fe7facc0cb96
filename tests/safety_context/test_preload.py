"""What CPython would load too late: with the preload it is there, without it the same program fails.

Every module of the table in `isolate_fn._enforce.preload` has a program in late_programs.py that uses it without naming it,
or as error handlers do. Both times the module is forgotten before the context is applied, because this package may have
imported it for its own purposes; then it is preloaded, or not.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isolate_fn._enforce import preload

HERE = Path(__file__).parent
VERSION = sys.version_info[1]

_spec = importlib.util.spec_from_file_location("late_programs", HERE / "late_programs.py")
assert _spec is not None
assert _spec.loader is not None
late_programs = importlib.util.module_from_spec(_spec)
sys.modules["late_programs"] = late_programs
_spec.loader.exec_module(late_programs)
USES = {name: use for name, use in late_programs.USES.items() if use.python[0] <= VERSION <= use.python[1]}

BEFORE = f"""
sys.path.append({str(HERE)!r})
import late_programs
use = late_programs.USES[NAME]
program = use.run()
next(program)
from isolate_fn._api import safety_apply
def forget(load=safety_apply.load_what_comes_later):
    for name in use.modules.split():
        sys.modules.pop(name, None)
        package, _, attribute = name.rpartition(".")
        if package in sys.modules:
            vars(sys.modules[package]).pop(attribute, None)
    # As in a script: "" in its place (python -c) takes getcwd(2), and another error where that is denied.
    sys.path[:] = filter(None, sys.path)
    if PRELOAD:
        load()
safety_apply.load_what_comes_later = forget
"""


def under(locked: Any, name: str, *, loaded: bool) -> Any:
    if USES[name].owner == "numpy":
        pytest.importorskip("numpy")
    apply = f"SafetyContext().enable('write', 'fstat', {USES[name].sets}).apply_to_current_thread()"
    inside = f"{apply}\nassert next(program, 'ended') == 'ended'"
    return locked(f"NAME, PRELOAD = {name!r}, {loaded}\n{BEFORE}", inside)


@pytest.mark.parametrize("name", USES)
def test_it_is_there(locked: Any, name: str) -> None:
    done = under(locked, name, loaded=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", USES)
def test_it_fails_without_the_preload(locked: Any, name: str) -> None:
    done = under(locked, name, loaded=False)
    if done.returncode == 0 and copes_without(name):
        pytest.skip(f"{USES[name].modules}: built into this interpreter, or this version of it copes without")
    assert done.returncode == 1, f"needs no preload on 3.{VERSION}"


def copes_without(name: str) -> bool:
    """Tell whether a program ends well, without a context, where none of its modules can be loaded from a file."""
    script = (
        f"import sys, threading\nNAME, PRELOAD = {name!r}, False\n{BEFORE}\nforget()\n"
        "class Denied:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name in use.modules.split() and name not in sys.builtin_module_names:\n"
        "            raise PermissionError(1, 'denied', name)\n"
        "sys.meta_path.insert(0, Denied())\n"
        "assert next(program, 'ended') == 'ended'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False).returncode == 0


def test_every_module_of_the_table_has_a_program() -> None:
    used = {(use.owner, module) for use in late_programs.USES.values() for module in use.modules.split()}
    used |= {("numpy", "numpy.fft"), ("numpy", "numpy.random")}  # cannot be imported a second time
    table = {(owner, module) for owner, modules in preload.LATER.items() for module in modules.split()}
    assert table <= used


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
