"""What a long run says of its laws and of everything else, beside the climate of the data and the classical solver."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from physics import Series, growth_misfit, mean_flow_misfit, wasserstein
from torch import Tensor

from surrogates.contracts import Step
from surrogates.domains import Box
from surrogates.forecast import simulate
from surrogates.forecast.averages import time_average
from surrogates.interchange import TIME, TRAJECTORY, conditions_of, fields_of, from_xarray
from surrogates.metrics import NRMSE, Correlation, VorticityCorrelation, log_spectral_distance, score
from surrogates.metrics.lifetimes import lifetimes

if TYPE_CHECKING:
    from long import Task


def judged(task: Task, steps: Mapping[str, Step], found: Mapping[str, Series], climate: Series, *, costs: bool) -> dict[str, Any]:
    """All that is told of a task, fit for JSON."""
    from timing import machine

    rows = {label: row(task, series, climate) for label, series in found.items()}
    skills = {label: skill(task, step) for label, step in steps.items()}
    own = row(task, climate, climate)
    result = {"task": task.entry, "machine": machine(), "climate": own, "rows": {k: rows[k] | skills[k] for k in rows}}
    return result | ({"costs": cost(task, steps)} if costs else {})


def row(task: Task, series: Series, climate: Series) -> dict[str, Any]:
    """The numbers of one run; frames after a failure count as failed, and statistics are of the members that lived to the end."""
    energy = series["energy"]
    alive = energy.isfinite()
    whole = alive.all(1)
    dt = float(task.truth.attrs["dt"])
    out: dict[str, Any] = {
        "frames": energy.shape[1] - 1,
        "members": energy.shape[0],
        "failed": int((~whole).sum()),
        "first failure": int(alive.int().sum(1).min()) - 1 if not bool(whole.all()) else None,
    }
    if not bool(whole.any()):
        return out
    kept = {k: v[whole] for k, v in series.items()}
    late = {k: v[:, min(task.entry["discard"], v.shape[1] // 4) :] for k, v in kept.items()}
    out["energy"], out["energy error"] = average(late["energy"])
    of = "kinetic energy" if "kinetic energy" in kept else "energy"
    out["energy pdf"] = wasserstein(late[of], climate[of])
    if "imbalance" in kept:
        mean, error = average(late["imbalance"])
        scale = float(late["input"].mean().abs())
        out |= {"closure": mean / scale, "closure error": error / scale, "step balance": growth_misfit(kept, dt)}
        out["mean flow"] = mean_flow_misfit(kept, float(conditions_of(task.truth).parameter("drag")[0]), dt)
        out["mean flow at the end"] = float(torch.stack([kept[f"mean flow {a}"][:, -1] for a in "xy"]).square().sum(0).mean().sqrt())
        out["divergence"] = float(kept["divergence"][:, 1:].mean())
    for name in ("mass", "momentum"):
        if name in kept:
            out[name] = float(((kept[name] - kept[name][:, :1]) / kept[name][:, :1]).abs().max())
    if "spectrum" in kept:
        out["spectrum"] = float(log_spectral_distance(late["spectrum"].mean((0, 1)), climate["spectrum"].mean((0, 1))))
    return out


def average(x: Tensor) -> tuple[float, float]:
    """The mean of (members, frames) and its standard error, with the frames that count as independent."""
    told = time_average(xr.DataArray(x.double().numpy(), dims=(TRAJECTORY, TIME)))
    return float(told["mean"]), float(told["standard_error"])


def skill(task: Task, step: Step) -> dict[str, float]:
    """Error at one and ten frames and the time to correlation .8, over the truth's scored frames."""
    truth = task.truth.load()
    fields = fields_of(truth)
    metric = VorticityCorrelation(fields) if isinstance(conditions_of(truth).domain, Box) else Correlation(fields)
    forecast = simulate(step, truth.isel({TIME: slice(step.history)}), truth.sizes[TIME] - step.history, group=task.entry["group"])
    scores = score(forecast, truth, [NRMSE(fields), metric])
    error = scores["nrmse_field"].mean([d for d in scores["nrmse_field"].dims if d != "lead_time"]).values
    name = next(v for v in lifetimes(scores) if str(v).startswith("high_") and str(v).endswith("_time"))
    return {"nrmse 1": float(error[0]), "nrmse 10": float(error[9]), "time to .8": float(lifetimes(scores)[name].mean())}


def cost(task: Task, steps: Mapping[str, Step]) -> dict[str, float]:
    """Milliseconds a frame and member of each variant, one thread, medians of rounds taken in turn."""
    from timing import race

    torch.set_num_threads(1)
    truth = task.truth
    contenders = {label: _frame(truth, step) for label, step in steps.items()}
    return {label: 1e3 * median(times) / len(truth.trajectory) for label, times in race(contenders, seconds=3.0).times.items()}


def _frame(truth: Any, step: Step) -> Any:
    initial = truth.isel({TIME: slice(step.history)})
    conditions, past = conditions_of(initial), from_xarray(initial)
    with torch.inference_mode():
        state = step.begin(past, conditions)

    def run() -> None:
        with torch.inference_mode():
            step(state, conditions)

    return run
