"""What attacks are let loose on: victims of the selftest's own, made for it and gone after it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from isolate_fn._api.decorator import isolated
from isolate_fn._api.prepare import prepare
from isolate_fn._diagnose.selftest import native
from isolate_fn._diagnose.selftest.attack import PRIVATE, Facts, NotHere
from isolate_fn._diagnose.selftest.scene import Scene, heard
from isolate_fn._runtime.report import Enforcement
from isolate_fn._sys.features import PRETEND
from isolate_fn.errors import IsolationError
from isolate_fn.policy.mounts import ro, rw
from isolate_fn.policy.policy import Policy

IDLE = 10.0
"""Seconds after which what the selftest started is gone, should nobody end it before."""

# A victim that lets itself be traced: where the Yama module forbids tracing other processes, it is the victim who allows it.
_VICTIM = "import ctypes, time; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0); time.sleep(600)"

# Numbers that an isolate has itself: such a victim would not be missed where only its own processes are seen.
_SMALL = 32


class Outcome(NamedTuple):
    """How a call ended: its value, or its error; and after how many seconds."""

    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


class World:
    """Two scenes of files, servers on the loopback interface, processes, and secrets of this process's own.

    Attributes:
        enforcement: what the isolates under attack are behind, once one has been made.
        confined: isolates have no namespaces, nor mounts: their engine is ``"landlock"``.
        proc: isolates have a /proc of their own; where the kernel refuses a new one, as in many containers, they have none.
        whole: how a throwaway caller ended that lacks nothing, once one has been asked.

    Use as a context manager. While it is open, this process has one more environment variable and two descriptors that its
    children could inherit; when it is closed, nothing of all that is left.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self.enforcement: Enforcement | None = None
        self.proc, self.confined = True, False
        self.whole: dict[str, Any] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> World:
        """Make everything."""
        with self._open:
            self._make()
            self._open = self._open.pop_all()
        return self

    def _make(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="isolate-fn-selftest-"))
        self._open.callback(remove, self.directory)
        self.directory.chmod(0o755)
        self.inside, self.outside = (Scene(self.directory / name) for name in ("inside", "outside"))
        for scene in (self.inside, self.outside):
            self._open.callback(scene.close)
        self.halves = secrets.token_hex(16), secrets.token_hex(16)
        self.held = "".join(self.halves)
        self.variable = f"SELFTEST_{self.token.upper()}"
        os.environ[self.variable] = self.token
        self._open.callback(os.environ.pop, self.variable, None)
        self.inherited = self._inheritable(self.directory), self._inheritable(self.inside.secret)
        self._serve()
        self._share_memory()

    def _inheritable(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY)
        self._open.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        return descriptor

    def _serve(self) -> None:
        self.abstract = f"isolate-fn-selftest-{self.token}"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self._servers = [self.tcp]
        self.tcp6_port = 0
        with contextlib.suppress(OSError):  # a machine without IPv6
            self._servers.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
            self.tcp6_port = self._servers[-1].getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0{self.abstract}")
        abstract.listen()
        self._servers += [self.udp, abstract]
        for server in self._servers:
            self._open.callback(server.close)
            server.setblocking(False)

    def _share_memory(self) -> None:
        self.memory_key = secrets.randbelow(1 << 30) + 1
        segment = native.call("shmget", self.memory_key, 4096, 0o1666)  # IPC_CREAT
        if segment >= 0:
            self._open.callback(native.call, "shmctl", segment, 0, 0)  # IPC_RMID

    def start_victims(self) -> None:
        """Start a process for each side to attack. After the first isolate, so that their numbers are none of an isolate's."""
        self.victims = [self._start_victim(), self._start_victim()]

    def _start_victim(self) -> subprocess.Popen[bytes]:
        for _ in range(_SMALL):
            victim = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _VICTIM, self.argument],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            self._open.callback(_end, victim)
            if victim.pid > _SMALL:
                break
        return victim

    @property
    def argument(self) -> str:
        """Return a word that is on the victims' command lines only."""
        return f"argument-{self.token}"

    def facts(self, scene: Scene, **more: Any) -> Facts:
        """Return what an attacker of one side is told.

        Args:
            scene: the side's files.
            **more: what is different for this side.
        """
        here = {"shared": str(scene.shared), "drop": str(scene.drop), "scratch": str(scene.scratch)}
        return Facts(
            secret=str(scene.secret), beside=str(scene.beside), handle=scene.handle(), tcp=self.tcp.getsockname()[1],
            tcp6=self.tcp6_port, udp=self.udp.getsockname()[1], abstract=self.abstract, caller=os.getpid(),
            victim=self.victims[scene is self.outside].pid, memory_key=self.memory_key, halves=self.halves,
            variable=self.variable, argument=self.argument, user=os.geteuid(), **{**here, **more},
        )  # fmt: skip

    def facts_inside(self) -> Facts:
        """Return what attackers inside are told: granted directories have other names there, where anything is mounted."""
        if self.confined:
            return self.facts(self.inside, scratch=PRIVATE)
        return self.facts(self.inside, shared="/shared", drop="/drop", scratch="/tmp")

    def options(self) -> dict[str, Any]:
        """Return the options of the isolates under attack: the strictest, with two directories granted."""
        mounts = [ro(self.inside.shared, "/shared"), rw(self.inside.drop, "/drop")]
        if self.confined:
            mounts = [ro(self.inside.shared), rw(self.inside.drop)]
        # The variable of their own gives them a spawner that was started after everything that might leak into it.
        environment = {"SELFTEST": self.token}
        return {
            "mounts": mounts, "env": environment, "prewarm": 0, "idle_timeout": IDLE, "timeout": 60, "output": "discard",
        }  # fmt: skip

    def first_call(self) -> None:
        """Make an isolate, and see what it is behind.

        Raises:
            IsolationError: isolation does not work here.
        """
        self.confined = prepare(Policy()).plan.engine == "landlock"
        decorated = isolated(**self.options())(os.path.exists)
        try:
            self.proc = decorated("/proc/self/status") and not self.confined
            self.enforcement = decorated.enforcement()
        finally:
            with contextlib.suppress(IsolationError):
                decorated.close()

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
        """Call a function in an isolate of its own.

        Args:
            function: of an importable module.
            *args: its arguments.
            **options: of `isolate_fn.isolated`, in place of the usual ones.
        """
        decorated = isolated(**{**self.options(), **options})(function)
        began = time.monotonic()
        try:
            return Outcome(decorated(*args), None, time.monotonic() - began)
        except BaseException as error:  # every end is an outcome, one that nobody may raise here most of all
            if isinstance(error, KeyboardInterrupt) and not error.args:  # the user's own
                raise
            return Outcome(None, error, time.monotonic() - began)
        finally:
            with contextlib.suppress(IsolationError):  # of a policy that was refused
                decorated.close()

    def attempts(self, words: Sequence[dict[str, Any]], pretend: str = "") -> list[dict[str, Any]]:
        """Make calls from throwaway callers that lack something; see ``caller.py``.

        Args:
            words: what each lacks.
            pretend: features that its kernel is to lack, for ``ISOLATE_FN_PRETEND``.

        Returns:
            How each ended.

        Raises:
            NotHere: a caller could not be made so, or ended itself.
        """
        environment = child_environment()
        if pretend:
            environment[PRETEND] = ",".join(filter(None, (environment.get(PRETEND), pretend)))
        orders = [{"marker": str(self.inside.drop / "ran"), **each} for each in words]
        done = subprocess.run(
            [sys.executable, "-m", "isolate_fn._diagnose.selftest.caller", "attempt"], input=json.dumps(orders).encode(),
            cwd=self.outside.scratch, env=environment, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        for each in found:
            if each.get("unable"):
                raise NotHere(each["unable"])
        if len(found) != len(orders):
            raise NotHere(f"a caller ended by itself: {done.stderr.decode(errors='replace')[-200:].strip()}")
        return found

    def contacted(self) -> str:
        """Say whether somebody reached a server; "" for nobody."""
        return heard(*self._servers) or self.inside.contacted()

    def victim_harmed(self) -> str:
        """Say whether the inside's victim has ended; "" if it lives."""
        return "" if self.victims[0].poll() is None else "a process of the host was ended"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove everything."""
        self._open.close()


def harmed(world: World) -> str:
    """Check of attacks on files."""
    return world.inside.harm()


def contacted(world: World) -> str:
    """Check of attacks on sockets."""
    return world.contacted()


def no_proc(world: World) -> str:
    """Say that attacks which read /proc cannot be made, where there is none inside."""
    if world.confined:
        return "isolates have no /proc of their own: the host's is denied to them"
    return (
        ""
        if world.proc
        else "isolates have no /proc: the kernel refuses a new one where /proc is masked, as in containers"
    )


def victim_harmed(world: World) -> str:
    """Check of attacks on processes."""
    return world.victim_harmed()


def child_environment() -> dict[str, str]:
    """Return the environment of child interpreters that find this package from whatever directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in map(os.path.abspath, sys.path))}


def remove(directory: Path) -> None:
    """Remove a directory with everything that attackers may have made of it."""

    def permit(function: Callable[..., Any], path: str, problem: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
        with contextlib.suppress(OSError):
            function(path)

    options: Mapping[str, Any] = {"onexc": permit} if sys.version_info >= (3, 12) else {"onerror": permit}
    shutil.rmtree(directory, **options)


def _end(victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    victim.wait()
