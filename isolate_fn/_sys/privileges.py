"""What this process may do, read from /proc: asking the kernel directly takes ctypes, whose import comes too soon here."""

from __future__ import annotations

import os

# CHOWN, DAC_OVERRIDE, SETGID, SETUID, NET_ADMIN, SYS_ADMIN
_TO_BUILD = sum(1 << capability for capability in (0, 1, 6, 7, 12, 21))


def can_build() -> bool:
    """Tell whether this thread is root with the capabilities to build an isolate without a user namespace around it."""
    return os.geteuid() == 0 and _effective() & _TO_BUILD == _TO_BUILD


# CHOWN, SETGID, SETUID
_TO_CHANGE_IDS = sum(1 << capability for capability in (0, 6, 7))


def can_change_ids() -> bool:
    """Tell whether this thread is root that may take any other id, and give files away to it."""
    return os.geteuid() == 0 and _effective() & _TO_CHANGE_IDS == _TO_CHANGE_IDS


def _effective() -> int:
    """Return the effective capabilities as a bit mask, see proc_pid_status(5); none where there is no /proc to ask."""
    try:
        with open("/proc/thread-self/status", "rb") as status:
            lines = status.read().split(b"\n")
    except OSError:
        return 0
    return next((int(line[7:], 16) for line in lines if line.startswith(b"CapEff:")), 0)
