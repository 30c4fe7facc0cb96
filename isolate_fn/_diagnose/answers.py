"""What `would` answers."""

from __future__ import annotations

import errno as errors
from typing import Any

from isolate_fn._frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether something would be permitted, and why; true where it would be.

    Attributes:
        permitted: whether it would be.
        question: what was asked: ``"open '/etc/passwd' for reading"``.
        reason: what permits or denies it: which mount, which rule, which default.
        wall: what denies it: ``"mounts"``, ``"permissions"``, ``"landlock"``, ``"filter"``, ``"network"``; empty where nothing
            does.
        errno: what the system call would fail with; 0 where it succeeds, and where the process would be killed.
        fix: what to write to have it permitted; empty where nothing can, and where nothing need be.
    """

    permitted: bool
    question: str
    reason: str
    wall: str = ""
    errno: int = 0
    fix: str = ""

    def __bool__(self) -> bool:
        return self.permitted

    def __str__(self) -> str:
        code = f" ({errors.errorcode.get(self.errno, self.errno)})" if self.errno else ""
        fix = f"\n  try: {self.fix}" if self.fix else ""
        return f"{self.question}: {'yes' if self.permitted else 'no'}{code}: {self.reason}{fix}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return {name: getattr(self, name) for name in Answer.__annotations__}
