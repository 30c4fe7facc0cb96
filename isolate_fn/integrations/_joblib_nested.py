"""Inside an isolate that runs tasks of joblib's: which backends there are for the loops within those tasks."""

from __future__ import annotations

import functools
from typing import Any

from joblib.parallel import SequentialBackend, register_parallel_backend

NEED_PROCESSES = ("loky", "multiprocessing", "isolated")


class RefusedBackend(SequentialBackend):  # type: ignore[misc]
    """Stands in the place of a backend that starts processes, which an isolate cannot.

    A loop of one job runs as it would; any other is refused with words, where the real backend would fail at the first
    system call that is denied.

    Args:
        name: of the backend.
        **options: what joblib passes.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(nesting_level=options.get("nesting_level"))
        self.name = name

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Called by joblib before a loop."""
        if n_jobs not in (1, None):
            # Of a class that every isolate may raise as itself.
            raise ValueError(
                f"joblib backend {self.name!r} in a loop with n_jobs={n_jobs} inside an isolated task, which can start "
                "neither processes nor isolates; leave out backend=, then nested loops run one after the other, "
                "or use backend='threading'"
            )
        self.parallel = parallel
        return 1


@functools.cache
def refuse_processes() -> None:
    """Make the backends that start processes say so; once per worker."""
    for name in NEED_PROCESSES:
        register_parallel_backend(name, functools.partial(RefusedBackend, name))
