"""The task that `benchmarks.scaling` gives to every engine: next to nothing, so that what remains is the engine's and ours."""

from __future__ import annotations

from isolate_fn import isolated


def plain(n: int) -> int:
    return n * n


@isolated(reuse=True)
def reused(n: int) -> int:
    return n * n


@isolated
def fresh(n: int) -> int:
    return n * n
