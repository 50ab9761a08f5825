"""Contenders: everything that a suite compares, each a `Step` with the ensemble size, seed and evaluations it is run with.

A surrogate enters twice: as the ensemble that its refiner draws, and as the deterministic guess that the refiner starts from (no
noise), so that the table shows what the refiner adds to skill and to cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates import pde
from surrogates.bench.suite import Suite
from surrogates.contracts import Step
from surrogates.data.truth.work import STAGES
from surrogates.fields import Fields
from surrogates.forecast import simulate
from surrogates.forecast.surroundings import surroundings_of
from surrogates.identity import identity
from surrogates.interchange import TIME, TRAJECTORY, fields_of, from_xarray, trajectories_of
from surrogates.surrogate import Surrogate

ENSEMBLE, GUESS, PERSISTENCE, CLIMATOLOGY, SOLVER = "ensemble", "guess", "persistence", "climatology", "solver"
KINDS = (ENSEMBLE, GUESS, SOLVER, PERSISTENCE, CLIMATOLOGY)


@dataclass(frozen=True)
class Contender:
    """`members` None: one deterministic forecast. `evaluations`: of the network, or of the solver's nonlinear term, a frame and member."""

    name: str
    label: str
    kind: str
    step: Step
    members: int | None = None
    seed: int = 0
    evaluations: float = 0.0
    resolution: int = 0

    def forecast(self, truth: xr.Dataset, suite: Suite, out: Path | None = None) -> xr.Dataset:
        """Its forecast of every trajectory, from the frame where the suite starts."""
        past = truth.isel({TIME: slice(max(0, suite.start + 1 - self.step.history), suite.start + 1)})
        return simulate(
            self.step,
            past,
            suite.frames,
            members=self.members,
            seed=self.seed,
            group=suite.group,
            deterministic=self.members is None,
            surroundings=surroundings_of(truth),
            out=out,
            progress=True,
        )

    def identity(self) -> dict[str, Any]:
        """What makes it the same contender: how it is made, its weights, its draws."""
        return {**identity(self.step), "members": self.members, "seed": self.seed}


def contenders(suite: Suite, surrogates: Mapping[str, Step], truth: xr.Dataset, training: xr.Dataset) -> list[Contender]:
    """All of them, surrogates first. Raises ValueError where a surrogate predicts other fields than the truth holds."""
    fields = fields_of(truth)
    out: list[Contender] = []
    for name, step in surrogates.items():
        if step.outputs.channels != fields.channels:
            raise ValueError(f"surrogate {name!r} predicts {step.outputs.channels} but {suite.dataset} holds {fields.channels}")
        out += _of_surrogate(suite, name, step, alone=len(surrogates) == 1)
    out += [_of_solver(suite, n, max_dt, float(truth.attrs["dt"])) for n, max_dt in suite.solver.runs]
    for kind in suite.baselines:
        step = pde.Persistence(fields) if kind == PERSISTENCE else pde.Climatology(fields, climatology(training, fields))
        out.append(Contender(kind, kind, kind, step))
    return out


def reference(all_of_them: list[Contender]) -> Contender:
    """Whom the others are compared with: the first ensemble, or where there is none the first of all."""
    return next((c for c in all_of_them if c.kind == ENSEMBLE), all_of_them[0])


def climatology(training: xr.Dataset, fields: Fields) -> Float[Tensor, " C *X"]:
    """The mean field of the training split over trajectories and times, float64 sums. Raises ValueError for another split or NaN."""
    split = training.attrs.get("split", "train")
    if split != "train":
        raise ValueError(f"climatology comes from the split 'train' only, not from {split!r}")
    count = training.sizes[TRAJECTORY]
    means = [from_xarray(training.isel({TRAJECTORY: [i]}), fields, torch.float64)[0].mean(0) for i in range(count)]
    mean = torch.stack(means).mean(0)
    if not mean.isfinite().all():
        bad = [trajectory for trajectory, m in zip(trajectories_of(training), means, strict=True) if not m.isfinite().all()]
        raise ValueError(f"the training split holds values that are not finite, in trajectories {bad}; run `surrogates data check`")
    return mean


def _of_surrogate(suite: Suite, name: str, step: Step, alone: bool) -> list[Contender]:
    """A surrogate, or another trained Step, with its members; and what it guesses without noise, where it can."""
    label = "surrogate" if alone else name
    if not getattr(step, "generative", False):
        return [Contender(name, label, GUESS, step, evaluations=1 / step.bundle)]
    guess = step.operator if isinstance(step, Surrogate) else None
    evaluations = int(getattr(step, "evaluations", 1)) / step.bundle
    out = []
    for seed in suite.seeds:
        one = len(suite.seeds) == 1
        title = f"{label} ensemble" + ("" if one else f", seed {seed}")
        out.append(Contender(name if one else f"{name}-seed{seed}", title, ENSEMBLE, step, suite.members, seed, evaluations))
    if guess is not None:
        out.append(Contender(f"{name}-guess", f"{label} guess", GUESS, step, evaluations=1 / step.bundle))
    return out


def _of_solver(suite: Suite, resolution: int, max_dt: float, dt: float) -> Contender:
    solver = suite.solver
    step = getattr(pde, solver.equation)(resolution, max_dt=max_dt, scheme=getattr(pde, solver.scheme), dtype=solver.dtype)
    evaluations = float(ceil(dt / max_dt * (1 - 1e-12)) * STAGES[solver.scheme])
    power = {1: "", 2: "²", 3: "³"}[step.dim]
    return Contender(f"solver-{resolution}", f"solver {resolution}{power}", SOLVER, step, evaluations=evaluations, resolution=resolution)
