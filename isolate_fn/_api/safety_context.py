"""`SafetyContext`: put this very process, or one thread of it, under rule sets. For good."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isolate_fn.errors import PolicyError
from isolate_fn.policy.actions import ALLOW, ERRNO, Action
from isolate_fn.policy.landlock_words import PATH_RIGHTS, PORT_RIGHTS, SCOPES
from isolate_fn.policy.rule_sets.base import Custom, Rule, RuleSet, check_rule_sets

if TYPE_CHECKING:
    from isolate_fn._plan.rule_sets import Compiled

_NOTHING = "enable something first, such as enable(SystemIO().allow_stdout()); BasicCapabilities() for nothing else"


@dataclass(frozen=True, kw_only=True)
class Restrictions:
    """What `SafetyContext` put in force; ``dropped`` and ``left_out`` name every difference from what was enabled.

    Attributes:
        threads: ``"current"`` or ``"all"``.
        seccomp: whether a filter is in force.
        landlock_abi: ABI of the Landlock rules in force, 0 for none.
        dropped: sentences, one for each Landlock right that this kernel lacks, and one for `SafetyContext.seccomp_only`:
            what they would have denied is not denied.
        left_out: sentences, one for each permission that is narrower than enabled: optional paths that do not exist,
            permissions that gave way to another set's restriction.
        listener: with the action NOTIFY, the descriptor on which a supervisor answers; else None.
    """

    threads: str
    seccomp: bool
    landlock_abi: int
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    listener: int | None = None


class SafetyContext:
    """Collects rule sets, and then denies this thread or this process everything else, for good.

        SafetyContext().enable(SystemIO().allow_stdout().allow_stderr(), Threads().allow_sleep()).apply_to_all_threads()

    What is denied fails with EPERM, unless chosen otherwise. Threads and processes that are started later inherit it, and
    executed programs do. Nothing takes it back; another context can only take more away.

    `BasicCapabilities` is always enabled, and gives way where another set restricts one of its calls. So is getcwd(2)
    where the interpreter runs no script (``python -c``, the prompt), because it imports from where it is then. Before anything is
    denied, what CPython will need later is loaded: modules that others import inside functions, and the library with
    which threads end. Import what your own program needs before.

    The methods change the context and return it, so that they can be chained.

    Raises:
        PolicyError, ConflictingRules: what is enabled cannot be meant; the context is as it was before.
    """

    def __init__(self) -> None:
        self._sets: tuple[RuleSet | str, ...] = ()
        self._denial: Action = ERRNO()
        self._landlock_only = self._seccomp_only = False
        self._required: frozenset[str] | None = None

    def enable(self, *rule_sets: RuleSet | str) -> SafetyContext:
        """Permit what these sets permit.

        Args:
            *rule_sets: values of `isolate_fn.rules` or own ones; a plain name such as ``"reboot"`` stands for that system
                call.

        Raises:
            ConflictingRules: one set permits what another restricts, or two name the same path. None of them is enabled.
            PolicyError: not a rule set, or one with a mistake in it.
        """
        sets = (*self._sets, *check_rule_sets("enable", tuple(map(_adapted, rule_sets))))
        if sets:
            self._compile(sets)
        self._sets = sets
        return self

    def with_errno(self, code: int) -> SafetyContext:
        """Let denied system calls fail with this errno: short for ``with_action(ERRNO(code))``.

        Args:
            code: 1 to 4095, such as ``errno.EACCES``.

        Raises:
            PolicyError: out of that range. 0 would make every denied call return success.
        """
        return self.with_action(ERRNO(code))

    def with_action(self, action: Action) -> SafetyContext:
        """Choose what happens to a denied system call; the last choice counts.

        Args:
            action: ``ERRNO(code)``; ``KILL_PROCESS``; ``TRAP()`` for SIGSYS; ``LOG`` to permit it and write it to the
                audit log; ``NOTIFY`` to leave the answer to a supervisor, which gets ``listener`` of what apply_...
                returns and must be another process, because Python holds its lock while it waits. Calls that libc
                has an older form of still fail with ENOSYS, except under LOG.

        Raises:
            PolicyError: ALLOW, which denies nothing, or no action.
        """
        if not isinstance(action, Action) or action == ALLOW:
            remedy = "use ERRNO(errno.EPERM), KILL_PROCESS, TRAP(), LOG or NOTIFY of isolate_fn.rules"
            raise PolicyError("with_action", f"{action!r:.60} denies nothing", remedy)
        self._denial = action
        return self

    def landlock_only(self) -> SafetyContext:
        """Leave the system call filter out: only paths, ports and scopes are restricted."""
        self._landlock_only = True
        return self

    def seccomp_only(self) -> SafetyContext:
        """Leave Landlock out: the calls are restricted, but **paths and ports that the sets name are not**."""
        self._seccomp_only = True
        return self

    def require(self, *rights: str) -> SafetyContext:
        """Name the Landlock rights without which this must not be applied.

        Unless called, these are required where any set names a path: every right of Landlock's first version, and
        ``"truncate"`` (Linux 6.2), without which a file that may only be read can still be emptied. Rights on ports, and
        scopes, that the sets name are required always.

        Args:
            *rights: words such as ``"read_file"``, ``"truncate"``, ``"ioctl_device"``; in place of those above.

        Raises:
            PolicyError: no such right.
        """
        for word in rights:
            if word not in PATH_RIGHTS and word not in PORT_RIGHTS and word not in SCOPES:
                known = ", ".join((*PATH_RIGHTS, *PORT_RIGHTS, *SCOPES))
                raise PolicyError("require", f"{word!r:.60} is not a Landlock right", f"use {known}")
        self._required = frozenset(rights)
        return self

    def apply_to_current_thread(self) -> Restrictions:
        """Restrict the calling thread and what it starts from now on.

        Other threads of the process go on as they are; they can act for a thread that asks them, and share its memory. So
        this protects from mistakes, or from code in a process with one thread.

        Returns:
            What is in force. `Restrictions.dropped` tells what this kernel's Landlock lacks.

        Raises:
            PolicyError: nothing is enabled, or nothing is left of it; the thread is under this or another context that
                denies it; paths cannot be opened (all are named).
            Unsupported: the kernel lacks filters, Landlock, or a required right of it.
            SetupError: the kernel refused.
        """
        return self._apply(all_threads=False)

    def apply_to_all_threads(self) -> Restrictions:
        """Restrict every thread of the process, and what they start from now on.

        Returns:
            What is in force.

        Raises:
            PolicyError, Unsupported, SetupError: as for `apply_to_current_thread`; also where a set names paths or ports
                and the kernel cannot restrict all threads with Landlock (ABI 8, Linux 7.0), and where a thread is under a
                filter that the others do not share. Nothing is restricted then.
        """
        return self._apply(all_threads=True)

    def _apply(self, *, all_threads: bool) -> Restrictions:
        from isolate_fn._api.safety_apply import apply

        if self._landlock_only and self._seccomp_only:
            raise PolicyError("SafetyContext", "landlock_only() and seccomp_only() leave nothing", "drop one of them")
        if not self._sets:
            raise PolicyError("SafetyContext", "no rules were enabled", _NOTHING)
        compiled = self._compile(self._sets)
        if self._landlock_only and not compiled.wants_landlock:
            problem = "landlock_only() leaves nothing of sets that name no path, port or scope"
            raise PolicyError("SafetyContext", problem, "drop it, or enable a set with Landlock rules")
        return apply(
            self,
            compiled,
            filters=not self._landlock_only,
            landlock=compiled.wants_landlock and not self._seccomp_only,
            required=self._required,
            all_threads=all_threads,
        )

    def _compile(self, sets: tuple[RuleSet | str, ...]) -> Compiled:
        from isolate_fn._plan.rule_sets import compile_rule_sets

        return compile_rule_sets((*sets, *_without_a_script()), default=self._denial, field="enable")

    def __len__(self) -> int:
        """How many sets are enabled, plain names included."""
        return len(self._sets)

    def __iter__(self) -> Iterator[RuleSet | str]:
        """Give the enabled sets, in order."""
        return iter(self._sets)

    def __repr__(self) -> str:
        words = "" if self._denial == ERRNO() else f".with_action({self._denial!r})"
        words += ".landlock_only()" if self._landlock_only else ""
        words += ".seccomp_only()" if self._seccomp_only else ""
        if self._required is not None:
            words += f".require({', '.join(map(repr, sorted(self._required)))})"
        return f"<SafetyContext [{', '.join(map(repr, self._sets))}]{words}>"


def _without_a_script() -> tuple[RuleSet, ...]:
    """Return what an interpreter needs that runs no file: ``python -c``, standard input, the prompt, a notebook.

    ``""`` in sys.path is the working directory of the moment, so every import asks for it; where getcwd(2) is denied, a
    module that does not exist is a PermissionError in place of an ImportError. CPython 3.13 asks for it whenever a module
    lacks an attribute, and fails with SystemError in place of AttributeError.
    """
    if "" not in sys.path and sys.argv[:1] not in ([""], ["-"], ["-c"]):
        return ()
    return (Custom("an interpreter without a script", Rule("getcwd", gives_way_to=("getcwd",))),)


class _Adapted(RuleSet):
    """An object that has a rule set's methods without inheriting from `RuleSet`."""

    def __init__(self, shape: object) -> None:
        self._shape = shape
        for name in ("simple_rules", "conditional_rules", "landlock_rules", "landlock_ports", "landlock_scopes"):
            if callable(method := getattr(shape, name, None)):
                setattr(self, name, method)

    @property
    def name(self) -> str:
        """Its own name, or that of its class."""
        name = getattr(self._shape, "name", None)
        return name if isinstance(name, str) else type(self._shape).__name__

    def __repr__(self) -> str:
        return repr(self._shape)


def _adapted(entry: RuleSet | str) -> RuleSet | str:
    shaped = not isinstance(entry, (RuleSet, str, type)) and callable(getattr(entry, "simple_rules", None))
    return _Adapted(entry) if shaped else entry


__all__ = ["Restrictions", "SafetyContext"]
