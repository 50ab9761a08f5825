"""suite -> run -> scores: every contender is rolled out by `simulate`, scored by `score` and timed by `costs`; then the report.

<out>/bench.json              what was compared: data, contenders, and where they come from
<out>/contenders/<name>.nc    scores of one contender, written when it has finished; a second run skips it
<out>/pictures/<name>.nc      its fields at a few leads; pictures/truth.nc those of the truth
<out>/costs.json              seconds a frame, with every round
<out>/scores.nc               all of the scores, one dim `contender`
<out>/forecast.zarr           the forecast of the first ensemble
<out>/table.md, report.html   the same for people
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surrogates.bench.contenders import CLIMATOLOGY, ENSEMBLE, Contender, contenders, reference
from surrogates.bench.cost import Cost, costs
from surrogates.bench.pictures import picture
from surrogates.bench.suite import Suite
from surrogates.contracts import Step
from surrogates.dates import numbered
from surrogates.interchange import LEAD, SINCE, TIME, time_attrs_of, trajectories_of
from surrogates.metrics import score

BENCH, COSTS, SCORES, FORECAST = "bench.json", "costs.json", "scores.nc", "forecast.zarr"
CONTENDER = "contender"


def run_suite(
    suite: Suite,
    surrogates: Mapping[str, Step],
    truth: xr.Dataset,
    training: xr.Dataset,
    out: str | os.PathLike[str],
    about: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Compare and write everything but the report; returns the scores. `about` (JSON) is kept for the report.

    Raises ValueError where contenders and data do not fit, and FileExistsError where `out` holds another run.
    """
    folder = Path(out)
    _check_frames(suite, truth)
    those = contenders(suite, surrogates, truth, training)
    _claim(folder, suite, those, truth, about or {})
    _save(picture(_leads_from(truth, suite)).to_dataset(), folder / "pictures" / "truth.nc")
    first = reference(those)
    level = None
    for contender in sorted(those, key=lambda c: c.kind != CLIMATOLOGY):
        one = _finished(folder, contender) or _measure(folder, contender, suite, truth, level, keep=contender is first)
        level = one["nrmse_field"] if contender.kind == CLIMATOLOGY else level
    scores = combine(folder, those, _timed(folder, those, truth, suite))
    _save(scores.assign_attrs(reference=first.name), folder / SCORES)
    return scores.assign_attrs(reference=first.name)


def combine(folder: Path, those: list[Contender], cost: Mapping[str, Cost]) -> xr.Dataset:
    """One Dataset over contenders: scores, kinds, labels, members, evaluations and costs (ms a frame and trajectory)."""
    parts = [load(folder / "contenders" / f"{c.name}.nc") for c in those]
    attrs = {k: v for k, v in parts[0].attrs.items() if k not in ("members", "fingerprint", "metrics", "wall")}
    whole = xr.concat(
        [p.drop_attrs() for p in parts], CONTENDER, coords="minimal", compat="override", combine_attrs="override", join="outer"
    )
    for name in [n for n in whole if "censored" in str(n)]:  # climatology has no time to a part of itself
        whole[name] = whole[name].fillna(False).astype(bool)
    for part in parts:
        for name, variable in part.variables.items():
            whole[name].attrs.update(variable.attrs)
    each = {
        "kind": [c.kind for c in those],
        "label": [c.label for c in those],
        "members": [c.members or 1 for c in those],
        "resolution": [c.resolution for c in those],
        "evaluations": [c.evaluations for c in those],
        "cost_single": [1e3 * cost[c.name].single for c in those],
        "cost_batch": [1e3 * cost[c.name].batch for c in those],
        "cost": [1e3 * cost[c.name].forecast for c in those],
        "cost_spread": [max(cost[c.name].rounds) / min(cost[c.name].rounds) for c in those],
        "wall": [float(p.attrs["wall"]) for p in parts],
    }
    meaning = {
        "evaluations": "of the network or of the solver's nonlinear term, a frame and member",
        "cost_single": "ms a frame, one member at batch 1",
        "cost_batch": "ms a frame and trajectory, one member, all trajectories in one batch",
        "cost": "ms a frame and trajectory, all members, as run",
        "cost_spread": "slowest over fastest round",
        "wall": "s to forecast and score all trajectories",
    }
    for name, values in each.items():
        whole[name] = (CONTENDER, values, {"long_name": meaning.get(name, name)})
    return whole.assign_coords({CONTENDER: [c.name for c in those]}).assign_attrs(attrs)


def _measure(folder: Path, c: Contender, suite: Suite, truth: xr.Dataset, level: xr.DataArray | None, keep: bool) -> xr.Dataset:
    start = time.perf_counter()
    forecast = c.forecast(truth, suite, folder / FORECAST if keep and c.kind == ENSEMBLE else None)
    scores = score(forecast, truth, climatology=level)
    _save(picture(forecast).to_dataset(), folder / "pictures" / f"{c.name}.nc")
    scores.attrs.update(fingerprint=json.dumps(c.identity()), wall=time.perf_counter() - start)
    _save(scores, folder / "contenders" / f"{c.name}.nc")
    print(f"  {c.label}: {scores.attrs['wall']:.1f} s", flush=True)
    return scores


def _finished(folder: Path, c: Contender) -> xr.Dataset | None:
    file = folder / "contenders" / f"{c.name}.nc"
    return load(file) if file.is_file() and (folder / "pictures" / f"{c.name}.nc").is_file() else None


def _claim(folder: Path, suite: Suite, those: list[Contender], truth: xr.Dataset, about: Mapping[str, Any]) -> None:
    """Make the folder ours, or see that it was. Raises FileExistsError for another run; contenders may be added to one."""
    data = {k: truth.attrs.get(k) for k in ("dataset", "split", "checksum", "dt")}
    common = {**data, "trajectories": trajectories_of(truth), "frames": suite.frames, "start": suite.start, "group": suite.group}
    mine = json.loads(json.dumps({"data": common, "contenders": {c.name: c.identity() for c in those}}))
    file = folder / BENCH
    if file.is_file():
        known = json.loads(file.read_text())
        differing = [f"data.{k}" for k in mine["data"] if known["data"].get(k) != mine["data"][k]]
        for name, identity in mine["contenders"].items():
            old = known["contenders"].get(name, identity)
            differing += [f"{name}.{k}" for k in identity if old.get(k) != identity[k]]
        if differing:
            raise FileExistsError(
                f"{folder} holds another run: it differs in {', '.join(differing)}; choose another output folder or remove it"
            )
        mine["contenders"] = {**known["contenders"], **mine["contenders"]}
    elif folder.is_file() or any((folder / f).exists() for f in (SCORES, "contenders", FORECAST)):
        raise FileExistsError(f"{folder} exists and holds no benchmark of ours; choose another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, json.dumps({**mine, "suite": asdict(suite), "about": dict(about)}, indent=1))


def _timed(folder: Path, those: list[Contender], truth: xr.Dataset, suite: Suite) -> dict[str, Cost]:
    """Costs, measured once for a set of contenders: they are comparable only within one run."""
    file, timing = folder / COSTS, asdict(suite.timing)
    stored = json.loads(file.read_text()) if file.is_file() else {}
    if stored.get("timing") != timing or set(stored.get("costs", {})) != {c.name for c in those}:
        stored = {"timing": timing, "costs": {name: asdict(cost) for name, cost in costs(those, truth, suite).items()}}
        _write(file, json.dumps(stored, indent=1))
    return {name: Cost(**{**entry, "rounds": tuple(entry["rounds"])}) for name, entry in stored["costs"].items()}


def _leads_from(truth: xr.Dataset, suite: Suite) -> xr.Dataset:
    """The truth of the frames that are forecast, leads counted from the initial state."""
    truth = numbered(truth)
    frames = truth.isel({TIME: slice(suite.start + 1, suite.start + 1 + suite.frames)})
    start, passing = float(truth[TIME].values[suite.start]), time_attrs_of(truth).get("units", "1").partition(SINCE)[0]
    return frames.assign_coords({LEAD: (TIME, frames[TIME].values - start, {"units": passing})})


def _check_frames(suite: Suite, truth: xr.Dataset) -> None:
    have = truth.sizes[TIME] - 1 - suite.start
    if suite.frames > have:
        raise ValueError(
            f"the suite forecasts {suite.frames} frames from frame {suite.start} but the trajectories hold {max(have, 0)} after it"
        )


def _save(dataset: xr.Dataset, path: Path) -> None:
    """NetCDF 3 by scipy, which needs no further package; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    encoding = {n: {"dtype": np.int32} for n, v in dataset.variables.items() if v.dtype == np.int64}
    dataset.to_netcdf(part, engine="scipy", format="NETCDF3_64BIT", encoding=encoding)
    os.replace(part, path)


def load(path: Path) -> xr.Dataset:
    """What was stored, times as numbers."""
    return xr.load_dataset(path, engine="scipy", decode_times=False, decode_timedelta=False)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
