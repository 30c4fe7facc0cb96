"""Exceptions across the channel: ``describe`` inside the isolate, ``rebuild`` outside.

The isolate should import failures_describe directly; this module loads both halves.
"""

from __future__ import annotations

from isolate_fn._transport.exception_table import ExceptionTable
from isolate_fn._transport.failures_describe import describe
from isolate_fn._transport.failures_rebuild import IsolateTraceback, rebuild

__all__ = ["ExceptionTable", "IsolateTraceback", "describe", "rebuild"]
