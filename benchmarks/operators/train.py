"""One run: a network trained on one-step windows of a task with one learning rate and one seed, then rolled out and scored.

Every network gets the same optimiser (Adam, linear warm-up, cosine to zero, gradients clipped at norm 1), the same number of steps and
the same windows in the same order; it predicts the normalised increment to the next frame (`Tendency`). Nothing else is tuned.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
import xarray as xr
from tasks import Case, Task, task_of
from torch import Tensor, nn

from surrogates.contracts import Step
from surrogates.fields import Fields
from surrogates.interchange import LEAD, TIME, TRAJECTORY
from surrogates.metrics import NRMSE, Correlation, VorticityCorrelation, time_below
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate
from surrogates.target import Tendency
from surrogates.train.optimiser import Optimiser
from surrogates.train.part import part

HIGH, WORST = 0.8, 100  # the correlation that counts as high; leads of the summary, as in APEBench


@dataclass(frozen=True)
class Run:
    """What decides a run's result, and its name. `network` is a class of `surrogates.operators` with its hyperparameters."""

    task: str
    label: str
    data: dict[str, Any]
    network: dict[str, Any]
    lr: float
    seed: int
    steps: int
    split: str = "test"

    @property
    def name(self) -> str:
        return f"{self.task}/{self.label.replace(' ', '-')}/lr{self.lr:g}-seed{self.seed}-steps{self.steps}"


def build(task: Task, network: dict[str, Any], seed: int) -> Surrogate:
    """An untrained surrogate around a network, its weights decided by the seed. Raises ValueError naming what does not fit."""
    bundle = int(network.get("frames", 1))
    make = part(network, "network", "surrogates.operators", given=3)
    c = task.fields.count
    torch.manual_seed(seed)
    operator: nn.Module = make(c, bundle * c, len(task.parameters))
    surrogate = Surrogate(
        task.fields, task.domain, task.dt, operator=operator, target=Tendency(), bundle=bundle, parameters=task.parameters
    )
    surrogate.normaliser = task.normaliser()
    if task.parameters:
        told = task.conditioned()
        surrogate.parameter_mean.copy_(told.mean(0))
        surrogate.parameter_std.copy_(told.std(0))
    return surrogate


def train(
    task: Task,
    surrogate: Surrogate,
    lr: float,
    seed: int,
    steps: int,
    device: str = "cpu",
) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps."""
    surrogate.to(device).train()
    rates = Optimiser(lr=lr, warmup=steps // 5, floor=0.0, weight_decay=0.0, ema=0.0)
    optimiser = rates.build(surrogate.parameters())
    total = torch.zeros((), device=device)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rates.rate(step, steps)
        past, future, conditions = task.training(seed, step, surrogate.bundle)
        loss = surrogate.loss(past.to(device), future.to(device), conditions.to(device), noise=silent).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(surrogate.parameters(), rates.clip)
        optimiser.step()
        if step >= steps - max(1, steps // 10):
            total += loss.detach()
    return float(total) / max(1, steps // 10)


def silent(like: Tensor, *, draw: int) -> Tensor:
    raise AssertionError("a network without a refiner asks for no noise")


@torch.no_grad()
def score(task: Task, step: Step, split: str, device: str = "cpu") -> dict[str, Any]:
    """Curves over leads and what summarises them, for each case of a split; errors are means over trajectories, inf where one failed."""
    if isinstance(step, nn.Module):
        step.eval()
    return {f"{len(c.truth)} of {c.conditions.domain.shape}": _score(task, step, c, device) for c in task.cases(split)}


def _score(task: Task, step: Step, case: Case, device: str) -> dict[str, Any]:
    past, conditions = case.past.to(device), case.conditions.to(device)
    frames = case.truth.shape[1]
    began = time.perf_counter()
    forecast = torch.stack([u.cpu() for u in rollout(step, past, frames, conditions.after)], 1)
    seconds = time.perf_counter() - began
    limit = 1e3 * float(case.truth.abs().max())
    bad = ~(forecast.flatten(2).abs().amax(2) < limit)  # NaN too
    failed = bad.any(1)
    forecast = forecast.nan_to_num(0.0, 0.0, 0.0).clamp(-limit, limit)
    names, fields = ("nrmse_field", curve_of(task.fields)), task.fields
    metrics = (NRMSE(fields), Correlation(fields) if names[1] == "correlation_field" else VorticityCorrelation(fields))
    values = {}
    for metric, name in zip(metrics, names, strict=True):
        found = metric.value(metric.statistics(forecast[:, None], case.truth, case.conditions.domain, case.conditions))[name]
        values[name] = found.reshape(len(forecast), frames)
    past_failure = bad.cummax(1).values
    error = values["nrmse_field"].masked_fill(past_failure, math.inf)
    correlation = values[names[1]].masked_fill(past_failure, 0.0)
    mean = error.mean(0)
    return {
        "nrmse": mean.tolist(),
        "correlation": correlation.mean(0).tolist(),
        "summary": float(mean[:WORST].log().mean().exp()),
        "time": high_time(correlation, task.dt),
        "failed": int(failed.sum()),
        "rows": len(forecast),
        "rollout seconds": seconds,
    }


def curve_of(fields: Fields) -> str:
    """Vorticity where the field is a vector, as turbulence is judged; the field itself otherwise."""
    return "correlation_vorticity" if fields.count > 1 else "correlation_field"


def high_time(correlation: Tensor, dt: float) -> float:
    """Mean over trajectories of the time of the first crossing of .8; the last lead where there is none."""
    leads = dt * (1 + torch.arange(correlation.shape[1], dtype=torch.float64)).numpy()
    curve = xr.DataArray(correlation.numpy(), dims=(TRAJECTORY, TIME), coords={LEAD: (TIME, leads)}).swap_dims({TIME: LEAD})
    return float(time_below(curve, HIGH)["time"].mean())


def execute(run: Run, device: str = "cpu") -> dict[str, Any]:
    """All of a run; what is stored of it."""
    task = task_of(run.data)
    surrogate = build(task, run.network, run.seed)
    began = time.perf_counter()
    loss = train(task, surrogate, run.lr, run.seed, run.steps, device)
    return {
        "run": asdict(run),
        "parameters": sum(p.numel() for p in surrogate.parameters()),
        "loss": loss,
        "train seconds": time.perf_counter() - began,
        "scores": score(task, surrogate, run.split, device),
    }
