"""How waiting for an isolate can end without an answer. None of these leaves the package."""

from __future__ import annotations


class OutOfTime(Exception):
    """The deadline passed while we waited."""


class TooMuchOutput(Exception):
    """The isolate wrote more than its limit to stdout and stderr."""


class Ended(Exception):
    """The isolate ended, or closed its channel, without an answer."""
