"""Work on a cluster: an address has the workers that it has, an error is raised once, a worker that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates import cluster
from surrogates.data.truth import Tick
from surrogates.data.workers import pool

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as found:
        yield found.scheduler_address


def wrong(calls: Path, tick: Tick) -> Tensor:
    with calls.open("a") as file:
        file.write("called\n")
    raise ValueError("the truth solver blew up")


def killed_once(mark: Path, tick: Tick) -> Tensor:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.ones(1)


def done(workers: int | None, scheduler: str, job: Any) -> Tensor:
    with pool(workers, lambda work: None, scheduler) as submit:
        future: Future[Tensor] = submit(job, 1.0)
        return future.result(timeout=60)


def test_an_address_is_not_asked_for_as_many_workers_as_there_are_cores_here(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.cluster.PATIENCE", "2s")
    monkeypatch.setattr("surrogates.data.workers.cores", lambda: 64)

    assert torch.equal(done(None, address, lambda tick: torch.ones(1)), torch.ones(1))


def test_workers_that_do_not_come_are_an_error_that_says_how_many_did(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.cluster.PATIENCE", "0.3s")
    with pytest.raises(OSError, match=r"has 2 of 3 workers after 0.3s; start more \(dask worker tcp://"), cluster.client(address, 3):
        pass


def test_an_error_is_raised_once(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="blew up"):
        done(None, address, partial(wrong, tmp_path / "calls"))
    assert (tmp_path / "calls").read_text() == "called\n"


def test_the_work_of_a_killed_worker_is_done_again(address: str, tmp_path: Path) -> None:
    assert torch.equal(done(1, address, partial(killed_once, tmp_path / "mark")), torch.ones(1))
