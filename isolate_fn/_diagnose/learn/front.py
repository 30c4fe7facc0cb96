"""`isolate_fn.learn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isolate_fn._diagnose.learn.session import Learning, Paths
from isolate_fn.policy.policy import Policy


def learn(
    policy: Policy | str | None = None,
    *,
    net: bool = False,
    rw: Paths = (),
    scratch: Paths = (),
    allow: Paths = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    trim: bool = False,
    output: str | Callable[[str, bytes], object] | None = None,
    say: Callable[[str], None] | None = None,
) -> Learning:
    """Learn what functions or programs need, by running them inside the walls with everything to look at.

    Use it as ``with learn() as seen:``; in the block, ``seen.call(function, ...)`` and ``seen.run(argv)`` run them, and
    ``seen.decorator()``, ``seen.toml()`` and ``seen.policy`` are what it came to.

    Inside, the host's files can be looked at and read, but for those with secrets, which are refused and flagged; nothing
    of the host can be written; programs may be started; there is no network. What wants to change files gets a temporary
    copy of their directory. All other walls stand as for any isolate. See docs/learn.md.

    Args:
        policy: options that grant nothing (``returns``, ``env``, ``expose``...) and that the learned policy starts from.
        net: the host's network can be reached. Then nothing is run twice.
        rw: directories that are really written to.
        scratch: directories of which a temporary copy is written to, from the start.
        allow: files or directories with secrets that may be read all the same; they are flagged, and granted where used.
        env: the whole environment inside.
        timeout: seconds for one run.
        trim: run again without each mount, and leave out those without which nothing is different.
        output: as for `isolated`, for these runs alone.
        say: gets a sentence when something is run again.

    Raises:
        PolicyError: a path does not exist; an option is wrong.
    """
    changes: dict[str, Any] = {} if env is None else {"env": env}
    base = Policy.from_options(policy, **changes)
    return Learning(
        base=base,
        net=net,
        rw=rw,
        scratch=scratch,
        allow=allow,
        timeout=timeout,
        trim=trim,
        output=output,
        say=say or (lambda sentence: None),
    )
