"""A dask cluster to compute on: one that is there, by its address, or processes of this machine for as long as it takes.

Needs the extra `dist`: pip install "pde-surrogates[dist]". Source: https://distributed.dask.org.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

LOCAL = "local"
PATIENCE = "20s"
LOSSES = 3
"""How many workers of a cluster of our own a task may lose before the run is given up; what was written is kept. A scheduler at an address
goes by its own `distributed.scheduler.allowed-failures`. A task that raises an error is not run again anywhere: it would raise it again."""


def packages() -> tuple[Any, Any]:
    """cloudpickle and distributed. Raises ImportError, with the line that installs them."""
    try:
        return import_module("cloudpickle"), import_module("distributed")
    except ImportError as error:
        raise ImportError("work on several processes needs dask.distributed: pip install 'pde-surrogates[dist]'") from error


@contextmanager
def client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Of the scheduler at an address, once it has `workers` workers (None: one); or of `workers` processes here (None or "local").

    Raises ImportError without dask.distributed, OSError for a scheduler that is not there, or lacks workers after `PATIENCE`.
    """
    import dask

    d = packages()[1]
    if scheduler not in (None, LOCAL):
        with d.Client(scheduler, timeout=PATIENCE) as found:
            _wait(found, scheduler, workers or 1)
            yield found
        return
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": LOSSES}),
        d.LocalCluster(n_workers=workers or 2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=40) as cluster,
        d.Client(cluster) as found,
    ):
        yield found


def _wait(found: Any, scheduler: str | None, workers: int) -> None:
    try:
        found.wait_for_workers(workers, timeout=PATIENCE)
    except TimeoutError as error:
        there = len(found.scheduler_info(n_workers=-1)["workers"])
        raise TimeoutError(
            f"the scheduler {scheduler} has {there} of {workers} workers after {PATIENCE}; start more (dask worker {scheduler}), "
            f"or ask for {max(there, 1)}"
        ) from error
