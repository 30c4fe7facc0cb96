"""What of a policy the caller's side acts on itself, after the plan was made from the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isolate_fn._frozen import dataclass
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.tokens import TrustResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn.policy.host import Host
    from isolate_fn.policy.rule_sets.base import RuleSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """The caller's part of the orders.

    Attributes:
        timeout: seconds for one call, None for no end.
        limits: what errors are measured against; output and result are enforced here.
        output: where stdout and stderr go.
        reuse: calls that one worker serves; 1, or 0 for as many as come.
        prewarm: isolates kept ready.
        idle_timeout: seconds that one waits unused.
        returns: classes, or triples, that results may contain.
        raises: exception classes that come back as themselves.
        trust_result: unpickle what comes back; accepted by name.
        expose: host functions, by name; None for none.
        on_denied: what is to be done about what is denied.
        rules: the policy's, which advice has to go with; None for none.
    """

    timeout: float | None
    limits: Limits
    output: str | Callable[[str, bytes], object]
    reuse: int
    prewarm: int
    idle_timeout: float
    returns: tuple[Any, ...]
    raises: tuple[type[Exception], ...]
    trust_result: bool
    expose: dict[str, Host] | None = None
    on_denied: str = "report"
    rules: tuple[RuleSet | str, ...] | None = None


def terms_of(policy: Policy) -> Terms:
    """Return the caller's part of a policy."""
    return Terms(
        timeout=policy.timeout,
        limits=policy.limits,
        output=policy.output,
        reuse=0 if policy.reuse is True else max(1, int(policy.reuse)),
        prewarm=policy.prewarm,
        idle_timeout=policy.idle_timeout,
        returns=policy.returns,
        raises=policy.raises,
        trust_result=TrustResult in policy.accept,
        expose=_hosts(policy.expose) if policy.expose else None,
        on_denied=policy.on_denied,
        rules=policy.rules,
    )


def _hosts(expose: Mapping[str, Callable[..., Any] | Host]) -> dict[str, Host]:
    from isolate_fn.policy.host import Host  # most policies expose nothing

    return {name: each if isinstance(each, Host) else Host(each) for name, each in expose.items()}
