"""Who does the work of collecting: this process, others of this machine, or those of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from stepscape.errors import StepscapeError


@contextmanager
def executor_of(workers: int, scheduler: str | None = None) -> Iterator[Executor | None]:
    """What `collect_study` gives its blocks to.

    Args:
        workers: processes on this machine; not looked at with a scheduler.
        scheduler: the address of a scheduler of dask.distributed, such as that of a `SLURMCluster`.

    Yields:
        An executor; None for this process alone.

    Raises:
        StepscapeError: the number is not positive, dask.distributed is not installed, or the scheduler is not there.
    """
    if workers < 1:
        raise StepscapeError(f"--workers {workers}; allowed: 1 or more")
    if scheduler is not None:
        with _dask(scheduler) as executor:
            yield executor
    elif workers == 1:
        yield None
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
            yield executor


@contextmanager
def _dask(scheduler: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise StepscapeError(
            "--scheduler needs dask.distributed: `pip install distributed`, or use --workers"
        ) from None
    try:
        client = Client(scheduler)
    except (OSError, ValueError) as error:
        raise StepscapeError(f"--scheduler {scheduler}: {error}; give the address of one that runs") from None
    with client, client.get_executor(pure=False) as executor:
        yield executor
