"""Objects that policy files of the tests name."""

from __future__ import annotations

from isolate_fn.rules import RuleSet, SystemIO


class Point:
    """A class for returns."""

    class Inner:
        """One inside another."""


class Mistake(Exception):
    """A class for raises."""


def encode(value: object) -> object:
    """Encode."""
    return value


def decode(value: object) -> object:
    """Decode."""
    return value


def lookup(key: str) -> str:
    """Host function."""
    return key


def take(stream: str, data: bytes) -> None:
    """Take output."""


class Rebooting(RuleSet):
    """A set of one's own."""

    def simple_rules(self) -> tuple[str, ...]:
        """Return a call."""
        return ("reboot",)


class Needy(RuleSet):
    """A set that is not what its class makes without arguments."""

    def __init__(self, call: str = "reboot") -> None:
        self.call = call


READING = SystemIO().allow_read()
NUMBER = 3
