"""What questions about an isolate are answered from: plan, file tree, filters, Landlock layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isolate_fn._api.prepare import prepare
from isolate_fn._diagnose.answers import Answer
from isolate_fn._diagnose.filters import permitted_by, rule_on
from isolate_fn._diagnose.inside import Inside
from isolate_fn._diagnose.inside_host import HostInside
from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._runtime.prepared import Prepared
from isolate_fn.errors import PolicyError
from isolate_fn.policy.policy import Policy


class Scene:
    """One policy's isolates, seen from outside.

    Args:
        policy: theirs.
        prepared: what they are told.
        program: it is about programs that a sandbox block runs, and not about functions.

    Attributes:
        confined: they have no namespaces: their engine is ``"landlock"``.
    """

    def __init__(self, policy: Policy, prepared: Prepared, *, program: bool = False) -> None:
        self.policy, self.prepared, self.plan, self.program = policy, prepared, prepared.plan, program
        self.features = prepared.features
        self.confined = self.plan.engine == "landlock"
        self.inside: Inside | HostInside = (
            HostInside(self.plan) if self.confined else Inside(self.plan, prepared.features)
        )
        rules = self.plan.rules_tools if program else self.plan.rules
        base = self.plan.filter_tools if program else self.plan.filter_worker
        before = self.plan.before_tools if program else self.plan.before_worker
        self.filters: tuple[tuple[str, bytes], ...] = (
            *(("before", each) for each in before), ("base", base), ("rules", rules.program if rules is not None else b""),
        )  # fmt: skip
        landlock = self.plan.landlock_tools if program else self.plan.landlock
        if isinstance(self.inside, HostInside) and landlock is not None:
            rights = self.plan.scratch_rights & landlock.handled_fs
            landlock = landlock._replace(path_rules=(*landlock.path_rules, (self.inside.private, rights)))
        layers = (("base", landlock), ("rules", rules.landlock if rules is not None else None))
        self.layers: tuple[tuple[str, LandlockOrders], ...] = tuple(
            (by, each) for by, each in layers if each is not None
        )

    def ask_filters(
        self, question: str, call: str, *arguments: int, filters: tuple[tuple[str, bytes], ...] | None = None
    ) -> Answer | None:
        """Return the denial of a system call, None where it is permitted; ``filters`` where others than all are in force."""
        ruling = rule_on(self.filters if filters is None else filters, self.features.machine, call, arguments)
        if ruling.permitted:
            return None
        if ruling.by == "kernel":
            reason, fix = f"this architecture, {self.features.machine}, has no {call}", ""
        elif ruling.by == "rules":
            permits = permitted_by(call, arguments)
            reason = f"rules= do not permit {call} so: {ruling.answer}"
            fix = f"add {permits} to rules=" if permits else f"add {call!r} to rules="
        elif ruling.by == "before":
            reason = f"without namespaces a filter answers {call} so by {ruling.answer}: it could reach what is the host's"
            fix = "allow namespaces, which `isolate-fn doctor` says how to"
        else:
            reason, fix = f"the base filter answers {call} by {ruling.answer}", self._base_fix(call)
        return Answer(permitted=False, question=question, reason=reason, wall="filter", errno=ruling.errno, fix=fix)

    def _base_fix(self, call: str) -> str:
        if call in ("socket", "connect", "bind", "listen", "accept", "accept4") and self.policy.network is not True:
            return "network=True"
        if call in ("execve", "execveat", "fork", "vfork", "clone") and not self.program:
            return "box.run([...]) in a `with sandbox(...) as box:` block, or rules=[ForkAndExec(), ...]"
        if self.confined:
            return ""  # without namespaces the filter cannot be given up
        return "accept=(NoSeccomp,) of isolate_fn.dangerous, which takes the filter away altogether: no rule admits it"

    def ask_landlock(self, path: str, right: int) -> str:
        """Return which Landlock layer (``"base"`` or ``"rules"``) denies a right on a real path; empty for none."""
        for by, layer in self.layers:
            wanted = right & layer.handled_fs
            granted = 0
            for place, access in layer.path_rules:
                real = place if self.confined else self.inside.find(place).path
                if path == real or real == "/" or path.startswith(real + "/"):
                    granted |= access
            if wanted & ~granted:
                return by
        return ""

    def ask_ports(self, port: int, right: int) -> str:
        """Do the same for a right on a port."""
        for by, layer in self.layers:
            if layer.handled_net & right and not any(
                port == known and access & right for known, access in layer.port_rules
            ):
                return by
        return ""


def scene_of(subject: Any, *, program: bool = False) -> Scene:
    """Return the scene of what somebody asks about.

    Args:
        subject: a `Policy`, the name of one, a function decorated with `isolated`, or a sandbox block.
        program: ask about programs of a sandbox block.

    Raises:
        PolicyError: it has no policy. Unsupported: this machine cannot do what the policy asks.
    """
    policy = Policy.from_options(subject) if isinstance(subject, str) else subject
    policy = policy if isinstance(policy, Policy) else getattr(subject, "policy", None)
    if not isinstance(policy, Policy):
        problem = f"{subject!r:.80} has no policy"
        raise PolicyError("subject", problem, "pass a Policy, its name, or a function decorated with @isolated")
    known = getattr(subject, "_prepared", None)
    if isinstance(known, Prepared):
        return Scene(policy, known, program=program)
    return Scene(policy, prepare(policy, tools=program), program=program)


def shown(arguments: Sequence[object]) -> str:
    """Return arguments as a question prints them."""
    return ", ".join(hex(each) if isinstance(each, int) and each > 9 else repr(each) for each in arguments)
