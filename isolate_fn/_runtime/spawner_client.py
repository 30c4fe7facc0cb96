"""The caller's handle of one spawner: starts it without forking, feeds it plans, orders isolates."""

from __future__ import annotations

import contextlib
import errno
import marshal
import select
import socket
import threading
import time
from collections.abc import Sequence

from isolate_fn._plan.orders import Plan, Start, plain
from isolate_fn._runtime import launch, lifetime
from isolate_fn._runtime.control import HEADER, PLAN, START
from isolate_fn._runtime.prepared import SpawnerKey
from isolate_fn._sys.features import Features
from isolate_fn.errors import InternalError, SetupError, Unsupported

START_SECONDS = 60.0
_ONE_PACKET = 1 << 14
_PLANS_KEPT = 200  # fewer than the spawner keeps


class SpawnerGone(Exception):
    """The spawner ended between two orders; start another."""


def killed_for_memory() -> int | None:
    """Return how many processes the kernel has killed for want of memory since it started, None where it does not tell."""
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().rpartition(b"\noom_kill ")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return None


class SpawnerClient:
    """One running spawner.

    Args:
        key: what makes it different from others.
        features: of this kernel; decides whether it needs a user namespace of its own.

    Attributes:
        short_of_memory: how many processes the kernel had killed for want of memory when it started.

    Raises:
        Unsupported: this machine does not let us build namespaces; says why and what to do.
        SetupError: it could not be started.
    """

    def __init__(self, key: SpawnerKey, features: Features) -> None:
        self.key = key
        self.lock = threading.RLock()
        self.numbers: dict[int, tuple[int, Plan]] = {}
        self.count = 0
        self._torn = False
        mode = launch.mode_of(key.engine, privileged=features.privileged)
        launched = launch.take(launch.LaunchKey(key.interpreter, key.environment, mode, key.namespaces))
        self.control, self.first_stage = launched.control, launched.first_stage
        lifetime.hold(self)
        try:
            self._tell()
            self.short_of_memory = killed_for_memory()  # while it starts
            greeting = self._await_greeting()
            launched.collect(kill=not greeting)
            if greeting != b"+\n":
                raise _why(greeting.decode("utf-8", "replace"), features)
        except BaseException:
            launched.end()
            raise
        lifetime.let_go(launched)

    def _tell(self) -> None:
        """Tell it what is not for its argument vector, which others can read."""
        told = marshal.dumps(
            {
                "sys_path": list(plain(self.key.sys_path)),
                "preload": plain(self.key.preload),
                "idle_timeout": plain(self.key.idle_timeout),
                "namespaces": plain(self.key.namespaces),
                "later": self.key.later,
                "engine": self.key.engine,
            }
        )
        # The other end may be dead already; its last words are read below.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.control.sendall(len(told).to_bytes(4, "little") + told)

    def _await_greeting(self) -> bytes:
        """Wait until it says that it is ready, or why not; nothing where it ends, or takes too long."""
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
        return line

    def order(self, plan: Plan, start: Start, descriptors: Sequence[int]) -> None:
        """Order one isolate; it is built while the caller goes on.

        Raises:
            SpawnerGone: the spawner has ended (idle for too long, or killed).
        """
        with self.lock:
            if self._torn:
                raise SpawnerGone
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
            known = (self.count, plan)
            self._send(PLAN, known, ())
            self.numbers[id(plan)] = known  # only now: a signal handler that makes a call would believe it
            if len(self.numbers) > _PLANS_KEPT:
                del self.numbers[next(iter(self.numbers))]
        return known[0]

    def _send(self, kind: int, body: tuple[object, ...], descriptors: Sequence[int]) -> None:
        payload = marshal.dumps(plain(body))
        message = HEADER.pack(kind, len(payload)) + payload
        # What fits into one packet of the kernel's is sent as a whole or not at all, whatever signal comes.
        self._torn = len(message) > _ONE_PACKET
        if descriptors:
            sent = socket.send_fds(self.control, [message], descriptors, socket.MSG_NOSIGNAL)
        else:
            sent = self.control.send(message, socket.MSG_NOSIGNAL)
        if sent < len(message):
            self.control.sendall(message[sent:], socket.MSG_NOSIGNAL)
        self._torn = False

    def alive(self) -> bool:
        """True while it has not ended: after its greeting it says no more, and what can be read is its end."""
        if self.control.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        return not poll.poll(0)

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
    filtered, code = code.endswith("F"), code.removesuffix("F")
    number = int(code) if code.isdigit() else 0
    refused = _refused(call, number, filtered, text, features)
    if refused is not None:
        return refused
    emulated = _emulated()
    if emulated is not None:
        return emulated
    if call == "" and text.startswith("BlockingIOError"):  # the only call of its stages that does not name itself
        from isolate_fn._plan import remedies

        return SetupError("start the spawner", "fork", number, remedies.of_start(number))
    if call == "" and ("preload" in text or "Error" in text):
        return SetupError("import preload", text, number, "see that the module can be imported without site's help")
    if number:
        remedy = "run `isolate-fn doctor`, which finds what on this machine refuses it"
        return SetupError("start the spawner", call or text, number, remedy)
    error = InternalError(f"the spawner could not start: {call} {text}")
    error.ran = False
    return error


def _emulated() -> Unsupported | None:
    """Return the error for an emulator: its own threads, for one, keep every spawner from starting."""
    from isolate_fn._plan import remedies
    from isolate_fn._runtime import refusal

    seen = refusal.look()
    remedy = remedies.instead_of_linux(seen)
    if remedy is None or "gVisor" in seen.places:  # which runs most things
        return None
    return Unsupported("engine 'namespaces'", "Linux itself", remedy.cause, remedy.fix)


def _refused(call: str, number: int, filtered: bool, text: str, features: Features) -> Unsupported | None:
    """Return the error for a machine that makes no namespaces for us; None where something else went wrong."""
    from isolate_fn._plan import remedies
    from isolate_fn._runtime import refusal  # here and above: a machine that isolates has no use for them

    if not remedies.is_refusal(call, number):
        return None
    remedy = remedies.refusal(call, number, filtered, refusal.look())
    fix = remedies.of_user_namespaces(features.userns_cause) if features.userns_cause else remedy.fix
    instead = features.landlock > 0 and features.seccomp and not features.privileged
    error = Unsupported(
        "engine 'namespaces'",
        "namespaces of its own" if features.privileged else "user namespaces for this user, or root with CAP_SYS_ADMIN",
        f"{call} failed: {text} ({features.userns_cause or remedy.cause})",
        f"{fix}{remedies.OTHER_ENGINE if instead else ''}",
    )
    error.lasting = number != errno.ENOSPC  # type: ignore[attr-defined]  # a limit that is reached may be free again
    error.cause, error.fix = features.userns_cause or remedy.cause, fix  # type: ignore[attr-defined]
    return error
