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
        "kernel": os.uname().release.partition("-")[0],
        "machine": platform.machine(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "user": "root" if os.geteuid() == 0 else "ordinary",
        "load": round(os.getloadavg()[0], 2),
        "pth_files": len([name for name in os.listdir(site) if name.endswith(".pth")]),
        "virtual_environment": sys.prefix != sys.base_prefix,
    }


def _processor() -> str:
    """Return the processor's name, as far as pyperf can find it."""
    try:
        import pyperf
    except ImportError:
        return ""
    return str(pyperf.Run([1.0], collect_metadata=True).get_metadata().get("cpu_model_name", ""))
