"""The caller's handle of one spawner: starts it without forking, feeds it plans, orders isolates."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import signal
import socket
import threading
import time
from collections.abc import Sequence

from isolate_fn._plan.orders import Plan, Start
from isolate_fn._runtime import launch, lifetime
from isolate_fn._runtime.control import HEADER, PLAN, START
from isolate_fn._runtime.prepared import SpawnerKey
from isolate_fn._sys.features import Features
from isolate_fn.errors import InternalError, SetupError, Unsupported

START_SECONDS = 60.0
_PLANS_KEPT = 200  # fewer than the spawner keeps


class SpawnerGone(Exception):
    """The spawner ended between two orders; start another."""


class SpawnerClient:
    """One running spawner.

    Args:
        key: what makes it different from others.
        features: of this kernel; decides whether it needs a user namespace of its own.

    Raises:
        Unsupported: this machine does not let us build namespaces; says why and what to do.
        SetupError: it could not be started.
    """

    def __init__(self, key: SpawnerKey, features: Features) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.numbers: dict[int, tuple[int, Plan]] = {}
        self.count = 0
        launched = launch.take(launch.LaunchKey(key.interpreter, key.environment, features.privileged, key.namespaces))
        self.control, self.first_stage = launched.control, launched.first_stage
        lifetime.hold(self)
        try:
            self._tell()
            self._await_greeting(features)
        except BaseException:
            self.abandon()
            raise

    def _tell(self) -> None:
        """Tell it what is not for its argument vector, which others can read."""
        told = pickle.dumps(
            {
                "sys_path": list(self.key.sys_path),
                "preload": self.key.preload,
                "idle_timeout": self.key.idle_timeout,
                "namespaces": self.key.namespaces,
                "later": self.key.later,
            }
        )
        # The other end may be dead already; its last words are read below.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.control.sendall(len(told).to_bytes(4, "little") + told)

    def _await_greeting(self, features: Features) -> None:
        """Wait until it says that it is ready, or why not; then collect the first stage, our only child."""
        line = b""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        deadline = time.monotonic() + START_SECONDS
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                break
            try:
                part = self.control.recv(4096)
            except ConnectionResetError:
                part = b""
            if not part:
                break
            line += part
        with contextlib.suppress(ChildProcessError):  # the caller's own SIGCHLD handling may have been faster
            if not line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.first_stage, signal.SIGKILL)
            os.waitpid(self.first_stage, 0)
        if line != b"+\n":
            raise _why(line.decode("utf-8", "replace"), features)

    def order(self, plan: Plan, start: Start, descriptors: Sequence[int]) -> None:
        """Order one isolate; it is built while the caller goes on.

        Raises:
            SpawnerGone: the spawner has ended (idle for too long, or killed).
        """
        with self.lock:
            try:
                self._send(START, start._replace(plan_id=self._number_of(plan)), descriptors)
            except (BrokenPipeError, ConnectionResetError) as gone:
                raise SpawnerGone from gone
            except OSError as failure:
                if failure.errno == errno.EBADF:  # closed by us in another thread
                    raise SpawnerGone from failure
                raise

    def _number_of(self, plan: Plan) -> int:
        """Return the number the spawner knows a plan by, telling it the plan first where it must."""
        known = self.numbers.get(id(plan))  # by identity: the caller keeps one object per policy
        if known is None:
            self.count += 1
            known = self.numbers[id(plan)] = (self.count, plan)
            self._send(PLAN, known, ())
            if len(self.numbers) > _PLANS_KEPT:
                del self.numbers[next(iter(self.numbers))]
        return known[0]

    def _send(self, kind: int, body: object, descriptors: Sequence[int]) -> None:
        payload = pickle.dumps(body, 5)
        message = HEADER.pack(kind, len(payload)) + payload
        if descriptors:
            sent = socket.send_fds(self.control, [message], descriptors, socket.MSG_NOSIGNAL)
        else:
            sent = self.control.send(message, socket.MSG_NOSIGNAL)
        if sent < len(message):
            self.control.sendall(message[sent:], socket.MSG_NOSIGNAL)

    def abandon(self) -> None:
        """Close the control socket; its end is how the spawner learns that nobody needs it."""
        self.control.close()

    def end(self) -> None:
        """Close and wait until the spawner, and with it its pid namespace, is gone."""
        lifetime.let_go(self)
        if self.control.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(self.control, select.POLLIN)
            poll.poll(5000)  # end of file comes when its last process has let go of the socket
        self.control.close()


def _why(line: str, features: Features) -> Exception:
    """Turn the first stage's last words into the error that names the cause."""
    if not line.startswith("!"):
        return SetupError("start the spawner", "exec", 0, "it ended without a word; see that the interpreter works")
    code, call, text = [*line[1:].rstrip("\n").split("\t", 2), "", ""][:3]
    number = int(code) if code.isdigit() else 0
    if call in ("unshare", "uid_map", "/proc/self/uid_map", "mount") and number in (errno.EPERM, errno.ENOSPC, errno.EINVAL):
        found = features.userns_cause or _guess(number)
        return Unsupported(
            "engine 'namespaces'",
            "user namespaces for this user, or CAP_SYS_ADMIN",
            f"{call} failed: {text} ({found})",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 23.10+), "
            "sysctl kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces > 0, or in a container a "
            "seccomp profile that allows unshare and mount (docker run --security-opt seccomp=unconfined)",
        )
    if call == "" and ("preload" in text or "Error" in text):
        return SetupError("import preload", text, number, "see that the module can be imported without site's help")
    if number:
        remedy = "see what on this machine refuses it; `isolate-fn doctor` helps"
        return SetupError("start the spawner", call or text, number, remedy)
    error = InternalError(f"the spawner could not start: {call} {text}")
    error.ran = False
    return error


def _guess(number: int) -> str:
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", encoding="ascii") as switch:
            if switch.read().strip() == "1":
                return "AppArmor restricts unprivileged user namespaces on this machine"
    except OSError:
        pass
    if number == errno.ENOSPC:
        return "the limit user.max_user_namespaces is reached"
    return "refused by a container's seccomp profile, a security module or a sysctl"
