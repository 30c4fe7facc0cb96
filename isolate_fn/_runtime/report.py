"""What was put in place, and what happened: the values that users get to see."""

from __future__ import annotations

from collections.abc import Mapping

from isolate_fn._frozen import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Enforcement:
    """What was really put in place; ``dropped`` explains every difference from the request.

    Attributes:
        engine: ``"namespaces"`` or ``"landlock"``.
        layers: walls in force, in the order they were put up.
        landlock_abi: ABI of the rule set, 0 where there is none.
        uid: host user id the code runs under.
        accepted: weakenings of `isolate_fn.dangerous` that were accepted, by name.
        dropped: sentences, one for each wall or option that is weaker than asked.
        warnings: sentences about grants that reach further than they look, such as a mount with a socket in it.
        properties: those of ``require=`` that hold.
        differences: sentences, one for each thing that is otherwise than with the namespaces engine; none with that one.
        memory: how memory is limited: ``"cgroup"``, ``"watched"`` or ``"none"``.
    """

    engine: str
    layers: tuple[str, ...]
    landlock_abi: int
    uid: int
    accepted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: str = "none"
    properties: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


_WITHHELD = "it may hold secrets, or code that this program runs, so mount it only if the function is meant to have that"


@dataclass(frozen=True, kw_only=True)
class Denial:
    """One thing that was denied, and what would have permitted it. Text in it is the isolate's word, made safe to print.

    Attributes:
        syscall: name of the system call; ``"others"`` for all beyond the first different ones.
        args: its arguments, flags by name.
        path: the path that it was about, None where there is none.
        errno: what it was answered.
        pid: number inside of the process that made it, 0 if unknown.
        tid: of the thread.
        program: it was made by a program that the sandbox block started, not by Python code of a call.
        count: how often; exact up to 64, from then on at least half of the truth.
        location: ``"file:line"`` of the code that made it, None where there is no Python code or it could not be read.
        stack: more of that, the innermost frame first.
        fix: options that would permit it, as written in a policy; a list among them is to be added to the policy's. What has
            to take the place of something in it is written ``in place of A: B``. Empty where no option permits it.
    """

    syscall: str
    args: tuple[str, ...] = ()
    path: str | None = None
    errno: int = 0
    pid: int = 0
    tid: int = 0
    program: bool = False
    count: int = 1
    location: str | None = None
    stack: tuple[str, ...] = ()
    fix: str = ""

    def __str__(self) -> str:
        from errno import errorcode

        times = f", {self.count} times" if self.count > 1 else ""
        place = f" at {self.location}" if self.location else " by a program" if self.program else ""
        instead = self.fix.startswith("in place of ")
        remedy = self.fix if instead else f"add {self.fix}" if self.fix else "no option permits it"
        if self.syscall == "open" and self.errno and not self.args:
            return f"{self.path!r} {self._absence()}{place}; {remedy if self.fix else _WITHHELD}"
        if self.syscall == "others":
            return f"further system calls were denied{times}"
        answer = errorcode.get(self.errno, str(self.errno))
        return f"{self.syscall}({', '.join(self.args)}) was denied with {answer}{place}{times}; {remedy}"

    def _absence(self) -> str:
        """Say of a file in what way it is not there, and of a writable mount what that means."""
        from errno import EACCES, EROFS

        words = {EACCES: "is denied to the isolate", EROFS: "is read-only in the isolate"}
        what = words.get(self.errno, "exists outside, but not in the isolate")
        writable = self.fix.startswith("mounts=[rw(") or (self.fix.startswith("in place of ") and ": rw(" in self.fix)
        return f"{what} (rw lets it change the host's own)" if writable else what


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one isolate did.

    Attributes:
        enforcement: the walls it ran behind; None if it ended before they stood.
        denied: what was denied: system calls, and files that are not mounted; None where it is not recorded.
        peak_memory: most memory its processes were seen to use together (bytes).
        cpu_seconds: processor time of all its processes (seconds).
        disk: bytes on its root tmpfs when it was last asked, which is at its end or when a limit was reached.
        inodes: files and directories there, its own included.
        stdout_bytes: bytes it wrote to stdout.
        stderr_bytes: bytes it wrote to stderr.
        stdout: what was captured with ``output="capture"``.
        stderr: likewise.
        stages: seconds by stage: ``"spawner"`` (waiting for the one that builds it, long only for the first), ``"start"``
            (ordering it), ``"ready"`` (waiting for its walls and checking them), ``"call"`` (the last one, up to its end
            however it ended).
    """

    enforcement: Enforcement | None = None
    denied: tuple[Denial, ...] | None = None
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    disk: int = 0
    inodes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    stages: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """Return what was used, in one line: the most memory, processor time, what lies on the tmpfs, output, time per stage."""
        used = (
            f"memory {_size(self.peak_memory)} at most, processor {self.cpu_seconds:.2f} s, "
            f"files {_size(self.disk)} in {self.inodes}, "
            f"stdout {_size(self.stdout_bytes)}, stderr {_size(self.stderr_bytes)}"
        )
        stages = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.stages.items())
        return f"{used}; {stages}" if stages else used


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
