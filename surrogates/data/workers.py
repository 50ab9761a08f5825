"""Threads or processes that compute and write, one core each: stopped at their next tick, watched by a bar, alone in their folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from surrogates import cluster
from surrogates.data.truth import Tick

Job = Callable[[Tick], Tensor]
Submit = Callable[[Job, float], Future[Tensor]]
"""A job and the work that it is, in the units of its ticks, to what it will return."""


class StopError(Exception):
    """Raised inside a worker when the run is being stopped."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool(workers: int | None, tick: Tick, scheduler: str | None = None) -> Iterator[Submit]:
    """Threads of this process, or with a `scheduler` processes of its cluster; leaving early (an error, Ctrl-C) stops them.

    Threads tick as they work and stop at their next tick; a job on a cluster ticks once, when it is done. None are as many `workers` as
    cores here, but those that there are of a scheduler at an address.
    """
    here = scheduler in (None, cluster.LOCAL)
    count = workers or cores() if here else workers
    with _threads(count or 1, tick) if scheduler is None else _processes(count, tick, scheduler) as submit:
        yield submit


@contextmanager
def _threads(workers: int, tick: Tick) -> Iterator[Submit]:
    stop = threading.Event()

    def checked(work: float) -> None:
        if stop.is_set():
            raise StopError
        tick(work)

    with ThreadPoolExecutor(workers, "truth", initializer=torch.set_num_threads, initargs=(1,)) as executor:
        try:
            yield lambda job, _: executor.submit(_quietly, job, checked)
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _processes(workers: int | None, tick: Tick, scheduler: str) -> Iterator[Submit]:
    with cluster.client(scheduler, workers) as client, client.get_executor(pure=False) as executor:

        def submit(job: Job, work: float) -> Future[Tensor]:
            future: Future[Tensor] = executor.submit(_alone, job)
            future.add_done_callback(partial(_ticked, tick, work))
            return future

        try:
            yield submit
        except BaseException:
            executor.shutdown(wait=False)
            raise


def _alone(job: Job) -> Tensor:
    with one_thread_each():
        return _quietly(job, _nothing)


def _nothing(work: float) -> None:
    pass


def _ticked(tick: Tick, work: float, done: Future[Tensor]) -> None:
    if not done.cancelled() and done.exception() is None:
        tick(work)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """No threads inside an operation: bits then do not depend on how many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def progress(label: str, total: float, quiet: bool) -> Iterator[Tick]:
    """A bar of work done, on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(label, total=total)
        yield lambda work: bar.advance(task, work)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One run at a time in a folder; the lock goes with the process however it ends. Raises ValueError where another holds it."""
    with open(folder / ".lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # not on Windows, where the user has to take care
            pass
        except OSError as error:
            raise ValueError(f"another run is making {folder}; wait for it, or give another folder with out=") from error
        yield


def _quietly(job: Job, tick: Tick) -> Tensor:
    with torch.no_grad():
        return job(tick)
