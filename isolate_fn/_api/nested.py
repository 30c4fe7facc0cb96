"""What cannot be used inside an isolate, because it would start another."""

from __future__ import annotations

from isolate_fn.errors import PolicyError
from isolate_fn.policy.inside import inside


def refuse_nested(what: str, remedy: str) -> None:
    """Refuse what starts isolates, or looks at what they could be made of, inside one.

    Args:
        what: was used.
        remedy: what to do instead.

    Raises:
        PolicyError: this is an isolate.
    """
    if inside():
        from isolate_fn._transport.received import NESTED

        raise PolicyError(NESTED, f"{what} was used inside an isolate, which cannot start another", remedy)
