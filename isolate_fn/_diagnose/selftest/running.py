"""A selftest, from top to bottom: victims are made, attacks are let loose inside, then without walls, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from isolate_fn._diagnose.selftest import leaks, plain
from isolate_fn._diagnose.selftest.attack import Attack, NotHere
from isolate_fn._diagnose.selftest.catalogue import choose
from isolate_fn._diagnose.selftest.inside import name_of, play, play_one
from isolate_fn._diagnose.selftest.result import SelfTest
from isolate_fn._diagnose.selftest.verdict import Seen, judge
from isolate_fn._diagnose.selftest.world import World
from isolate_fn.errors import IsolationError

Progress = Callable[[int, int, str], object]


def selftest(*, only: Iterable[str] = (), without: bool = True, progress: Progress | None = None) -> SelfTest:
    """Attack this machine's isolation, as code inside an isolate would, and say which promises hold.

        assert selftest().held

    Every attack runs as real code inside a real isolate. Where that is harmless the same action is then made without walls
    in a throwaway process: an attack that fails there too shows nothing, and is reported as moot. All victims are made for
    it (files, processes, servers on the loopback interface) and are gone afterwards. While it runs, this process has one
    more environment variable and two descriptors that its children could inherit.

    Args:
        only: ids of attacks, or names or numbers of promises; empty for all. `SelfTest.catalogue` lists them.
        without: make the attacks without walls, too.
        progress: called before each attack with (how many are done, how many there are, its id).

    Returns:
        The findings. Where isolation does not work here at all, there are none, and ``error`` says why.

    Raises:
        PolicyError: there is no attack and no promise of a name in ``only``.
    """
    attacks, began = choose(only), time.monotonic()
    report = _Counted(progress, len(attacks))
    with World() as world:
        try:
            world.first_call()
        except IsolationError as error:
            return SelfTest((), None, error, time.monotonic() - began)
        world.start_victims()
        leaks.planted = world.token
        try:
            inside = _all_inside(world, attacks, report)
            outside = _all_outside(world, attacks, inside) if without else {}
        finally:
            leaks.planted = ""
        findings = tuple(
            judge(
                attack,
                inside[attack.id],
                None if attack.untried else outside.get(attack.id),
                confined=world.confined,
            )
            for attack in attacks
        )
        return SelfTest(findings, world.enforcement, None, time.monotonic() - began)


class _Counted:
    """Progress that counts for itself."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, name: str, count: int = 1) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, name)
        self._done += count


# --- inside ----------------------------------------------------------------------------------------------------------


def _all_inside(world: World, attacks: Sequence[Attack], report: _Counted) -> dict[str, Seen]:
    seen = {attack.id: Seen(missing=missing) for attack in attacks if attack.needs and (missing := attack.needs(world))}
    together = [attack for attack in attacks if attack.act and not attack.alone and attack.id not in seen]
    if together:
        report(together[0].id, len(together))
        seen |= _together(world, together)
    for attack in attacks:
        if attack.id not in seen:
            report(attack.id)
            seen[attack.id] = _led(world, attack) if attack.lead else _alone(world, attack)
    return seen


def _together(world: World, attacks: Sequence[Attack]) -> dict[str, Seen]:
    """Make attacks in one isolate; where one of them ends it, each in its own, so that it is known which."""
    names = {attack.id: name_of(attack.act) for attack in attacks if attack.act}
    ended = world.call(play, list(names.values()), world.facts_inside())
    if ended.error is not None:
        return {attack.id: _alone(world, attack) for attack in attacks}
    return {attack.id: Seen(ended.value[names[attack.id]], harm=_harm(world, attack)) for attack in attacks}


def _alone(world: World, attack: Attack) -> Seen:
    assert attack.act is not None
    ended = world.call(play_one, name_of(attack.act), world.facts_inside(), **attack.options)
    return Seen(ended.value, ended.error, _harm(world, attack), seconds=ended.seconds)


def _led(world: World, attack: Attack) -> Seen:
    assert attack.lead is not None
    began = time.monotonic()
    try:
        found = attack.lead(world)
    except NotHere as missing:
        return Seen(missing=str(missing))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not error.args:  # the user's own
            raise
        return Seen(error=error, seconds=time.monotonic() - began)
    return Seen(found, harm=_harm(world, attack), seconds=time.monotonic() - began)


def _harm(world: World, attack: Attack) -> str:
    return attack.check(world) if attack.check else ""


# --- without walls ---------------------------------------------------------------------------------------------------


def _all_outside(world: World, attacks: Sequence[Attack], inside: dict[str, Seen]) -> dict[str, Seen]:
    """Make them in one throwaway process, each in a fork of its own; those that are led by the caller, one by one."""
    tried = [attack for attack in attacks if not inside[attack.id].missing and not attack.untried]
    actions = [attack.plain for attack in tried if attack.plain]
    found = dict(plain.run(world, actions))
    seen = {}
    for attack in tried:
        if attack.plain:
            seen[attack.id] = Seen(found.get(name_of(attack.plain)))
        elif attack.control:
            try:
                seen[attack.id] = Seen(attack.control(world))
            except (NotHere, IsolationError) as problem:
                seen[attack.id] = Seen(missing=str(problem).partition("\n")[0])
    return seen
