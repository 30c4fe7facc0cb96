"""What an attack came to. No attack is held because it says so: what is not plainly refused, is broken."""

from __future__ import annotations

from typing import NamedTuple

from isolate_fn._diagnose.selftest.attack import Attack, Found, describe, through
from isolate_fn._diagnose.selftest.confined import unpromised
from isolate_fn.errors import Unsupported

HELD, BROKEN, MOOT, NOT_APPLICABLE = "held", "broken", "moot", "not applicable"
NOT_PROMISED = "not promised"

WORKS, FAILS, UNTRIED = "works", "fails", "not tried"
"""What an attack does without walls."""


class Seen(NamedTuple):
    """What was seen of one side of an attack.

    Attributes:
        found: what it found; None where it did not come to an end of its own.
        error: what the call ended in instead.
        harm: what is wrong with the victims; empty for nothing.
        missing: why it could not be made here; empty where it could.
        seconds: how long it took, where it was the only one that ran; else 0.
    """

    found: Found | None = None
    error: BaseException | None = None
    harm: str = ""
    missing: str = ""
    seconds: float = 0.0


class Finding(NamedTuple):
    """One attack with its verdict.

    Attributes:
        attack: the attack.
        verdict: ``"held"``, ``"broken"``, ``"moot"`` (it fails without walls too, so nothing was shown),
            ``"not applicable"`` (this machine lacks what the attack needs) or ``"not promised"`` (it gets through, as the
            documentation of this machine's engine says).
        detail: why, in one line.
        without: ``"works"``, ``"fails"`` or ``"not tried"``.
        without_detail: what it did without walls, or why it was not tried.
        seconds: how long it took, where it ran alone; else 0.
    """

    attack: Attack
    verdict: str
    detail: str
    without: str
    without_detail: str
    seconds: float


def judge(attack: Attack, inside: Seen, outside: Seen | None, *, confined: bool = False) -> Finding:
    """Decide what an attack came to.

    Args:
        attack: the attack.
        inside: what was seen of it inside.
        outside: what was seen of it without walls; None where it was not tried.
        confined: isolates have no namespaces here, which promises less.
    """
    without, told = _without(attack, outside)

    def finding(verdict: str, detail: str) -> Finding:
        return Finding(attack, verdict, detail, without, told, inside.seconds)

    if inside.missing:
        return finding(NOT_APPLICABLE, inside.missing)
    if isinstance(inside.error, Unsupported):
        return finding(NOT_APPLICABLE, _line(inside.error))
    if inside.harm:
        return finding(BROKEN, inside.harm)
    if inside.error is not None and not ended_as_meant(attack, inside.error):
        return finding(BROKEN, f"ended in {type(inside.error).__name__}: {_line(inside.error)}")
    why = unpromised(attack.id, inside.found) if confined and inside.error is None else ""
    if why:
        return finding(NOT_PROMISED, f"{why}: {describe(inside.found or {})}")
    if inside.error is None and (inside.found is None or through(inside.found)):
        return finding(BROKEN, describe(inside.found or {}) or "nothing was told of it")
    if without == FAILS:
        return finding(MOOT, "it fails without walls too, so it shows nothing here")
    return finding(HELD, attack.held)


def ended_as_meant(attack: Attack, error: BaseException) -> bool:
    """Say whether an error is one by which the attack's isolate may end."""
    limit = getattr(error, "limit", "")
    return " ".join(filter(None, (type(error).__name__, limit))) in attack.ends


def _without(attack: Attack, outside: Seen | None) -> tuple[str, str]:
    if outside is None:
        return UNTRIED, attack.untried or "not asked for"
    if outside.missing or outside.found is None:
        return FAILS, outside.missing or "it ended without a word"
    got = through(outside.found)
    return (
        (WORKS, describe(outside.found)) if got else (FAILS, ", ".join(sorted(outside.found)[:3]) or "it finds nothing")
    )


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
