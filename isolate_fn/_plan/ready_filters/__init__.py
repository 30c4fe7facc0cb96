"""The filters of the most usual policies, compiled beforehand.

A script that makes one isolated call would spend more on importing the compiler and its tables than on anything else of
its own, for bytes that are always the same. The programs beside this file are what `seccomp_base.py`
comes to; tools/generate_ready_filters.py writes them, and a test holds both against each other for every architecture.
Whatever is not among them is compiled when it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for typing's, whose import is what this module exists to avoid
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from isolate_fn._plan.seccomp_base import BaseOptions

#: Program name -> the options of `seccomp_base.worker_filter` that it is compiled with.
WORKERS: dict[str, BaseOptions] = {
    "worker": {"on_denied": "report"},
    "worker, network": {"on_denied": "report", "network": True},
    "tools": {"on_denied": "report", "exec": True},
    "tools, network": {"on_denied": "report", "exec": True, "network": True},
    "worker, unheard": {},
    "worker, network, unheard": {"network": True},
    "tools, unheard": {"exec": True},
    "tools, network, unheard": {"exec": True, "network": True},
}
INIT = "init"

#: Options that say what leaving them out says too.
_DEFAULTS: BaseOptions = {"network": False, "on_denied": "errno", "exec": False, "fork": None}


def worker_filter(machine: str, **options: Unpack[BaseOptions]) -> bytes:
    """Return `seccomp_base.worker_filter` of the same arguments, without the compiler where it can be had so."""
    program = _programs(machine).get(_name(options))
    if program is not None:
        return program
    from isolate_fn._plan import seccomp_base

    return seccomp_base.worker_filter(machine, **options)


def init_filter(machine: str) -> bytes:
    """Return `seccomp_base.init_filter` of the same machine, without the compiler."""
    return _programs(machine)[INIT]


def _name(options: BaseOptions) -> str:
    """Return the program's name, empty for none."""
    said = {option: value for option, value in options.items() if _DEFAULTS.get(option, ...) != value}
    return next((name for name, wanted in WORKERS.items() if wanted == said), "")


def _programs(machine: str) -> Mapping[str, bytes]:
    """Return name -> program.

    Raises:
        KeyError: there are none for that architecture.
    """
    if machine == "x86_64":
        from isolate_fn._plan.ready_filters.x86_64 import PROGRAMS
    elif machine == "aarch64":
        from isolate_fn._plan.ready_filters.aarch64 import PROGRAMS
    else:
        raise KeyError(machine)
    return PROGRAMS
