"""joblib: a backend whose workers are isolates, for ``Parallel`` loops and what is built on them, such as scikit-learn.

::

    from isolate_fn.integrations.joblib import register

    register()
    with parallel_config(backend="isolated", n_jobs=4, timeout=60):
        results = Parallel()(delayed(parse)(blob) for blob in blobs)

Every task gets an isolate of its own, unless ``reuse=`` says otherwise: then joblib puts short tasks together in
batches as it does for its own processes, and a batch is one call. Big arrays go in through shared memory, once per
task, and not through joblib's files of memory maps, which an isolate does not see.

A loop of one job is isolated as well, and one that asks for ``require="sharedmem"`` is refused; joblib would run both
in this process. A backend that is named in the loop itself, such as ``Parallel(backend="threading")``, still is used.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from joblib.parallel import (
    AutoBatchingMixin,
    ParallelBackendBase,
    SequentialBackend,
    cpu_count,
    register_parallel_backend,
)

from isolate_fn import IsolatedExecutor, Policy
from isolate_fn.errors import PolicyError
from isolate_fn.integrations._answers import Task
from isolate_fn.integrations._inside import run_batch
from isolate_fn.policy.toml.find import calling_file, policy_named

NAME = "isolated"

# What `Parallel` passes to every backend, and means nothing here. `require` has no counterpart for that reason: where
# properties that must hold are to be named, a Policy can.
_OF_JOBLIB = frozenset({"max_nbytes", "temp_folder", "mmap_mode", "prefer", "verbose", "context"})


class IsolatedBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs the tasks of a loop in isolates.

    Args:
        nesting_level: joblib's own.
        inner_max_num_threads: threads that OpenMP, BLAS and the like may start in each isolate, 1 by default. With
            more, joblib and numpy cannot be imported ahead, which would start them, and each isolate takes longer.
        policy: options to start from, or the name of a policy in the project of whoever calls joblib; the others override
            it.
        **options: options of `isolated`, given in ``parallel_config(backend="isolated", ...)``.

    Raises:
        PolicyError: an option does not exist or has a wrong value.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    # It does not. But joblib would take a loop that requires it to threads of this process, without a word; this way
    # the loop comes here and is refused, see configure().
    supports_sharedmem = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        policy: Policy | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads or 1)
        self._policy = Policy.from_options(_named(policy), **options)
        self._pool: IsolatedExecutor | None = None
        self._running: set[Future[Any]] = set()

    # --- what joblib asks for ----------------------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number that joblib reckons with: never 1, with which it would not use a backend at all.

        Raises:
            ValueError: 0 jobs.
        """
        return max(2, _workers(n_jobs))

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, require: str | None = None, **options: Any
    ) -> int:
        """Make the pool for a loop, or for all loops of a ``with Parallel(...)``.

        Args:
            n_jobs: as for `Parallel`.
            parallel: the loop.
            require: joblib's.
            **options: joblib's own, and options of `isolated` given to `Parallel`.

        Raises:
            PolicyError: the loop needs shared memory, or a wrong option.
        """
        if require == "sharedmem":
            raise PolicyError(
                "require='sharedmem'",
                "a loop whose tasks change objects of this process, which isolated tasks cannot",
                "wrap that loop in parallel_config(backend='threading'), where its tasks are not isolated",
            )
        self.parallel = parallel
        workers = _workers(n_jobs)
        given = {name: value for name, value in options.items() if name not in _OF_JOBLIB}
        policy = Policy.from_options(_named(given.pop("policy", self._policy)), **given)
        self._pool = IsolatedExecutor(workers, policy=self._inside(policy))
        self._batches = policy.reuse is not False
        return max(2, workers)

    def _inside(self, policy: Policy) -> Policy:
        """Return the policy with what every task needs."""
        env = {**dict.fromkeys(self.MAX_NUM_THREADS_VARS, str(self.inner_max_num_threads)), **policy.env}
        alone = all(env[name] == "1" for name in self.MAX_NUM_THREADS_VARS)
        preload = policy.preload
        if alone and "joblib.parallel" not in preload:
            preload = ("joblib.parallel", *preload)
        return Policy.from_options(policy, env=env, preload=preload)

    def compute_batch_size(self) -> int:
        """Return how many tasks the next call shall run: one, where each is to have an isolate of its own."""
        return int(super().compute_batch_size()) if self._batches else 1

    def submit(self, func: Any, callback: Any = None) -> Future[Any]:
        """Start a batch."""
        assert self._pool is not None, "joblib configures before it submits"
        future = self._pool.submit(Task(run_batch, (each for each, _, _ in func.items)), func)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the results of a batch or raise its exception."""
        return out.result()

    def terminate(self) -> None:
        """End the pool when the loop is over."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill what runs, because a task failed or the loop's time is over."""
        for future in list(self._running):
            future.cancel()
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def get_nested_backend(self) -> tuple[Any, None]:
        """Return what loops inside tasks use: they run one after the other."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def _named(policy: Policy | str | None) -> Policy | None:
    """Return the policy of a name, by which whoever calls joblib means one of its own project."""
    return policy_named(policy, calling_file("joblib")) if isinstance(policy, str) else policy


def _workers(n_jobs: int | None) -> int:
    """Return how many isolates run at a time."""
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    wanted = 1 if n_jobs is None else n_jobs
    return wanted if wanted > 0 else max(cpu_count() + 1 + wanted, 1)


def register(name: str = NAME, *, make_default: bool = False) -> None:
    """Tell joblib of the backend.

    Args:
        name: what to call it in ``parallel_config(backend=...)``.
        make_default: use it for every loop that names no other.
    """
    register_parallel_backend(name, IsolatedBackend, make_default=make_default)
