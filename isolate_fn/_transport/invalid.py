"""What the halves of the decoder tell each other."""

from __future__ import annotations


class Invalid(Exception):
    """The wire holds something that the format does not allow. Never leaves this package."""
