"""What runs inside an isolate for an engine; without imports of its own, because every isolate loads it."""

from __future__ import annotations

from typing import Any


def run_task(task: Any, dependencies: Any) -> Any:
    """Compute one task of Dask's.

    Args:
        task: a node of Dask's graph, which is called with what it depends on.
        dependencies: values by key.
    """
    return task(dependencies)


def run_batch(batch: Any) -> list[Any]:
    """Compute one batch of joblib's.

    Args:
        batch: a ``BatchedCalls``, which makes the loops in it run one after the other.
    """
    from isolate_fn.integrations._joblib_nested import refuse_processes

    refuse_processes()
    results: list[Any] = batch()
    return results
