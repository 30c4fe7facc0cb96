"""What can be known before a process restricts itself: looked at here, so that nothing is half applied.

The one thing that only the try can tell is whether another thread has a filter of its own (`_enforce.this_process`
rehearses it where Landlock would otherwise be in force by then).
"""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from isolate_fn._plan.landlock_rights import right_of
from isolate_fn._plan.rule_sets import PathWish
from isolate_fn._plan.seccomp import Action, SyscallPolicy, lets_through
from isolate_fn._sys import numbers
from isolate_fn._sys.features import PRETEND, Features, narrow
from isolate_fn.errors import PolicyError, SetupError, Unsupported

_O_PATH = os.O_PATH | os.O_CLOEXEC

_FILTERS = "seccomp filters (Linux 4.14 with CONFIG_SECCOMP_FILTER)"
_EMULATED = (
    "run on a kernel that has them. An x86_64 container on an ARM machine runs under an emulator (qemu-user, Rosetta) "
    "that has none: use an image of the machine's own architecture. Or leave the filter out with landlock_only()"
)
_TWICE = (
    "put all rule sets into one context and apply it once; or let the first one permit a second, which can only "
    "take more away: enable('prctl', 'seccomp')"
)

#: What applying a context asks of the kernel: (call, first argument).
_FOR_A_FILTER = (("prctl", 38), ("seccomp", 1))
_FOR_LANDLOCK = (
    ("prctl", 38),
    ("landlock_create_ruleset", 0),
    ("landlock_add_rule", 0),
    ("landlock_restrict_self", 0),
)


class InForce(NamedTuple):
    """A context that was applied: how it prints, and its filter's answers (None without one)."""

    context: object
    description: str
    policy: SyscallPolicy | None


_here = threading.local()  # .applied: list[InForce] of this thread
_everywhere: list[InForce] = []
_landlocked: list[object] = []  # a token of each thread that took Landlock for itself; ended ones left heirs


def in_force() -> list[InForce]:
    """Return the contexts of this package that were applied to this thread, as far as it knows."""
    return [*_everywhere, *getattr(_here, "applied", ())]


def remember(entry: InForce, *, all_threads: bool, landlock: bool) -> None:
    """Note that a context is in force. Called under its own filter: makes no system call."""
    if landlock and not all_threads:
        _here.token = getattr(_here, "token", None) or object()
        _landlocked.append(_here.token)
    if all_threads:
        _everywhere.append(entry)
    else:
        _here.applied = [*getattr(_here, "applied", ()), entry]


def check_platform() -> str:
    """Return the machine's name.

    Raises:
        Unsupported: not Linux, not one of the architectures, or a 32-bit interpreter, whose calls every filter refuses.
    """
    if sys.platform != "linux":
        raise Unsupported("SafetyContext", "Linux", sys.platform, "run it on Linux, or in a Linux container")
    machine = platform.machine() if sys.maxsize > 1 << 32 else f"a 32-bit Python on {platform.machine()}"
    if machine not in numbers.MACHINES:
        raise Unsupported("SafetyContext", " or ".join(numbers.MACHINES), machine, "run it on one of these")
    return machine


def check_not_denied(context: object, machine: str, *, filters: bool, landlock: bool) -> None:
    """Refuse to apply a context twice, and one that an earlier context of this thread will not let through.

    Where the earlier one kills, asking the kernel would be the end of this process; so this asks its own memory.

    Raises:
        PolicyError: with the earlier context.
    """
    calls = (*(_FOR_A_FILTER if filters else ()), *(_FOR_LANDLOCK if landlock else ()))
    for entry in in_force():
        if entry.context is context:
            raise _twice(entry.description, "this very context is in force on this thread")
        if entry.policy is None:
            continue
        for call, first in calls:
            if not lets_through(entry.policy.decide(machine, call, (first, 1, 0, 0, 0, 0))):
                raise _twice(entry.description, f"this thread is under another one, which denies {call}(2)")


def _twice(description: str, problem: str) -> PolicyError:
    return PolicyError("SafetyContext", f"{problem}: {description}", _TWICE)


def check_filters(answers: Iterable[Action]) -> None:
    """Make sure that seccomp(2) takes a filter here, with these answers in it.

    Raises:
        Unsupported: the kernel, or what stands in for it, has no filters or lacks one of the answers.
        SetupError: a filter that is in force denies seccomp(2).
    """
    from isolate_fn._sys import this_process_calls as calls

    code = calls.try_seccomp()
    if code and (calls.is_filtered() or code not in (errno.ENOSYS, errno.EINVAL)):
        raise SetupError("SafetyContext", "seccomp(SECCOMP_SET_MODE_FILTER)", code, f"a filter denies it; {_TWICE}")
    if code:
        raise Unsupported("SafetyContext", _FILTERS, errno.errorcode.get(code, str(code)), _EMULATED)
    for answer in dict.fromkeys(answers):
        if not calls.knows_action(answer.verdict):
            raise Unsupported(f"the answer '{answer}'", "a newer kernel", "one without it", "use ERRNO(errno.EPERM)")


def landlock_here() -> tuple[int, str]:
    """Return the Landlock ABI, narrowed by ISOLATE_FN_PRETEND, and why there is none where it is 0.

    Not by `features.probe`, which asks for more than an earlier context may permit.
    """
    from isolate_fn._sys import calls

    nothing_else = Features(
        machine="", kernel=(0, 0), landlock=0, landlock_cause="", seccomp=False, userns=False, userns_cause="",
        privileged=False, all_ids=False, mount_setattr=False,
    )  # fmt: skip
    try:
        found = replace(nothing_else, landlock=calls.landlock_abi())
    except OSError as failure:
        found = replace(nothing_else, landlock_cause=_WITHOUT.get(failure.errno or 0, _DENIED))
    found = narrow(found, os.environ.get(PRETEND, ""))
    return found.landlock, found.landlock_cause


_WITHOUT = {
    errno.ENOSYS: "this kernel has no Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK)",
    errno.EOPNOTSUPP: "Landlock is built into this kernel but switched off (boot parameter lsm= lacks landlock)",
}
_DENIED = "a filter that is in force denies landlock_create_ruleset(2)"


def check_landlock(abi: int, cause: str, required: Iterable[str]) -> None:
    """Make sure that the kernel's Landlock can enforce what is required.

    Raises:
        Unsupported: there is none, or it is too old.
    """
    if not abi:
        remedy = "run on Linux 5.13 or newer with landlock among its LSMs (boot parameter lsm=); or, to leave paths to "
        raise Unsupported("Landlock rules", "Landlock", cause, f"{remedy}other means, say so with seccomp_only()")
    missing = [word for word in required if right_of(word).abi > abi]
    if not missing:
        return
    newest = max((right_of(word) for word in missing), key=lambda right: right.abi)
    words = ", ".join(map(repr, missing))
    raise Unsupported(
        f"Landlock right {words}",
        f"Landlock ABI {newest.abi} (Linux {newest.linux})",
        f"ABI {abi}",
        f"run on Linux {newest.linux} or newer; or name all that you need with require(...), which leaves {words} "
        "unrestricted by Landlock and says so in what apply_... returns",
    )


def check_landlock_for_all_threads(abi: int, needed: int, linux: str) -> None:
    """Refuse Landlock for all threads where the kernel restricts one only, before anything is applied.

    Raises:
        Unsupported: its ABI is too old for it.
    """
    if abi < needed:
        raise Unsupported(
            "apply_to_all_threads() with Landlock rules: Landlock does not support syncing to all threads here; it",
            f"Landlock ABI {needed} (Linux {linux})",
            f"ABI {abi}",
            "call apply_to_current_thread() before starting threads, which inherit it; or use seccomp_only()",
        )


def check_landlock_of_other_threads() -> None:
    """Refuse Landlock for all threads where another thread has taken some of its own.

    The kernel puts every thread under the caller's rule sets in place of its own (LANDLOCK_RESTRICT_SELF_TSYNC, Linux 7.0;
    found by trying it): what only another thread had denied itself would be permitted to it again. Which threads have
    inherited from it cannot be told, so one that ever did is enough. Rule sets that other code than this package has put
    up are not seen.

    Raises:
        PolicyError: nothing is applied then.
    """
    mine = getattr(_here, "token", None)
    if any(token is not mine for token in _landlocked):
        raise PolicyError(
            "apply_to_all_threads",
            "another thread has applied a context with paths or ports of its own, which the kernel would replace by this one",
            "apply the context for all threads first, or to each thread by itself with apply_to_current_thread()",
        )


class Opened(NamedTuple):
    """The paths of a context, opened.

    Attributes:
        descriptors: path -> O_PATH descriptor.
        files: those that are not directories.
        left_out: sentences, one for each optional path that does not exist.
    """

    descriptors: dict[str, int]
    files: frozenset[str]
    left_out: tuple[str, ...]

    def close(self) -> None:
        """Close all of them."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


def open_paths(wishes: Sequence[PathWish]) -> Opened:
    """Open every path that Landlock rules name; symbolic links are followed, once, here.

    Raises:
        PolicyError: some cannot be opened; names all of them, with the reason and the rule set.
    """
    descriptors: dict[str, int] = {}
    files, left_out, missing = set(), [], []
    for wish in wishes:
        try:
            descriptor = descriptors[wish.path] = os.open(wish.path, _O_PATH)
        except OSError as failure:
            if wish.optional and isinstance(failure, (FileNotFoundError, NotADirectoryError)):
                left_out.append(f"{wish.path} of {wish.origin} does not exist")
            else:
                missing.append(f"{wish.path!r} ({failure.strerror}; asked for by {wish.origin})")
            continue
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            files.add(wish.path)
    opened = Opened(descriptors, frozenset(files), tuple(left_out))
    if missing:
        opened.close()
        remedy = "create them before, or leave their rules out; LandlockRule(..., optional=True) may be missing"
        raise PolicyError("Landlock rules", f"these paths cannot be opened: {', '.join(missing)}", remedy)
    return opened


def diverged(thread: int) -> SetupError:
    """Return the error for a thread that has a filter which the others do not share."""
    names = {each.native_id: each.name for each in threading.enumerate()}
    who = f"thread {thread} ({names.get(thread, 'not one of Python')})" if thread else "a thread"
    error = SetupError(
        "SafetyContext",
        f"seccomp(SECCOMP_FILTER_FLAG_TSYNC): {who} is under a filter of its own; for all threads it",
        0,
        "nothing is restricted. Apply to all threads before any thread applies a context of its own, or apply to "
        "each thread by itself",
    )
    error.thread = thread  # type: ignore[attr-defined]
    return error
