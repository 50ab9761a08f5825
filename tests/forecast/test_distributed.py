"""Two workers make what one process makes, bit for bit, and one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from forecast.steps import Slow, Walk, initial

from surrogates import simulate
from surrogates.forecast import Keep
from surrogates.forecast.journal import STATES
from surrogates.forecast.progress import Progress

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as found:
        yield found


def run(out: Path | None, step: Any, frames: int = 14, **change: Any) -> xr.Dataset:
    keep = Keep(every=2, diagnostics=("energy", "mean", "variance"))
    return simulate(step, initial(), frames, **{"members": 3, "group": 3, "chunk": 2, "seed": 4, "keep": keep, "out": out, **change})


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    return a.equals(b) and a.attrs == b.attrs


def test_two_workers_make_what_one_process_makes(tmp_path: Path, cluster: Any) -> None:
    bar = Progress(shown=False)
    many = run(tmp_path / "f", Walk(), scheduler=cluster.scheduler_address, progress=bar)
    assert same(many, run(None, Walk())) and bar.tally.steps == 9 * 14
    assert not list((tmp_path / "f" / STATES).glob("*.pickle"))
    assert same(run(tmp_path / "f", Walk()), many), "the same run in one process finds it done"


def test_a_killed_worker_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    def kill_one() -> None:
        logs = [tmp_path / "f" / STATES / f"{g}.log" for g in range(3)]
        while not any(log.is_file() and log.read_bytes().count(b"\n") >= 3 for log in logs):
            time.sleep(0.01)
        with distributed.Client(cluster.scheduler_address) as client:
            busy = next(worker for worker, tasks in client.processing().items() if tasks)
            pid = client.run(os.getpid, workers=[busy])[busy]
        before.update({f: f.stat().st_mtime_ns for log in logs if log.is_file() for f in _chunks(tmp_path / "f", log)})
        os.kill(pid, signal.SIGKILL)

    before: dict[Path, int] = {}
    killer = threading.Thread(target=kill_one)
    killer.start()
    many = run(tmp_path / "f", Slow(), 60, scheduler=cluster.scheduler_address)
    killer.join()
    assert same(many, run(None, Slow(0.0), 60))
    assert before and before == {f: f.stat().st_mtime_ns for f in before}, "what was marked before the kill was made again"


def _chunks(out: Path, log: Path) -> list[Path]:
    import json

    return [out / name for line in log.read_text().splitlines()[:3] for name in json.loads(line)[1]]


@pytest.mark.slow
def test_a_cluster_of_its_own(tmp_path: Path) -> None:
    assert same(run(tmp_path / "f", Walk(), workers=2), run(None, Walk()))


@pytest.mark.parametrize("out", [None, "f.h5"])
def test_only_a_zarr_folder_takes_many_writers(tmp_path: Path, out: str | None) -> None:
    with pytest.raises(ValueError, match="a forecast on several workers goes to a Zarr folder"):
        run(tmp_path / out if out else None, Walk(), workers=2)


def test_a_scheduler_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.cluster.PATIENCE", "0.2s")
    with pytest.raises(OSError, match="Timed out"):
        run(tmp_path / "f", Walk(), scheduler="tcp://127.0.0.1:1")
    assert np.isnan(xr.open_zarr(tmp_path / "f", consolidated=False)["u"]).all()
