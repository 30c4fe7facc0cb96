"""`learn`: functions and programs run inside the walls with everything to look at, and what they do is written down."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from isolate_fn._api.grants import Naming
from isolate_fn._diagnose.learn.arguments import may_be_executed, programs_among, shown
from isolate_fn._diagnose.learn.boxes import LearningBox, told
from isolate_fn._diagnose.learn.copies import Copies
from isolate_fn._diagnose.learn.inside import to_the_end
from isolate_fn._diagnose.learn.room import Room
from isolate_fn._diagnose.learn.secrets import secret_below
from isolate_fn._diagnose.learn.seen import Seen
from isolate_fn._diagnose.learn.temporary import Temporary, sweep
from isolate_fn._diagnose.learn.trim import attempt, needless
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.sharing import own_places
from isolate_fn._runtime.wide import HIDDEN
from isolate_fn.errors import PolicyError
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.mounts import Mount, ro, rw
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.tokens import TrustResult

T = TypeVar("T")
Paths = Iterable[str | os.PathLike[str]]

_PLENTY = Limits(rootfs_size="1G", rootfs_inodes=1 << 20, processes=1024, open_files=4096, output="64M", result="256M")
_ROUNDS = 6


class Learning(Seen):
    """A block in which functions and programs are run to learn what they need; made by `learn`.

    Each call and each program runs in a sandbox of its own.

    Args:
        options: as `learn` takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(options["base"])
        self._net: bool = options["net"]
        self._rw, self._scratch = _paths("rw", options["rw"]), _paths("scratch", options["scratch"])
        self._allowed = _paths("allow", options["allow"])
        for path in self._rw:
            secret = "" if any(path == each or is_within(path, each) for each in self._allowed) else secret_below(path)
            if secret:
                remedy = "use scratch=, which leaves secrets out, or name the directory by allow=, too"
                raise PolicyError("rw", f"{path!r} holds secrets, which could be read there: {secret}", remedy)
        self._timeout: float | None = options["timeout"]
        self._say: Callable[[str], None] = options["say"]
        self._trim: bool = options["trim"]
        self._output: Any = options["output"]
        self._temporary: Temporary | None = None
        self._copies = Copies()
        self._programs: set[str] = set()
        self._kind = ""

    def __enter__(self) -> Learning:
        """Make the place for what is seen."""
        if self._temporary is not None:
            raise PolicyError("learn", "this block was entered before", "write with learn(...) again")
        sweep()
        self._temporary = Temporary("learn")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take away what is temporary; what was seen stays."""
        try:
            self._copies.close()
        finally:
            if self._temporary is not None:
                with contextlib.suppress(OSError):  # the next block tries again
                    self._temporary.close()

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function inside, and return its value or raise its exception.

        Of one that was decorated with ``@isolated`` the options stay that do not grant anything. Where it wants to change
        files, it is called again with temporary copies of their directories, until it gets no further by that.

        Args:
            function: any function that `isolated` could decorate; of a generator function all items are returned in a list.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            Unsupported: this machine cannot do it safely.
        """
        self._become("function")
        given = getattr(function, "policy", None)
        if isinstance(given, Policy):
            self.base = given
        for value in (*args, *kwargs.values()):
            if isinstance(value, Mount):
                problem = f"{value!r} grants something to one call, and what to grant is what is to be learned"
                raise PolicyError(Naming(function, args, kwargs)(value), problem, "pass the path as a text or pathlib.Path")
        self.homes.add(getattr(function, "__module__", None) or "")
        plain, first = to_the_end(getattr(function, "__wrapped__", function))
        result: T = self._again((*args, *kwargs.values()), lambda box: box.call(plain, *first, *args, **kwargs))
        return result

    def run(self, argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program inside; the contract of `subprocess.run`, as that of ``run`` of a `sandbox`.

        Args:
            argv: program and arguments.
            **options: as there.

        Raises:
            Unsupported: this machine cannot do it safely.
        """
        return self.within(argv, lambda box: box.run(argv, **options))

    def within(self, argv: Sequence[str | os.PathLike[str]], act: Callable[[Any], T]) -> T:
        """Let a function run a program in a sandbox that it is given.

        Args:
            argv: what it will run.
            act: gets a sandbox, perhaps several times.
        """
        self._become("program")
        self.program = True
        return self._again(argv, act)

    def _become(self, kind: str) -> None:
        if self._temporary is None:
            raise PolicyError("learn", "the block is not open", "use it as `with learn() as seen:`")
        if self._kind not in ("", kind):
            raise PolicyError("learn", "functions and programs need different policies", "use a block for each")
        self._kind = kind

    def _again(self, arguments: Iterable[Any], act: Callable[[Any], T]) -> T:
        """Run, and run again while more is learned by it; only the last run is an answer."""
        arguments = tuple(arguments)
        self.shown |= frozenset(shown(arguments, self.base.cwd, self._allowed))
        self._programs |= programs_among(arguments)
        for _ in range(_ROUNDS):
            before = Seen(self.base, program=self.program)
            before.add(self)
            try:
                result = self._once(act)
            except Exception:
                if not self._more():
                    raise
            else:
                if not self._more():
                    self._trim_for(act)
                    return result
            self._forget_round(before)
        return self._once(act)

    def _trim_for(self, act: Callable[[Any], Any]) -> None:
        """Find out what this run does not need; what another needs stays."""
        if not self._trim or self._net:
            return
        alone = needless(self.policy, lambda policy: self._tried(policy, act), self._say)
        self.needless = alone if self.needless is None else self.needless & alone

    def _tried(self, policy: Policy, act: Callable[[Any], Any]) -> tuple[bool, Any]:
        self._copies.renew()
        mounts: list[Mount] = []
        for mount in policy.mounts:
            if mount.word == "rw" and not any(mount.source == each or is_within(mount.source, each) for each in self._rw):
                if not self._copies.make(mount.source):
                    return False, PolicyError("learn", f"{mount.source!r} cannot be copied: {self._copies.why}", "name it by rw=")
                mount = rw(self._copies.copies[mount.source], mount.destination, allow_code=True)
            mounts.append(mount)
        return attempt(Policy.from_options(policy, mounts=mounts), act, program=self.program)

    def _forget_round(self, before: Seen) -> None:
        """Count a run that only showed what was to be copied as none; what it did stays noted."""
        self.runs = before.runs
        self.peaks = dict(before.peaks)

    def _more(self) -> bool:
        """Permit programs that were stopped, and copy what was to be changed; tell whether there is use in running again."""
        if self._net:
            return False  # what was sent would be sent twice
        stopped = {touched.real for touched in self.paths.values() if "stopped" in touched.what} - self._programs
        stopped = {path for path in stopped if may_be_executed(path)}
        self._programs |= stopped
        wanted = {path: each for path, each in self.paths.items() if each.what & {"written", "changed"}}
        made = [place for place in self._copies.wanted(wanted, self._writable) if self._copies.make(place)]
        for place in made:
            self._say(f"runs again with a temporary copy of {place}, which it wants to change")
        for path in sorted(stopped):
            self._say(f"runs again with leave to execute {path}")
        return bool(made or stopped)

    def _writable(self, path: str) -> bool:
        """Tell whether a path can be written inside as it is, or never: the isolate's own, the kernel's, named by the caller."""
        if any(path == each or is_within(path, each) for each in (*self._rw, *self._scratch, *HIDDEN)):
            return True
        shown = any(path == each or is_within(path, each) for each in self.shown)
        return not shown and any(path == each or is_within(path, each) for each in own_places(self.base.cwd))

    def _once(self, act: Callable[[Any], T]) -> T:
        self._copies.renew()
        for place in self._scratch:
            if not self._copies.make(place, named=True):
                problem = f"{place!r} cannot be copied: {self._copies.why}"
                raise PolicyError("scratch", problem, "copy it yourself, and name the copy by rw=")
        with self._file() as file:
            policy = self._policy(self._mounts())
            box = LearningBox(policy, file, allowed=self._allowed, programs=sorted(self._programs))
            began = time.monotonic()
            try:
                with box, Room(self._copies.place, box.stop):
                    result = act(box)
            finally:
                self._note(box, file, time.monotonic() - began)
        return result

    @contextlib.contextmanager
    def _file(self) -> Iterator[str]:
        assert self._temporary is not None
        number, path = tempfile.mkstemp(dir=self._temporary.path)
        os.close(number)
        try:
            yield path
        finally:
            os.unlink(path)

    def _note(self, box: LearningBox, file: str, wall: float) -> None:
        try:
            report = box.report()
        except PolicyError:
            return  # it could not be built
        self.take(told(file))
        self.runs += 1
        if self._net:
            self.said.add("network")
        self.peak("wall_seconds", round(wall, 3))
        self.peak("memory", report.peak_memory)
        self.peak("cpu_seconds", report.cpu_seconds)
        self.peak("disk", report.disk)
        self.peak("inodes", report.inodes)
        self.peak("output", report.stdout_bytes + report.stderr_bytes)
        self.peak("written", self._copies.grown())

    def _mounts(self) -> tuple[Mount, ...]:
        kept: list[Mount] = []
        for mount in self.base.mounts:
            if mount.word == "rw" and mount.moved and self._copies.make(mount.source, named=True):
                kept.append(rw(self._copies.copies[mount.source], mount.destination, allow_code=True))
            elif mount.word not in ("ro", "rw") or (mount.word == "ro" and mount.moved):
                kept.append(mount)
        shown = [ro(path) for path in sorted(self.shown) if os.path.exists(path) and path not in self._copies.copies]
        moved = {mount.source for mount in self.base.mounts if mount.moved}
        copies = [rw(copy, place, allow_code=True) for place, copy in sorted(self._copies.copies.items()) if place not in moved]
        return (*kept, *shown, *copies, *(rw(path, allow_code=True) for path in self._rw))

    def _policy(self, mounts: tuple[Mount, ...]) -> Policy:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
        kept = {name: getattr(_PLENTY, name) for name in Limits.__annotations__}
        return Policy.from_options(
            self.base,
            mounts=mounts,
            network=self._net,
            rules=None,
            limits=Limits(**{**kept, "memory": memory}),
            timeout=self._timeout,
            output=self.base.output if self._output is None else self._output,
            on_denied="errno",
            require=None,
            accept=tuple(each for each in self.base.accept if each is TrustResult),
            fresh_exec=False,
            reuse=False,
            prewarm=0,
        )


def _paths(name: str, given: Paths) -> tuple[str, ...]:
    if isinstance(given, (str, os.PathLike)):
        given = (given,)
    found = tuple(os.path.abspath(os.fspath(path)) for path in given)
    for path in found:
        if not os.path.lexists(path):
            raise PolicyError(name, f"there is no {path!r}", "check the path")
    return found
