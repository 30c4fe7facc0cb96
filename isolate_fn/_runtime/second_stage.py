"""The second of the two interpreters, which becomes the spawner: hears what it is for, loads it, says that it is ready."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import marshal
import os
import select

from isolate_fn._runtime import spawner
from isolate_fn._runtime.first_stage import BIND, CONTROL
from isolate_fn._runtime.loading import Loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def run(whose: str) -> NoReturn:
    """Become a spawner.

    Args:
        whose: ``"ours"`` where the first stage has set ``LD_BIND_NOW``, which nobody further on shall see.

    Raises:
        Exception: whatever a module to preload raises.
        RuntimeError: one has started threads.
    """
    if whose == "ours":
        del os.environ[BIND]
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
        # Ctrl-C in a terminal is the caller's to handle; the end of the control socket is what ends us.
        _signal.signal(number, _signal.SIG_IGN if number == _signal.SIGINT else _signal.SIG_DFL)
    loading = Loading()
    if not select.select([CONTROL], [], [], 0)[0]:
        loading.needed()  # the caller still makes up its mind
    told = _told()
    if "early" in told:
        try:
            loading.preload((told["early"],), told["sys_path"], later=False)
        except Exception:  # noqa: S110 - what cannot be imported is told when it is asked for
            pass
        told = _told()
    loading.preload(told["preload"], told["sys_path"], later=told["later"])
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(
            f"preload={told['preload']!r} started {threads - 1} threads; a spawner that forks must have one "
            "(set OPENBLAS_NUM_THREADS=1, OMP_NUM_THREADS=1 in env=..., or do not preload it)"
        )
    if told["engine"] == "landlock":
        from isolate_fn._runtime import landlock_spawner

        os.write(CONTROL, b"+\n")
        landlock_spawner.main(CONTROL, told["idle_timeout"], loading)
    os.write(CONTROL, b"+\n")
    spawner.main(CONTROL, told["idle_timeout"], told["namespaces"], loading)


def _told() -> dict[str, Any]:
    length = int.from_bytes(_exactly(4), "little")
    told: dict[str, Any] = marshal.loads(_exactly(length))  # noqa: S302 - the caller is trusted
    return told


def _exactly(count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = os.read(CONTROL, count - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return parts
