"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from typing import Any


def describe() -> dict[str, Any]:
    """Return kernel, Python, processors, user, and what makes interpreters start slowly or quickly here."""
    site = sysconfig.get_path("purelib")
    return {
        "kernel": os.uname().release,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "user": "root" if os.geteuid() == 0 else "ordinary",
        "load": round(os.getloadavg()[0], 2),
        "pth_files": len([name for name in os.listdir(site) if name.endswith(".pth")]),
        "virtual_environment": sys.prefix != sys.base_prefix,
    }
