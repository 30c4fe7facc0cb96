"""What `doctor` returns."""

from __future__ import annotations

from typing import Any

from isolate_fn._frozen import dataclass
from isolate_fn._runtime.report import Enforcement

OK, WEAKER, FAILED, INFO = "ok", "weaker", "failed", "info"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        group: heading it stands under: ``"where it runs"``, ``"machine"``, ``"namespaces"``, ``"walls"``, ``"limits"``,
            ``"files"``, ``"a real call"``.
        name: what was looked at: ``"user namespaces"``.
        status: ``"ok"``; ``"weaker"``: isolation works, but something is missing that it would use; ``"failed"``: it
            cannot work like that; ``"info"``: good to know, or could not be looked at.
        found: what is there.
        cause: why it is not as it should be, empty where it is.
        fix: what to do about it: a command, a setting.
    """

    group: str
    name: str
    status: str
    found: str
    cause: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What this machine offers, and what isolated calls will make of it.

    Attributes:
        checks: all that was looked at, in order; the last is a real call.
        engine: how calls are isolated here, ``"namespaces"``; ``"none"`` where they would be refused.
        why: why it is this engine, or why there is none.
        enforcement: what was in force in the real call; None where it failed.
    """

    checks: tuple[Check, ...]
    engine: str
    why: str
    enforcement: Enforcement | None

    @property
    def works(self) -> bool:
        """True when a real call was isolated."""
        return self.enforcement is not None

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that failed or are weaker than they could be, failed ones first."""
        return tuple(check for status in (FAILED, WEAKER) for check in self.checks if check.status == status)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        from dataclasses import asdict

        return {
            "works": self.works,
            "engine": self.engine,
            "why": self.why,
            "checks": [asdict(check) for check in self.checks],
            "enforcement": None if self.enforcement is None else asdict(self.enforcement),
        }
