"""What `surrogates trust` does: measure on validation forecasts how long a saved surrogate can be trusted, and on test forecasts whether
that was right; keep both, and the ranges of the training split, beside the surrogate."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surrogates.constraints.compose import law_names
from surrogates.contracts import Constraint, Step
from surrogates.data import open_dataset
from surrogates.forecast.engine import GROUP, simulate
from surrogates.forecast.ranges import Ranges
from surrogates.forecast.surroundings import surroundings_of
from surrogates.forecast.trust import Trust
from surrogates.interchange import LEAD, SINCE, TIME, TRAJECTORY, fields_of, from_xarray, time_attrs_of, times_of
from surrogates.normalise import Moments
from surrogates.saved import load

MEASURED = "reliability.json"


def trust(
    surrogate: str,
    dataset: str,
    frames: int = 60,
    size: str | None = None,
    members: int | None = None,
    seed: int = 0,
    starts: int = 4,
    bins: int = 4,
    share: float = 0.5,
    level: float = 0.8,
    group: int = GROUP,
    device: str = "cpu",
) -> None:
    """Measure how long a saved surrogate's forecasts hold, and write it beside the surrogate: trust.json, ranges.json, reliability.json.

    Args:
        surrogate: the folder of a saved surrogate.
        dataset: the name of a data set that was made, or the path of a file or folder, with splits train, valid and test.
        frames: how many frames to forecast.
        size: which of the sizes that were made (default: the largest).
        members: ensemble members, whose spread then counts (default: one forecast).
        seed: of the members' noise.
        starts: forecasts from so many times of each trajectory.
        bins: bins of spread.
        share: a forecast holds while its error is below this share of climatology's.
        level: the confidence that valid_lead asks for.
        group: rows that are run together.
        device: where it runs, such as cpu or cuda.
    """
    model = load(surrogate, device)
    splits = {split: open_dataset(dataset, split=split, size=size) for split in ("train", "valid", "test")}
    climate = deviations(splits["train"])

    def forecasts(split: str) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
        made = parts(splits[split], model.history, frames, starts)
        runs = [
            simulate(model, truth.isel({TIME: slice(model.history)}), frames, members=members, seed=seed + n, group=group,
                     surroundings=surroundings_of(truth), progress=True)
            for n, truth in enumerate(made)
        ]  # fmt: skip
        return runs, made

    fitted = Trust.fit(*joined(*forecasts("valid"), model.history), climate, bins=bins, share=share, level=level)
    found = replace(fitted, laws=laws_of(model), deterministic=False, members=members or 1)
    found.write(surrogate)
    Ranges.fit(splits["train"]).write(surrogate)
    measured = found.reliability(*joined(*forecasts("test"), model.history))
    write_reliability(measured, surrogate)
    print(summary(found, measured, surrogate))


def laws_of(model: Step) -> tuple[str, ...]:
    """The names of the laws that a step holds at every frame."""
    law: Constraint | None = getattr(model, "constraint", None)
    return () if law is None else law_names(law)


def deviations(training: xr.Dataset) -> list[float]:
    """The climate's: of each channel over trajectories, times and space of the training split."""
    fields, moments = fields_of(training), Moments.none()
    for n in range(training.sizes[TRAJECTORY]):
        moments = moments + Moments.of(from_xarray(training.isel({TRAJECTORY: [n]}), fields)[0])
    return [float(v) for v in moments.std]


def parts(truth: xr.Dataset, history: int, frames: int, starts: int) -> list[xr.Dataset]:
    """Stretches of history and frames from evenly spaced starts. Raises ValueError for trajectories that are too short."""
    need, have = history + frames, truth.sizes[TIME]
    if have < need:
        raise ValueError(f"the trajectories have {have} frames but {history} of history and {frames} ahead are needed; ask for fewer")
    first = dict.fromkeys(round(s * (have - need) / max(1, starts - 1)) for s in range(starts))
    return [truth.isel({TIME: slice(n, n + need)}) for n in first]


def joined(runs: list[xr.Dataset], truths: list[xr.Dataset], history: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Forecasts from several starts as trajectories of one clock, which counts from each one's own start, and their truths."""
    ahead = [t.isel({TIME: slice(history, None)}) for t in truths]
    lead, out = times_of(runs[0]) - times_of(truths[0])[history - 1], []
    about = {"units": time_attrs_of(truths[0]).get("units", "1").partition(SINCE)[0]}
    for sets in (runs, ahead):
        renamed = []
        for n, one in enumerate(sets):
            ids = np.asarray(one[TRAJECTORY].values) * 100_003 + n
            renamed.append(one.assign_coords({TIME: (TIME, lead, about), LEAD: (TIME, lead, about), TRAJECTORY: ids}))
        together = xr.concat(renamed, dim=TRAJECTORY, data_vars="minimal", coords="minimal", compat="override", join="override")
        out.append(together.assign_attrs(sets[0].attrs))
    return out[0], out[1]


def write_reliability(measured: xr.Dataset, folder: str | os.PathLike[str]) -> Path:
    """What was measured on the test split, as JSON; null where a bin held nothing."""
    path = Path(folder) / MEASURED
    values = {str(k): v.values.tolist() for k, v in {**measured.data_vars, **measured.coords}.items()}
    path.write_text(json.dumps(_finite({**values, "cases": int(measured.attrs["cases"])}), indent=1, allow_nan=False))
    return path


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for, as the frequency in an empty bin."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(found: Trust, measured: xr.Dataset, folder: str) -> str:
    """Until when it can be trusted, and how right that was."""
    table = np.array(found.confidence)
    leads = np.array(found.leads)
    rows = [f"confidence from {found.cases} validation forecasts, that the error has stayed below {found.share:g} of climatology's:"]
    for n in sorted({round(i * (len(leads) - 1) / 7) for i in range(8)}):
        rows.append(f"  lead {leads[n]:8.3g}{'' if found.units == '1' else f' {found.units}'}: " + "  ".join(f"{v:.2f}" for v in table[n]))
    if found.edges:
        rows.append("  columns: spread below " + ", ".join(f"{e:.3g}" for e in found.edges) + ", above, of the climate's")
    parts_ = ", ".join(f"{k} {float(measured[k]):.4f}" for k in ("brier", "reliability", "resolution", "uncertainty"))
    rows.append(f"on {measured.attrs['cases']} test cases: {parts_}; skill {float(measured['brier_skill']):.3f}")
    return "\n".join([*rows, f"written to {Path(folder).resolve()}"])
