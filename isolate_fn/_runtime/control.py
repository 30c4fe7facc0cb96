"""How caller and spawner talk over the control socket; imported by both, so nothing here loads ctypes."""

import struct

HEADER = struct.Struct("=BI")
"""Kind of message, length of the body that follows, written by marshal (both ends are the same interpreter) (bytes)."""

PLAN, START = 1, 2
"""Kinds: (number, Plan), and Start with the descriptors it names."""
