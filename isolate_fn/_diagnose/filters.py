"""What the filters of a plan answer to a system call, by the emulator, and which rule set would permit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from isolate_fn import rules
from isolate_fn._plan import emulator
from isolate_fn._plan.seccomp import EPERM, NOTIFY, Action, lets_through
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, SECCOMP_RET_DATA
from isolate_fn.policy.rule_sets.builtin import Builtin, Permission

_ERRNO = "errno"


class Ruling(NamedTuple):
    """What is answered to one call.

    Attributes:
        permitted: it is made.
        errno: what it fails with, 0 where it is made or the process is killed.
        by: ``"base"`` or ``"rules"``, the filter that denies it; empty where none does.
        answer: in words: ``"errno EPERM"``, ``"kill process"``.
    """

    permitted: bool
    errno: int = 0
    by: str = ""
    answer: str = "allow"


def rule_on(filters: Sequence[tuple[str, bytes]], machine: str, name: str, arguments: Sequence[int]) -> Ruling:
    """Return what filters answer together: the kernel asks all of them, and the strictest answer counts.

    Args:
        filters: (``"base"`` or ``"rules"``, program); an empty program is none.
        machine: the architecture.
        name: of the system call; one that this architecture lacks is asked for with no number and is answered ENOSYS.
        arguments: up to six.
    """
    number = numbers.table(machine).get(name)
    if number is None:
        import errno

        return Ruling(False, errno.ENOSYS, "kernel", "no such call")
    call = emulator.SeccompData(number, AUDIT_ARCH[machine], tuple(arguments))
    worst, asked_so_far = Ruling(True), False
    for by, program in reversed(filters):  # of equal answers that of the newest filter counts (seccomp(2))
        if not program:
            continue
        action = Action(emulator.run(program, call).verdict)
        if lets_through(action):
            continue
        asked = action == NOTIFY  # the spawner, which answers EPERM; an errno of another filter goes before that
        action = EPERM if asked else action
        text = str(action)
        code = action.verdict & SECCOMP_RET_DATA if text.startswith(_ERRNO) else 0
        if worst.permitted or (asked_so_far and not asked) or (worst.errno and not code):
            worst, asked_so_far = Ruling(False, code, by, text), asked
    return worst


def permitted_by(call: str, arguments: Sequence[int]) -> str:
    """Return the narrowest method of a builtin rule set that permits a call: ``"SystemIO().allow_metadata()"``; else empty."""
    found = [
        (len(permission.calls.split()) + len(permission.rules), text)
        for permission, text in _permissions()
        if call in permission.calls.split()
        or any(rule.syscall == call and rule.matches([*arguments, 0, 0, 0, 0, 0, 0]) for rule in permission.rules)
    ]
    return min(found)[1] if found else ""


def _permissions() -> Iterator[tuple[Permission, str]]:
    for name in rules.__all__:
        cls = getattr(rules, name)
        if isinstance(cls, type) and issubclass(cls, Builtin):
            yield from ((permission, f"{name}()") for permission in cls._ALWAYS)
            yield from (
                (one, f"{name}().{one.method}" if one.method != "everything()" else f"{name}.everything()")
                for one in cls._EVERYTHING
            )
            yield from ((one, f"{name}().{one.method}") for one in _chosen(cls) if one not in cls._EVERYTHING)


def _chosen(cls: type[Builtin]) -> Iterator[Permission]:
    """Yield what the methods without arguments add that everything() does not name one by one."""
    for name, method in vars(cls).items():
        if name.startswith("allow_") and method.__code__.co_argcount == 1 and not method.__code__.co_flags & 0x0C:
            yield from (one for one in method(cls.nothing())._chosen if one.method)
