"""The same forecast on many machines: every group of rows is a task of `dask.distributed` that writes its own chunks of the Zarr folder.

A group depends on the plan alone and keeps its own log (`journal`), so any worker may run it, and one that is killed loses nothing that
was marked: the task is started again elsewhere and goes on from its last line. All see one folder: on several machines it lies on a
disk that they share. Workers take the number of threads of this process, since products round differently with another, so the result
is the same bit for bit as that of one process at the same size of a group.

Needs the extra `dist`: pip install "pde-surrogates[dist]". Source: https://distributed.dask.org.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import xarray as xr

from surrogates import cluster
from surrogates.cluster import packages
from surrogates.forecast.group import Portion, run_group
from surrogates.forecast.journal import STATES, replace
from surrogates.forecast.plan import Plan
from surrogates.forecast.progress import Progress
from surrogates.forecast.zarr_sink import ZarrSink


def run_groups(plan: Plan, template: xr.Dataset, path: Path, bar: Progress, scheduler: str | None, workers: int | None) -> None:
    """Run every group of a folder that is laid out. Raises ImportError without `distributed`, OSError for a scheduler that is not there."""
    cloudpickle, distributed = packages()
    shared = path.resolve() / STATES / f"plan-{uuid4().hex[:8]}.pickle"  # not in a worker's memory, which is lost with it
    with cluster.client(scheduler, workers) as client:
        replace(shared, cloudpickle.dumps((plan, template, plan.fingerprint(), torch.get_num_threads())))
        try:
            futures = [client.submit(_task, shared, g, pure=False, key=f"{path.name}-{g}-{uuid4().hex[:8]}") for g in range(plan.groups)]
            for future in distributed.as_completed(futures):
                for portion in future.result():
                    bar.report(portion)
        finally:
            shared.unlink(missing_ok=True)


def _task(shared: Path, group: int) -> list[Portion]:
    """One group, in a worker; what it did, without the frames."""
    plan, template, fingerprint, threads = _loaded(shared, shared.stat().st_mtime_ns)
    torch.set_num_threads(threads)
    sink = ZarrSink(shared.parents[1], template, fingerprint, plan.chunk, plan.group, plan.keep.compression)
    done: list[Portion] = []

    def add(p: Portion) -> None:
        done[:] = [_sum(done[0], p) if done else p]

    with torch.inference_mode():
        run_group(plan, group, sink, add)
    return [dataclasses.replace(p, last=p.last.cpu().clone()) for p in done]


@lru_cache(maxsize=1)
def _loaded(shared: Path, changed: int) -> tuple[Plan, xr.Dataset, dict[str, Any], int]:
    """Once for all groups of a worker."""
    loaded: tuple[Plan, xr.Dataset, dict[str, Any], int] = packages()[0].loads(shared.read_bytes())
    return loaded


def _sum(one: Portion, other: Portion) -> Portion:
    """Two portions of one group, one after the other."""
    return dataclasses.replace(other, frames=one.frames + other.frames, calls=one.calls + other.calls)
