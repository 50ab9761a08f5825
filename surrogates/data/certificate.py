"""The solver certificate: for how long the truth of a data set is the truth, and how fast it forgets.

From the first frames of some test trajectories the solver runs again with half the time step, and with that and twice the points
(at the same step a finer grid may be unstable). t* is the last lead at which both still correlate with the stored frames at .999 or
better, in every trajectory and every field: pointwise scores stop there, beyond it only statistics count. Correlation is over space and
components, each centred; fields that are the same everywhere in both runs (gas at one pressure, B before it is there) have none, and
count as correlated where they differ by no more of their size than two patterns whose correlation is .999: sqrt(2 (1 - .999)).

The leading Lyapunov exponent (`surrogates.pde.lyapunov`) comes from the burn-in's grid in float64, the turnover time from the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates import pde
from surrogates.data import truth
from surrogates.data.recipe import Recipe
from surrogates.data.sections import Solver
from surrogates.fields import Fields

THRESHOLD = 0.999
EXPONENT = "exponent"
FLAT = 1e-6  # of its size: what rounding to float32 leaves of the pattern of a field that is the same everywhere
SHARE = 0.25  # of the Lyapunov run, discarded while the perturbation turns into the fastest direction


def subjects(recipe: Recipe) -> tuple[list[int], int]:
    """The first group of the test split (else of the last one there is), and how many of its rows are examined."""
    split = "test" if "test" in recipe.splits else list(recipe.splits)[-1]
    ids = recipe.groups(split)[0]
    return ids, min(len(ids), recipe.certificate.trajectories)


def jobs(recipe: Recipe, device: str = "cpu") -> dict[str, tuple[Callable[[truth.Tick], Tensor], float]]:
    """What has to be computed, by name: functions of a tick, and how much work each is."""
    ids, rows = subjects(recipe)
    step, start = recipe.frames.step, truth.work_of_start(recipe, len(ids))
    time = (count_of(recipe) - 1) * step
    out: dict[str, tuple[Callable[[truth.Tick], Tensor], float]] = {}
    for name, settings in finer(recipe).items():
        out[name] = (partial(_again, recipe, name, device), start + truth.work(settings, time, step, rows))
    if recipe.certificate.lyapunov:
        work = 2 * truth.work(recipe.coarse, recipe.certificate.lyapunov, step, rows)
        out[EXPONENT] = (partial(_exponent, recipe, device), start + work)
    return out


def certificate(recipe: Recipe, stored: Float[Tensor, "B T C *X"], results: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the file keeps. `stored` are the frames of the examined trajectories, `results` those of `jobs`."""
    ids, rows = subjects(recipe)
    step, count = recipe.frames.step, count_of(recipe)
    fields = truth.fields_of(recipe)
    leads = {name: lead(by_field(stored[:, :count], results[name], fields), step) for name in finer(recipe)}
    out: dict[str, Any] = {
        "scored_time": min(leads.values()),
        **turnover(recipe, stored),
        **{f"{name}_time": value for name, value in leads.items()},
        "checked_time": (count - 1) * step,
        "trajectories": ids[:rows],
    }
    if EXPONENT in results:
        exponent = float(results[EXPONENT].mean())
        out["lyapunov_exponents"] = results[EXPONENT].tolist()
        if exponent > 0:
            out["lyapunov_time"] = 1 / exponent
    return out


def turnover(recipe: Recipe, stored: Float[Tensor, "B T C *X"]) -> dict[str, float]:
    """The turnover time of the frames, of an equation that has one."""
    time_of = getattr(truth.solver_of(recipe, recipe.solver), "turnover_time", None)
    return (
        {} if time_of is None else {"turnover_time": float(torch.stack([time_of(u, recipe.box) for u in stored.double().unbind(1)]).mean())}
    )


def by_field(a: Float[Tensor, "B T C *X"], b: Float[Tensor, "B T C *X"], fields: Fields) -> Float[Tensor, "B T"]:
    """The lowest correlation of any field: units differ from field to field, and the largest would speak for all."""
    return torch.stack([correlation(a[:, :, fields.slice(f.name)], b[:, :, fields.slice(f.name)]) for f in fields]).amin(0)


def correlation(a: Float[Tensor, "B T C *X"], b: Float[Tensor, "B T C *X"]) -> Float[Tensor, "B T"]:
    """Over space and channels, each channel centred; of fields without a pattern 1 or 0, as they agree or not."""
    whole = [u.double().flatten(3) for u in (a, b)]
    one, other = ((u - u.mean(-1, keepdim=True)).flatten(2) for u in whole)
    size, apart = (u.flatten(2).norm(dim=-1) for u in (whole[0], whole[1] - whole[0]))
    flat = torch.maximum(one.norm(dim=-1), other.norm(dim=-1)) <= FLAT * size
    agree = apart <= (2 * (1 - THRESHOLD)) ** 0.5 * size
    return torch.where(flat, agree.double(), (one * other).sum(-1) / (one.norm(dim=-1) * other.norm(dim=-1)).clamp_min(1e-300))


def lead(correlations: Float[Tensor, "B T"], step: float) -> float:
    """The time of the last frame before any trajectory falls below the threshold; 0 where the first does."""
    held = (correlations >= THRESHOLD).all(0)
    return step * max(0, int(held.logical_not().nonzero()[0, 0]) - 1 if not bool(held.all()) else len(held) - 1)


def finer(recipe: Recipe) -> dict[str, Solver]:
    """The settings that the certificate compares with: half the time step; twice the points, at the same Courant number."""
    half = replace(recipe.solver, dt=recipe.solver.dt / 2)
    return {"half_dt": half, "double_n": replace(half, resolution=tuple(2 * n for n in half.resolution))}


def count_of(recipe: Recipe) -> int:
    return round(recipe.certificate.time / recipe.frames.step) + 1


def _again(recipe: Recipe, name: str, device: str, tick: truth.Tick) -> Float[Tensor, "B T C *X"]:
    ids, rows = subjects(recipe)
    u = truth.start(recipe, ids, tick, device)[:rows]  # the whole group, so that its bits are those of the stored first frame
    return torch.stack([v.cpu() for v in truth.frames(recipe, ids[:rows], u, count_of(recipe), finer(recipe)[name], tick)], 1)


def _exponent(recipe: Recipe, device: str, tick: truth.Tick) -> Float[Tensor, " B"]:
    ids, rows = subjects(recipe)
    u = truth.start(recipe, ids, tick, device)[:rows].double()
    settings, step = replace(recipe.coarse, dtype="float64"), recipe.frames.step
    box, solver = recipe.domain.solver(settings.resolution), truth.solver_of(recipe, settings)
    past = solver.resample(u, recipe.domain.solver(recipe.solver.resolution), box)[:, None]
    at = truth.conditions(recipe, ids[:rows], box, step, past)
    total = round(recipe.certificate.lyapunov / step)
    discard = int(SHARE * total)
    per_frame = 2 * truth.work(settings, step, step, rows)

    def ticking(frame: int) -> Any:
        tick(per_frame)
        return at

    return pde.lyapunov_exponent(solver, past, total - discard, ticking, discard=discard, seed=recipe.seed)
