"""What an attack is: words, a function, and what counts as held. Loaded inside isolates too, so it imports little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from isolate_fn._diagnose.selftest.world import World

Found = dict[str, Any]
"""What an attack found: a name for each thing it tried, with what came of it.

A negative number is an errno: that was refused. Everything else got through. What only looks for something puts in what it
found, and nothing where there is nothing.
"""


class Facts(NamedTuple):
    """What attackers are told: paths, numbers and names of victims that were made for them.

    The same attack gets other facts inside an isolate and without walls: each side has its own victims.

    Attributes:
        secret: path of a file of the host, in no mount, that every user may read and write.
        beside: path of a file that does not exist, in a directory of the host where every user may make one.
        shared: a directory that is granted read-only.
        drop: a directory that is granted for writing.
        scratch: a directory for temporary files.
        handle: the secret's file handle (hexadecimal), empty where its file system has none.
        tcp, tcp6, udp: ports on the loopback interface where somebody listens; 0 for none.
        abstract: name of an abstract unix socket.
        victim: id of a process of this user's.
        caller: id of the process that runs the selftest.
        memory_key: key of a System V shared memory segment.
        halves: two halves of a text that the caller holds in its memory.
        variable: name of an environment variable of the caller's.
        argument: a word of the victim's command line.
        user: id of the user who runs the selftest.
    """

    secret: str
    beside: str
    shared: str
    drop: str
    scratch: str
    handle: str
    tcp: int
    tcp6: int
    udp: int
    abstract: str
    victim: int
    caller: int
    memory_key: int
    halves: tuple[str, str]
    variable: str
    argument: str
    user: int

    @property
    def inside(self) -> bool:
        """Whether this is told inside an isolate, and not without walls."""
        return self.scratch in ("/tmp", PRIVATE)


PRIVATE = "../tmp"
"""The directory for temporary files of an isolate without mounts, from its working directory."""

Action = Callable[[Facts], Found]


class Attack(NamedTuple):
    """One attack.

    Attributes:
        id: ``"files.absolute-path"``; its first part names the promise.
        promise: number of the promise it is aimed at, 1 to 7.
        title: what it tries, in one line.
        held: what counts as held, in one line.
        act: the attack, run inside; None for one that is led from the caller's side.
        lead: the attack as the caller leads it, with isolated calls of its own; None for one that runs inside.
        alone: it gets an isolate of its own.
        options: options of `isolate_fn.isolated` for that.
        ends: errors by which the isolate may end instead of an answer: class names, for limits ``"LimitExceeded memory"``.
        plain: the same action without walls, run in a throwaway process; None where it is not tried.
        control: the same, led by the caller; None for none.
        untried: why it is not tried without walls; empty where it is.
        check: looks at the victims afterwards, from outside; returns what is wrong with them, or "".
        needs: says what this machine lacks for the attack; "" for nothing.
        known: what it is known by elsewhere.
    """

    id: str
    promise: int
    title: str
    held: str
    act: Action | None = None
    lead: Callable[[World], Found] | None = None
    alone: bool = False
    options: Mapping[str, Any] = {}
    ends: tuple[str, ...] = ()
    plain: Action | None = None
    control: Callable[[World], Found] | None = None
    untried: str = ""
    check: Callable[[World], str] | None = None
    needs: Callable[[World], str] | None = None
    known: str = ""


class NotHere(Exception):
    """Raised by an attack that cannot be made on this machine; its text says which feature or privilege is missing."""


class Promise:
    """One promise of docs/threat-model.md, and the attacks on it.

    Args:
        number: 1 to 7.
        name: first part of its attacks' ids.
        text: the promise in one sentence.
    """

    def __init__(self, number: int, name: str, text: str) -> None:
        self.number, self.name, self.text = number, name, text
        self.attacks: list[Attack] = []

    def attack(self, name: str, title: str, *, held: str, **more: Any) -> Callable[[Action], Action]:
        """Enter the decorated function as an attack that runs inside.

        Args:
            name: second part of the id.
            title: see `Attack`.
            held: see `Attack`.
            **more: see `Attack`. Without ``untried`` the same function is run without walls.
        """

        def enter(act: Action) -> Action:
            if "untried" not in more:
                more.setdefault("plain", act)
            more["alone"] = bool(more.get("alone") or more.get("options") or more.get("ends"))
            self.attacks.append(Attack(f"{self.name}.{name}", self.number, title, held, act=act, **more))
            return act

        return enter

    def led(
        self, name: str, title: str, *, held: str, **more: Any
    ) -> Callable[[Callable[[World], Found]], Callable[[World], Found]]:
        """Enter the decorated function as an attack that the caller leads; arguments as for `attack`."""

        def enter(lead: Callable[[World], Found]) -> Callable[[World], Found]:
            self.attacks.append(Attack(f"{self.name}.{name}", self.number, title, held, lead=lead, **more))
            return lead

        return enter


def refused(value: Any) -> bool:
    """Say whether one thing that was tried was refused."""
    return isinstance(value, int) and not isinstance(value, bool) and value < 0


def through(found: Found) -> Found:
    """Return what got through."""
    return {name: value for name, value in found.items() if not refused(value)}


def describe(found: Found) -> str:
    """Say what got through, in one line of bounded length."""
    got = through(found)
    parts = [f"{name}: {_text(value)}" if isinstance(value, (str, bytes)) else name for name, value in got.items()]
    shown = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
    return shown if len(found) == len(got) else f"{shown} ({len(got)} of {len(found)})"


def _text(value: str | bytes) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(character if character.isprintable() else "?" for character in text.strip()[:80])
