"""The engine around the generator: an initial state becomes an ensemble forecast, in fixed groups, streamed chunk by chunk.

    plan (what it is made from) -> template (what there will be) -> groups, one by one or on many machines -> sink

Memory does not grow with the number of frames where they go to a file: a group holds a chunk of frames and the state of the step.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import torch
import xarray as xr

from surrogates.contracts import Step
from surrogates.forecast.blowup import Limits
from surrogates.forecast.group import run_group
from surrogates.forecast.hdf5_sink import SUFFIXES, Hdf5Sink
from surrogates.forecast.journal import locked
from surrogates.forecast.keep import Keep
from surrogates.forecast.monitor import Monitor
from surrogates.forecast.perturbations import Perturbation
from surrogates.forecast.plan import Plan
from surrogates.forecast.prepare import plan_of
from surrogates.forecast.progress import Progress
from surrogates.forecast.sinks import MemorySink, Sink
from surrogates.forecast.surroundings import Surroundings
from surrogates.forecast.template import template_of
from surrogates.forecast.zarr_sink import ZarrSink

GROUP, CHUNK = 16, 32


def simulate(
    step: Step,
    initial: xr.Dataset,
    frames: int,
    *,
    members: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    keep: Keep | None = None,
    perturb: Perturbation | None = None,
    limits: Limits | None = None,
    surroundings: Surroundings | None = None,
    monitor: Monitor | None = None,
    group: int = GROUP,
    chunk: int = CHUNK,
    deterministic: bool = False,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: bool | Progress = False,
) -> xr.Dataset:
    """Forecast `frames` frames from the last `step.history` times of `initial`; dims (trajectory, [member,] time, *axes).

    Times count on from those of `initial`, numbers or dates, and stand for dates as they do (`dates.dated` shows them).

    `members` (None: no such dim) draw their own noise from `seed`; `deterministic` passes none. An initial state with members, such as
    `continue_from` reads, gives each its own. With `out` (a folder: Zarr; .h5, .hdf5 or .nc: HDF5) the forecast streams to disk in chunks
    of `chunk` frames, and the same call goes on where it was cut. `keep` says what is kept of the frames and what is measured.

    Members may begin perturbed (`perturb`), live in `surroundings` that change in time, and stop: beyond `limits`, or where a `monitor`
    says so. One that stopped is NaN from that frame on; `failed_step` tells how many frames it made (-1: it did not fail) and
    `failed_reason` why. With a `scheduler` ("local", or the address of a dask scheduler) or `workers`, groups run in other processes.

    Raises ValueError where the initial state lacks times, fields, units, dt or parameters that the step needs, or holds NaN, and
    FileExistsError where `out` holds another run.
    """
    plan = plan_of(
        step, initial, frames, members=members, seed=seed, group=group, length=chunk, keep=keep, deterministic=deterministic,
        perturb=perturb, limits=limits or Limits(), surroundings=surroundings, monitor=monitor,
    )  # fmt: skip
    many = scheduler is not None or workers is not None
    if many and (out is None or is_hdf5(out)):
        raise ValueError("a forecast on several workers goes to a Zarr folder, which each writes its part of; give out='forecast.zarr'")
    template = template_of(plan, initial)
    with nullcontext() if out is None else locked(Path(out)):
        sink = open_sink(plan, template, out)
        bar = progress if isinstance(progress, Progress) else Progress(shown=progress)
        with bar.of(plan, [sink.made(g) for g in range(plan.groups)]):
            if many:
                from surrogates.forecast.distributed import run_groups

                assert out is not None
                run_groups(plan, template, Path(out), bar, scheduler, workers)
            else:
                run_here(plan, sink, bar)
        return sink.finish()


def run_here(plan: Plan, sink: Sink, bar: Progress) -> None:
    """Every group, one after the other."""
    with torch.inference_mode():
        for g in range(plan.groups):
            run_group(plan, g, sink, bar.report)


def is_hdf5(out: str | os.PathLike[str]) -> bool:
    return Path(out).suffix in SUFFIXES


def open_sink(plan: Plan, template: xr.Dataset, out: str | os.PathLike[str] | None) -> Sink:
    """Where the frames go. Raises FileExistsError where it holds something else."""
    if out is None:
        return MemorySink(template)
    if is_hdf5(out):
        return Hdf5Sink(out, template, plan.fingerprint(), plan.keep.compression)
    return ZarrSink(out, template, plan.fingerprint(), plan.chunk, plan.group, plan.keep.compression)
