"""What each system call is answered, and the filter that says so.

    SyscallPolicy   a value: name -> Entry, an answer for calls it does not list, one for calls nobody knows
    Entry           rules in order, then an answer for what no rule took
    Rule            conditions that must all hold, and the answer then
    Action          allow, errno, kill, trap, log, notify; see verdicts.py

`compile_filter()` turns a policy into a program for one architecture. The program first makes sure that the
number means what it seems to mean (the right architecture, not the x32 ABI), then finds the number by halving
among ranges of calls that are answered alike, then tests arguments. Up to there it loads nothing but the
architecture and the number, so kernels since 5.11 cache the answer of every call without argument rules and
skip the program for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from isolate_fn._plan.bpf import Graph, Node, assemble, size
from isolate_fn._plan.matchers import emit
from isolate_fn._plan.verdicts import ALLOW as ALLOW
from isolate_fn._plan.verdicts import ENOSYS as ENOSYS
from isolate_fn._plan.verdicts import EPERM as EPERM
from isolate_fn._plan.verdicts import KILL_PROCESS as KILL_PROCESS
from isolate_fn._plan.verdicts import KILL_THREAD as KILL_THREAD
from isolate_fn._plan.verdicts import LOG as LOG
from isolate_fn._plan.verdicts import NOTIFY as NOTIFY
from isolate_fn._plan.verdicts import TRAP as TRAP
from isolate_fn._plan.verdicts import Action as Action
from isolate_fn._plan.verdicts import fail_with as fail_with
from isolate_fn._plan.verdicts import lets_through as lets_through
from isolate_fn._plan.verdicts import trap_with as trap_with
from isolate_fn._plan.verdicts import verdict as verdict
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, DATA_ARCH, DATA_NR, X32_SYSCALL_BIT
from isolate_fn.errors import PolicyError
from isolate_fn.policy.conditions import Condition


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer for the calls whose arguments satisfy every condition.

    Attributes:
        conditions: all must hold; none means always.
        action: the answer then.
        reason: why the rule is there, for listings; not part of its value.
    """

    conditions: tuple[Condition, ...] = ()
    action: Action = ALLOW
    reason: str = field(default="", compare=False)

    def matches(self, arguments: Sequence[int]) -> bool:
        """Tell whether the rule takes a call with these six arguments."""
        return all(condition.matches(arguments) for condition in self.conditions)

    def __str__(self) -> str:
        tests = " and ".join(map(str, self.conditions)) or "always"
        return f"{tests} -> {self.action}"


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to one system call: the first rule that matches, else `otherwise`.

    Attributes:
        rules: tried in order, so rules with one action are or-ed.
        otherwise: the answer when none matches; None for the policy's default.
        reason: why the call is listed, for listings; not part of its value.
    """

    rules: tuple[Rule, ...] = ()
    otherwise: Action | None = None
    reason: str = field(default="", compare=False)

    @property
    def unconditional(self) -> Action | None:
        """Return the one answer of an entry that looks at no argument; None for any other."""
        if self.rules and not self.rules[0].conditions:
            return self.rules[0].action
        return None if self.rules else self.otherwise


ALLOWED = Entry((Rule(),))


@dataclass(frozen=True, slots=True)
class SyscallPolicy:
    """What every system call is answered. Immutable; compares, hashes, pickles and prints by value.

    Attributes:
        entries: (name, entry), sorted by name. What an architecture does not have is absent from its filter.
        default: for calls of the tables that are not listed, and for listed ones whose rules do not match.
        unknown: for numbers beyond the tables. ENOSYS, so that a libc newer than this package falls back.
        foreign: for calls of another architecture or of the x32 ABI, where the number means something else.

    Raises:
        PolicyError: a name that no architecture knows, or one listed twice.
    """

    entries: tuple[tuple[str, Entry], ...] = ()
    default: Action = EPERM
    unknown: Action = ENOSYS
    foreign: Action = KILL_PROCESS

    def __post_init__(self) -> None:
        known = [name for name, _ in self.entries]
        for name in known:
            if not numbers.is_known(name):
                raise PolicyError("rules", f"no system call is named {name!r}", numbers.hint(name))
        if known != sorted(set(known)):
            raise PolicyError("rules", "entries are not sorted, or name a call twice", "build it with of() or with_()")

    @classmethod
    def of(cls, entries: Mapping[str, Entry], *, default: Action = EPERM, unknown: Action = ENOSYS) -> SyscallPolicy:
        """Build a policy from name -> entry."""
        return cls(tuple(sorted(entries.items(), key=lambda item: item[0])), default, unknown)

    def by_name(self) -> dict[str, Entry]:
        """Return a fresh name -> entry dictionary."""
        return dict(self.entries)

    def with_(self, entries: Mapping[str, Entry]) -> SyscallPolicy:
        """Return a policy in which these entries replace those of the same names."""
        merged = self.by_name() | dict(entries)
        return replace(self, entries=tuple(sorted(merged.items(), key=lambda item: item[0])))

    def allowing(self, names: Iterable[str]) -> SyscallPolicy:
        """Return a policy that allows these calls whatever their arguments."""
        return self.with_(dict.fromkeys(names, ALLOWED))

    def answering(self, names: Iterable[str], action: Action) -> SyscallPolicy:
        """Return a policy that answers these calls in one way: ENOSYS, KILL_PROCESS ..."""
        return self.with_(dict.fromkeys(names, Entry((), action)))

    def with_default(self, default: Action) -> SyscallPolicy:
        """Return a policy that denies in another way; explicit answers (ENOSYS, ENOTTY) stay."""
        return replace(self, default=default)

    def decide(self, machine: str, name: str, arguments: Sequence[int]) -> Action:
        """Say what a native call is answered: the meaning of the filter, without the filter.

        Args:
            machine: the architecture, because a call it does not have is answered `unknown`.
            name: the system call.
            arguments: its six arguments as unsigned 64-bit values.
        """
        if name not in numbers.table(machine):
            return self.unknown
        entry = next((entry for listed, entry in self.entries if listed == name), None)
        if entry is None:
            return self.default
        for rule in entry.rules:
            if rule.matches(arguments):
                return rule.action
        return entry.otherwise or self.default


def compile_filter(policy: SyscallPolicy, machine: str) -> bytes:
    """Return the program for seccomp(SECCOMP_SET_MODE_FILTER): an array of struct sock_filter.

    Args:
        policy: what to answer.
        machine: ``"x86_64"`` or ``"aarch64"``.

    Raises:
        PolicyError: more rules than 4096 instructions can hold.
        KeyError: no table for that architecture.
    """
    return assemble(_program(policy, machine))


def filter_size(policy: SyscallPolicy, machine: str) -> int:
    """Return how many instructions compile_filter() comes to, also where those are more than a kernel takes."""
    return size(_program(policy, machine))


def _program(policy: SyscallPolicy, machine: str) -> Node:
    graph = Graph()
    foreign = graph.ret(policy.foreign.verdict)
    node = graph.search(_ranges(graph, policy, machine))
    if machine == "x86_64":
        # x32 calls arrive with the same architecture and bit 30 in the number. -1 ends here too.
        node = graph.jump_at_least(X32_SYSCALL_BIT, foreign, node)
    node = graph.load(DATA_NR, node)
    return graph.load(DATA_ARCH, graph.jump_equal(AUDIT_ARCH[machine], node, foreign))


def _ranges(graph: Graph, policy: SyscallPolicy, machine: str) -> list[tuple[int, Node]]:
    """Return (first number, node) for Graph.search, covering every number there is."""
    entries = policy.by_name()
    default, unknown = graph.ret(policy.default.verdict), graph.ret(policy.unknown.verdict)
    made: dict[Entry, Node] = {}
    ranges: list[tuple[int, Node]] = [(0, unknown)]
    for number, name in sorted(numbers.names(machine).items()):
        node = default
        entry = entries.get(name)
        if entry is not None:
            if entry not in made:
                made[entry] = _entry_node(graph, entry, default)
            node = made[entry]
        if ranges[-1][0] == number:
            ranges[-1] = (number, node)
        else:
            ranges.append((number, node))
        ranges.append((number + 1, unknown))
    return ranges


def _entry_node(graph: Graph, entry: Entry, default: Node) -> Node:
    """Build one call's rules from the last to the first."""
    node = default if entry.otherwise is None else graph.ret(entry.otherwise.verdict)
    for rule in reversed(entry.rules):
        mismatched = node
        node = graph.ret(rule.action.verdict)
        for condition in reversed(rule.conditions):
            node = emit(graph, condition, node, mismatched)
    return node
