"""What the figures were taken on."""

from __future__ import annotations

import compileall
import os
import platform
import sys
import sysconfig
from typing import Any

import isolate_fn


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


def compile_all() -> bool:
    """Write byte code of the package and of what is measured, as an installed package has it; tell whether that worked.

    Where PYTHONDONTWRITEBYTECODE is set, every spawner and every worker would compile sources otherwise.
    """
    places = (os.path.dirname(isolate_fn.__file__), os.path.dirname(os.path.abspath(__file__)))
    done = [bool(compileall.compile_dir(place, quiet=2)) for place in places]  # both, whatever the first one said
    return all(done)
