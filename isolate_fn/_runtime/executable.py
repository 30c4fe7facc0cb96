"""Which Python executable isolates are started with; apart from the rest of what is found out, because it is asked first."""

from __future__ import annotations

import os
import sys

from isolate_fn.errors import Unsupported

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def find_interpreter() -> str:
    """Return the real path of the Python executable to start isolates with.

    ``sys.executable`` will not do: in a server that embeds Python (uWSGI, mod_wsgi) it is the server's.

    Raises:
        Unsupported: there is none of this version, or this package is not installed where one could read it.
    """
    if hasattr(sys, "frozen") or not os.path.isfile(LAUNCHER):
        raise Unsupported(
            "isolation",
            "an interpreter and this package's files on disk",
            f"{'the frozen program ' + sys.executable if hasattr(sys, 'frozen') else os.path.dirname(LAUNCHER)!r}",
            "run the program with an installed Python that has isolate_fn installed, not from one file that holds both",
        )
    base = getattr(sys, "_base_executable", "") or sys.executable
    candidates = [base] if "python" in os.path.basename(base or "") else []
    candidates += [f"{sys.base_exec_prefix}/bin/{name}" for name in (f"python{VERSION}", "python3")]
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    import sysconfig  # slow, and only for unusual layouts

    path = os.path.join(sysconfig.get_config_var("BINDIR") or "", f"python{VERSION}")
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return os.path.realpath(path)
    raise Unsupported(
        "isolation",
        f"a Python {VERSION} executable to start",
        f"none at {base or 'sys.executable'!r} or below {sys.base_exec_prefix!r}",
        f"install python{VERSION} beside the library that this program embeds",
    )
