"""`Isolate`: the builder of the Rust crate extrasafe, over this package's own sandbox, for programs that are ported.

New code is shorter with `isolated` and `sandbox`, which also carry arguments in and results out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from isolate_fn._api.one_thread_environ import environ_of_this_thread
from isolate_fn.errors import Crashed, PolicyError, SyscallDenied
from isolate_fn.policy.checks import number_of
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.mounts import Mount, ro, rw
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.values import FrozenDict

_MOST_MEBIBYTES = (1 << 40) - 1
_setups: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class IsolateOutput:
    """How a function in an isolate ended, and what it printed.

    Attributes:
        returncode: 0 where it returned, the status of ``sys.exit`` or ``os._exit``, 1 after an exception, and minus the
            number of the signal that killed it, as in `subprocess`. (The seed gives the number without the minus, which
            an exit status may be as well.)
        stdout: what it wrote to stdout, as far as ``limits.output`` allows.
        stderr: likewise to stderr; the traceback of an exception is there.
    """

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def success(self) -> bool:
        """Whether the function returned, or exited with status 0."""
        return self.returncode == 0


@dataclass(frozen=True, init=False, repr=False)
class Isolate:
    """A function to be run in namespaces of its own, with an empty root and chosen bind mounts.

    A value: each method returns a new one. What runs there runs in this package's isolate, which is stricter than the
    seed's. Deliberately different:

    - the user inside is not root (uid 1000 where the seed has 0), holds no capabilities, and cannot mount;
    - system call filter, Landlock and limits of `sandbox` are in force, which its options change (`options`);
    - ``/`` is read-only. ``/tmp``, ``/dev/shm`` and the working directory (``/work``) are writable, on the tmpfs that
      `set_rootfs_size` sizes; the Python runtime, an own ``/proc`` and a small ``/dev`` are there;
    - loopback is up in the isolate's own network;
    - the function may be any callable without arguments, closures included; nothing of the program is run again, no
      directory in ``/tmp`` and no memfd of the interpreter is made;
    - a timeout and a limit on output can be had; the caller's end is the isolate's end.

    Args:
        name: for reports and for `main_hook`.
        function: what to run; takes no arguments, and its value is ignored.

    Raises:
        PolicyError: the name is not printable text, or ``function`` is not callable.
    """

    name: str
    function: Callable[[], object]
    policy: Policy

    def __init__(self, name: str, function: Callable[[], object]) -> None:
        if not callable(function):
            raise PolicyError("Isolate", f"{function!r:.60} is not callable", "pass a function without arguments")
        policy = Policy(name=name, limits=Limits(rootfs_size="10M"), output="capture")
        self._keep(name, function, policy)

    def _keep(self, name: str, function: Callable[[], object], policy: Policy) -> None:
        for field, value in (("name", name), ("function", function), ("policy", policy)):
            object.__setattr__(self, field, value)

    def _with(self, **options: Any) -> Isolate:
        made = object.__new__(Isolate)
        made._keep(self.name, self.function, Policy.from_options(self.policy, **options))
        return made

    def add_bind_mount(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        *,
        read_only: bool = False,
        allow_code: bool = False,
    ) -> Isolate:
        """Show a file or directory of the host inside, with all that is mounted below it.

        The seed keeps one destination per source and mounts in random order; here every call counts, in the order of the
        calls, so that a directory comes before what lies in it.

        Args:
            src: path outside; relative to the working directory of now. It must exist when the isolate runs.
            dst: where inside, from the root even if relative. ``..`` is refused, and so is a leading ``.``.
            read_only: do not let the isolate write there; the seed's mounts are always writable.
            allow_code: permit a writable source that this program could later import or run, which hands whoever
                controls the isolate this program as well.

        Raises:
            PolicyError: a path that cannot be meant; ConflictingRules where one mount would hide another.
        """
        source, destination = _outside(src), _inside(dst)
        mount = ro(source, destination) if read_only else rw(source, destination, allow_code=allow_code)
        mounts: tuple[Mount, ...] = (*self.policy.mounts, mount)
        return self._with(mounts=mounts)

    def set_rootfs_size(self, mebibytes: int) -> Isolate:
        """Set how much the function can write outside its bind mounts.

        Args:
            mebibytes: at least 1; 10 unless set. 0 is refused: the kernel, and the seed, take it for no limit at all.

        Raises:
            PolicyError: not a positive whole number.
        """
        size = number_of("set_rootfs_size", mebibytes, maximum=_MOST_MEBIBYTES) << 20
        return self._with(limits=replace(self.policy.limits, rootfs_size=size))

    def new_network(self, isolated: bool) -> Isolate:
        """Choose the network: True, the default, for an own one that reaches nothing, False for the host's.

        Raises:
            PolicyError: not a bool.
        """
        if not isinstance(isolated, bool):
            raise PolicyError("new_network", f"{isolated!r:.60} is not a bool", "pass True or False")
        return self._with(network=not isolated)

    def options(self, **options: Any) -> Isolate:
        """Change other options of `sandbox`, which the seed lacks: ``timeout=``, ``limits=``, ``accept=``, ...

        Raises:
            PolicyError: an option does not exist or has a wrong value.
        """
        if "output" in options:
            raise PolicyError("output", "an Isolate returns what was written", "use .stdout and .stderr of the result")
        return self._with(**options)

    def run(self: Isolate | str, env: Mapping[str, str] = FrozenDict()) -> IsolateOutput:
        """Run the function in a new isolate, wait for its end, and return how it ended.

        Also ``Isolate.run(name, env)``: run what `main_hook` has set up under a name.

        Args:
            env: environment variables inside, beside those that every isolate has (PATH, LANG, HOME, PWD, TMPDIR). Nothing
                of this process's environment but the language settings gets in.

        Raises:
            PolicyError: a mount's source is missing; no such name.
            Unsupported, SetupError: the isolate cannot be built here.
            TimedOut, LimitExceeded: with ``options(timeout=..., limits=...)``; ``.report`` holds what was written.
        """
        isolate = self if isinstance(self, Isolate) else _set_up(self, env)
        return isolate._run(env)

    @staticmethod
    def main_hook(name: str, setup: Callable[..., Isolate]) -> None:
        """Set up a name for ``Isolate.run(name, env)``.

        In the seed this stands first in ``main``, because `run` starts the whole program again. Here it only notes the
        function; call it any time before. Setting a name up again replaces it.

        Args:
            name: what `run` calls it.
            setup: called with the name, at each run, and returns the `Isolate`. As in the seed, ``os.environ`` holds
                exactly the variables given to `run` while it does; only its own thread sees that.

        Raises:
            PolicyError: the name is not printable text, or ``setup`` is not callable.
        """
        if not callable(setup):
            raise PolicyError("main_hook", f"{setup!r:.60} is not callable", "pass a function that returns an Isolate")
        _setups[_checked(name)] = setup

    def _run(self, env: Mapping[str, str]) -> IsolateOutput:
        from isolate_fn._api.context import sandbox

        box = sandbox(policy=self.policy, env={**self.policy.env, **Policy(env=env).env})
        with box:
            code = _status_of(lambda: box.call(run_as_main, self.function))
        report = box.report()
        return IsolateOutput(code, report.stdout, report.stderr)

    def __repr__(self) -> str:
        return f"<Isolate {self.name!r} {self.policy!r}>"


def _checked(name: str) -> str:
    checked = Policy(name=name).name
    assert checked is not None
    return checked


def _set_up(name: str, env: Mapping[str, str]) -> Isolate:
    """Return what the setup function of a name makes."""
    setup = _setups.get(name) if isinstance(name, str) else None
    if setup is None:
        known = ", ".join(map(repr, _setups)) or "none"
        problem = f"{name!r:.60} was not set up; known: {known}"
        raise PolicyError("Isolate.run", problem, "call Isolate.main_hook(name, setup) before")
    with environ_of_this_thread(Policy(env=env).env):
        made = setup(name)
    if not isinstance(made, Isolate):
        raise PolicyError("main_hook", f"the setup of {name!r} returned {made!r:.60}", "return the Isolate")
    return made


def _outside(src: str | os.PathLike[str]) -> str | os.PathLike[str]:
    if not isinstance(src, (str, os.PathLike)):
        return src  # refused, with its type, by who takes it
    text = os.fspath(src)
    return os.path.join(os.getcwd(), text) if text and not text.startswith(("/", "~")) else text


def _inside(dst: str | os.PathLike[str]) -> str:
    text = os.fspath(dst)
    if not isinstance(text, str):
        raise PolicyError("add_bind_mount", f"{dst!r:.60} is a path of bytes", "use os.fsdecode() of it")
    parts = text.split("/")
    if ".." in parts:
        raise PolicyError("add_bind_mount", f"dst directory must not contain .. paths: {text!r}", "write it without")
    if parts[0] == ".":
        raise PolicyError(
            "add_bind_mount", f"dst directory must not contain . paths: {text!r}", "write it from the root"
        )
    return text if text.startswith("/") or not text else f"/{text}"


def _status_of(call: Callable[[], NoReturn]) -> int:
    """Return how a process ended that never answers."""
    try:
        call()
    except Crashed as end:
        if end.exit_code is None and end.signal is None:
            raise
        return -end.signal if end.signal is not None else int(end.exit_code or 0)
    except SyscallDenied as end:
        if end.syscall:
            raise
        return -signal.SIGSYS
    raise AssertionError("an isolate's main function returned")


def run_as_main(function: Callable[[], object]) -> NoReturn:
    """Run a function as a program runs its main function: its end is the process's end. In the isolate.

    The process does not answer, it exits. So a function that takes away its own right to answer (by a `SafetyContext`)
    ends as well as any other.
    """
    from isolate_fn._sys import calls  # now: afterwards files may be out of reach

    code = 0
    try:
        function()
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
    except BaseException as error:
        code = 1
        # Without our own frame; a traceback starts where the program does.
        below = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(below), below)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the function closed or replaced it, or is not allowed to write any more
    try:
        calls.flush_stdio()
    except OSError:
        pass  # the same of C code's
    os._exit(code)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


__all__ = ["Isolate", "IsolateOutput"]
