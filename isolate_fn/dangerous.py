"""Weakenings of the isolation, for ``accept=``: each removes exactly one protection.

They live in a module of their own, to be imported by name, so that review and ``grep dangerous`` find each
use; every report lists them.
"""

from __future__ import annotations

from .policy.tokens import HostNetwork as HostNetwork
from .policy.tokens import NoLandlock as NoLandlock
from .policy.tokens import NoSeccomp as NoSeccomp
from .policy.tokens import TrustResult as TrustResult

__all__ = ["HostNetwork", "NoLandlock", "NoSeccomp", "TrustResult"]
