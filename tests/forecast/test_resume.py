"""A forecast on disk is the forecast in memory, bit for bit, however often it was cut on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forecast import steps
from forecast.steps import Draws, Grows, Interrupted, Rotates, Threes, Walk, initial
from torch import Tensor

import surrogates
from surrogates import simulate
from surrogates.contracts import Conditions
from surrogates.forecast import Keep, group, open_forecast
from surrogates.forecast.blowup import Limits
from surrogates.forecast.journal import STATES, Journal
from surrogates.forecast.perturbations import Gaussian
from surrogates.forecast.surroundings import PerturbedParameters
from surrogates.forecast.zarr_sink import ZarrSink


def run(out: Path | None, step: Any = None, frames: int = 11, **change: Any) -> xr.Dataset:
    return simulate(step or Walk(), initial(), frames, **{"members": 3, "group": 4, "chunk": 3, "seed": 1, "out": out, **change})


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    return all(np.array_equal(a[n].values, b[n].values, equal_nan=True) for n in a.variables) and set(a.variables) == set(b.variables)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("step", [Walk(), Rotates()])
def test_streaming_writes_what_memory_holds(tmp_path: Path, step: Any, members: int | None) -> None:
    streamed, held = run(tmp_path / "f", step, members=members), run(None, step, members=members)
    assert same(streamed, held)
    assert {n: v.attrs for n, v in streamed.variables.items()}.keys() == {n: v.attrs for n, v in held.variables.items()}.keys()
    assert streamed.attrs == held.attrs
    assert same(xr.open_zarr(tmp_path / "f", consolidated=False), held)


@pytest.mark.parametrize("calls", [1, 7, 17])
@pytest.mark.parametrize("step", [Walk, Threes, Rotates])
def test_cut_and_resumed_is_uninterrupted(tmp_path: Path, step: Any, calls: int) -> None:
    total = 3 * -(-11 // step().bundle)
    if calls < total:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "f", Interrupted(step(), calls))
        assert open_forecast(tmp_path / "f").sizes["time"] == 11
    resumed = Interrupted(step(), total)
    assert same(run(tmp_path / "f", resumed), run(None, step()))
    if 4 <= calls < total:
        assert resumed.left > 0, "what was written before the cut was made again"


def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    script = Path(steps.__file__)
    environment = {**os.environ, "PYTHONPATH": str(Path(surrogates.__file__).parents[1])}
    command = [sys.executable, str(script), str(tmp_path / "f"), "3", "11", "3", "17"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == -9, done.stderr
    assert np.isfinite(open_forecast(tmp_path / "f")["u"].values[0, :, :11]).all()
    assert same(run(tmp_path / "f", seed=0), run(None, seed=0))


def test_cut_before_anything_was_laid_out_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "begin", full)
        with pytest.raises(OSError, match="No space"):
            run(tmp_path / "f")
    assert same(run(tmp_path / "f"), run(None))


@pytest.mark.parametrize("method", ["write", "mark", "_set"])
def test_a_full_disk_leaves_a_forecast_that_opens_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    original, left = getattr(ZarrSink, method), [14 if method == "_set" else 5]

    def until_full(self: Any, *args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrSink, method, until_full)
        with pytest.raises(OSError, match="No space"):
            run(tmp_path / "f")
    half = open_forecast(tmp_path / "f")
    assert np.isfinite(half["u"].values[0]).all() and np.isnan(half["u"].values[-1, -1]).all()
    assert same(run(tmp_path / "f"), run(None))


def test_failures_survive_a_cut(tmp_path: Path) -> None:
    def grow(out: Path | None, calls: int) -> xr.Dataset:
        return simulate(Interrupted(Grows(), calls), initial(growth=[1.0, 3.0, 1.0]), 12, members=2, group=3, chunk=2, out=out)

    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path / "f", 20)
    assert same(grow(tmp_path / "f", 100), grow(None, 100))


def test_a_finished_forecast_is_not_made_again(tmp_path: Path) -> None:
    first = run(tmp_path / "f")
    assert same(run(tmp_path / "f", Interrupted(Walk(), 0)), first)
    assert not list((tmp_path / "f" / STATES).glob("*.safetensors"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 2}, "seed"),
        ({"frames": 12}, "frames"),
        ({"members": 4}, "members"),
        ({"group": 2}, "group"),
        ({"step": Rotates()}, "step"),
    ],
)
def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    run(tmp_path / "f")
    with pytest.raises(FileExistsError, match=f"holds another run: it differs in .*{what}"):
        run(tmp_path / "f", **change)


def test_another_state_dt_or_box_is_another_run(tmp_path: Path) -> None:
    simulate(Walk(), initial(), 2, out=tmp_path / "f")
    for other in (initial(dt=0.25), initial() * 2, initial(2)):
        start = other.assign_attrs(initial().attrs | {"dt": other.attrs.get("dt", 0.5)})
        start["u"].attrs["units"] = "m s-1"
        with pytest.raises(FileExistsError, match="holds another run"):
            simulate(Walk(), start, 2, out=tmp_path / "f")
    wider = initial().assign_attrs(domain=json.dumps(json.loads(initial().attrs["domain"]) | {"upper": [7.0]})).drop_vars("x")
    with pytest.raises(FileExistsError, match="holds another run"):
        simulate(Walk(), wider, 2, out=tmp_path / "f")


def test_a_folder_that_is_no_forecast_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(FileExistsError, match="no forecast of ours"):
        run(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"
    with pytest.raises(ValueError, match="not a forecast"):
        open_forecast(tmp_path)


# -- killed, damaged, never twice ----------------------------------------------------------------------------------

MEASURED = Keep(every=2, diagnostics=("energy", "spectrum", "mean", "variance", "extremes"))


@pytest.mark.parametrize("name", ["f.zarr", "f.h5"])
def test_killed_again_and_again_at_random_moments(tmp_path: Path, name: str) -> None:
    long = {"frames": 250, "keep": MEASURED, "limits": Limits(amplitude=None)}
    processes = get_context("fork")
    kills = 0
    for _ in range(4):
        child = processes.Process(target=run, args=(tmp_path / name,), kwargs=long)
        child.start()
        child.join(random.uniform(0.05, 0.6))
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
    assert kills
    assert same(run(tmp_path / name, **long), run(None, **long))


def test_sums_and_frames_that_wait_survive_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MARK", 1)  # marked between chunks
    change = {"frames": 40, "keep": Keep(every=5, diagnostics=("mean", "variance"))}
    for calls in (7, 30, 55):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "f", Interrupted(Walk(), calls), **change)
    assert same(run(tmp_path / "f", **change), run(None, **change))


def cut(out: Path, calls: int) -> dict[Path, int]:
    """A forecast that was cut after so many calls; the times at which its chunks were written."""
    with pytest.raises(KeyboardInterrupt):
        run(out, Interrupted(Walk(), calls))
    return {f: f.stat().st_mtime_ns for f in (out / "u" / "c").rglob("*") if f.is_file()}


def test_written_chunks_are_not_written_twice(tmp_path: Path) -> None:
    before = cut(tmp_path / "f", 19)
    assert len(before) > 6
    run(tmp_path / "f")
    assert before == {f: f.stat().st_mtime_ns for f in before}


@pytest.mark.parametrize("spoil", [lambda f: os.truncate(f, f.stat().st_size // 2), lambda f: f.unlink()], ids=["half", "gone"])
@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("finished", [False, True])
def test_a_chunk_that_is_cut_in_half_or_gone_is_found_and_made_again(tmp_path: Path, spoil: Any, which: int, finished: bool) -> None:
    chunks = cut(tmp_path / "f", 9)
    if finished:
        run(tmp_path / "f")
    spoil(sorted(chunks, key=lambda f: f.stat().st_mtime_ns)[which])
    with pytest.warns(UserWarning, match=r"is damaged: .* made again from frame"):
        again = run(tmp_path / "f")
    assert same(again, run(None))
    again.close()
    assert same(run(tmp_path / "f", Interrupted(Walk(), 0)), run(None))


def test_only_the_last_block_is_made_again_where_it_alone_is_damaged(tmp_path: Path) -> None:
    chunks = cut(tmp_path / "f", 10)  # frames 1-9 of the first group, in three chunks
    last = max(chunks, key=lambda f: int(f.parts[-2]))
    os.truncate(last, 1)
    with pytest.warns(UserWarning, match="made again from frame 6 on"):
        run(tmp_path / "f")


@pytest.mark.parametrize("spoil", [lambda f: os.truncate(f, 0), lambda f: f.unlink()], ids=["empty", "gone"])
def test_a_last_state_that_is_lost_falls_back_to_the_one_before(tmp_path: Path, spoil: Any) -> None:
    cut(tmp_path / "f", 10)  # 9 frames of the first group, marked after 6 and 9
    spoil(tmp_path / "f" / STATES / "0-9.safetensors")
    with pytest.warns(UserWarning, match=r"0-9.safetensors is damaged: 0 bytes of .* made again from frame 6 on"):
        again = run(tmp_path / "f")
    assert same(again, run(None))
    cut(tmp_path / "g", 10)
    for state in (tmp_path / "g" / STATES).glob("*.safetensors"):
        spoil(state)
    with pytest.warns(UserWarning, match="made again from frame 0 on"):
        assert same(run(tmp_path / "g"), run(None))


def test_half_a_line_of_the_log_counts_as_none(tmp_path: Path) -> None:
    cut(tmp_path / "f", 10)
    log = tmp_path / "f" / STATES / "0.log"
    log.write_bytes(log.read_bytes()[:-7])
    assert same(run(tmp_path / "f"), run(None))


class Jumps:
    """Stops a member whose value jumps from one frame to the next, the first of which may lie in the block before."""

    reason, together = "a jump", False

    def judge(self, last: Tensor, frames: Tensor, conditions: Conditions, trajectories: Sequence[int]) -> Tensor:
        before = torch.cat([last[:, None], frames[:, :-1]], 1)
        return (frames - before).flatten(2).abs().amax(-1) > 4


def test_a_monitor_sees_the_frame_before_the_cut(tmp_path: Path) -> None:
    change = {"monitor": Jumps(), "perturb": Gaussian(0.1), "limits": Limits(amplitude=None)}
    whole = run(None, Draws(), chunk=11, **change)
    stopped = whole["failed_step"].values
    assert (stopped >= 0).any() and (stopped < 0).any() and np.isnan(whole["u"].values[stopped >= 0][:, -1]).all()
    for calls in (4, 7, 13):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "f", Interrupted(Draws(), calls), **change)
    again = run(tmp_path / "f", Draws(), **change)
    assert np.array_equal(again["u"].values, whole["u"].values, equal_nan=True)
    assert np.array_equal(again["failed_step"].values, stopped)
    assert "a_jump" in again["failed_reason"].attrs["flag_meanings"].split()


def test_another_seed_is_another_run_without_noise_too(tmp_path: Path) -> None:
    def grow(**change: Any) -> xr.Dataset:
        drawn = PerturbedParameters({"growth": 0.1})
        start = initial(1, growth=[1.0])
        return simulate(Grows(), start, 3, members=2, out=tmp_path / "f", **{"surroundings": drawn, "deterministic": True, **change})

    grow(seed=0)
    with pytest.raises(FileExistsError, match="differs in seed;"):
        grow(seed=1)
    with pytest.raises(FileExistsError, match="differs in deterministic;"):
        grow(seed=0, deterministic=False)
