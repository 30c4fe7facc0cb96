"""Grants that were used and are not needed: found by running without each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isolate_fn._api.context import Sandbox
from isolate_fn._api.decorator import isolated
from isolate_fn.policy.policy import Policy

Act = Callable[[Any], Any]
"""Takes something with the methods of a sandbox, and returns what the run came to."""


class Ordinary:
    """A call without learning, where a sandbox would be expected.

    Args:
        policy: what may be done.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function under the policy."""
        return isolated(policy=self._policy)(function)(*args, **kwargs)


def attempt(policy: Policy, act: Act, *, program: bool) -> tuple[bool, Any]:
    """Run under a policy; return whether it ended well, and what it came to."""
    quiet = Policy.from_options(policy, prewarm=0, output="discard", on_denied="errno")
    try:
        if not program:
            return True, act(Ordinary(quiet))
        with Sandbox(quiet) as box:
            return True, act(box)
    except Exception as error:
        return False, error


def needless(policy: Policy, try_one: Callable[[Policy], tuple[bool, Any]], say: Callable[[str], None]) -> set[str]:
    """Return the places of mounts without which a run comes to the same.

    Args:
        policy: with all of them.
        try_one: runs under another policy, on files as they were.
        say: gets a sentence for each try.
    """
    well, wanted = try_one(policy)
    if not well:
        say(f"nothing is trimmed, because it does not work under what was learned: {type(wanted).__name__}: {wanted}")
        return set()
    left = list(policy.mounts)
    for mount in reversed(policy.mounts):
        without = [each for each in left if each is not mount]
        say(f"tries without {mount!r}")
        well, result = try_one(Policy.from_options(policy, mounts=without))
        if well and _same(result, wanted):
            left = without
    return {mount.destination for mount in policy.mounts} - {mount.destination for mount in left}


def _same(one: Any, other: Any) -> bool:
    """Compare what can be compared; what says nothing of itself counts as the same."""
    if type(one) is not type(other):
        return False
    try:
        return bool(one == other) or type(one).__dict__.get("__eq__") is None
    except Exception:  # somebody's own comparison
        return True
