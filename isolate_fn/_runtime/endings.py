"""How waiting for an isolate can end without an answer. None of these leaves the package."""

from __future__ import annotations


class OutOfTime(Exception):
    """The deadline passed while we waited."""


class TooMuchOutput(Exception):
    """The isolate wrote more than its limit to stdout and stderr."""


class Ended(Exception):
    """The isolate ended, or closed its channel, without an answer."""


class Cancelled(Exception):
    """Who made the call does not want its answer any more."""


class Foreign(Exception):
    """Code of the caller's raised while the isolate waited for it.

    Attributes:
        error: what it raised, which the call raises.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error
