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
RETRIES = 3
"""How often a task may lose its worker before the run is given up; what was written is kept."""


def packages() -> tuple[Any, Any]:
    """cloudpickle and distributed. Raises ImportError, with the line that installs them."""
    try:
        return import_module("cloudpickle"), import_module("distributed")
    except ImportError as error:
        raise ImportError("work on several processes needs dask.distributed: pip install 'pde-surrogates[dist]'") from error


@contextmanager
def client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Of the scheduler at an address, once it has so many workers; or of `workers` processes here (None or "local").

    Raises ImportError without dask.distributed, OSError for a scheduler that is not there.
    """
    import dask

    d = packages()[1]
    if scheduler not in (None, LOCAL):
        with d.Client(scheduler, timeout=PATIENCE) as found:
            found.wait_for_workers(workers or 1)
            yield found
        return
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": RETRIES}),
        d.LocalCluster(n_workers=workers or 2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=40) as cluster,
        d.Client(cluster) as found,
    ):
        yield found
