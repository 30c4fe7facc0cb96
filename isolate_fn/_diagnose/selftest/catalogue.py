"""All attacks, in the order of the promises."""

from __future__ import annotations

from collections.abc import Iterable

# Imported for the attacks that they enter: a promise may have more than one module.
from isolate_fn._diagnose.selftest import answers_timing, files_writing, kernel, leaks_between, survivors, sweeps
from isolate_fn._diagnose.selftest.answers import ANSWERS
from isolate_fn._diagnose.selftest.attack import Attack, Promise
from isolate_fn._diagnose.selftest.closed import CLOSED
from isolate_fn._diagnose.selftest.files import FILES
from isolate_fn._diagnose.selftest.leaks import LEAKS
from isolate_fn._diagnose.selftest.limits import LIMITS
from isolate_fn._diagnose.selftest.network import NETWORK
from isolate_fn._diagnose.selftest.processes import PROCESSES
from isolate_fn.errors import PolicyError

PROMISES: tuple[Promise, ...] = (FILES, NETWORK, PROCESSES, LEAKS, ANSWERS, LIMITS, CLOSED)
ATTACKS: tuple[Attack, ...] = tuple(attack for promise in PROMISES for attack in promise.attacks)

_ENTERED = (answers_timing, files_writing, kernel, leaks_between, survivors, sweeps)


def choose(only: Iterable[str]) -> tuple[Attack, ...]:
    """Return the attacks that are named, in order; all where nothing is.

    Args:
        only: ids, or names or numbers of promises.

    Raises:
        PolicyError: there is nothing of a name.
    """
    wanted = {str(name) for name in only}
    if not wanted:
        return ATTACKS
    known = {attack.id for attack in ATTACKS} | {name for each in PROMISES for name in (each.name, str(each.number))}
    if unknown := sorted(wanted - known):
        import difflib

        near = difflib.get_close_matches(unknown[0], sorted(known), 1)
        remedy = f"did you mean {near[0]}?" if near else "isolate-fn selftest --list prints all of them"
        raise PolicyError("only", f"there is no attack and no promise {', '.join(unknown)}", remedy)
    names = {each.number: {each.name, str(each.number)} for each in PROMISES}
    return tuple(attack for attack in ATTACKS if wanted & {attack.id, *names[attack.promise]})
