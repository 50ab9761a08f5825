"""What a frame costs: wall time of the bare rollout on one clock, contenders in turn, medians over rounds.

A contender is timed at batch 1, at the batch of the test set (one member a trajectory) and, an ensemble, at the group of rows in which
it is run; its cost for one trajectory is that of a row times its members. Noise, constraints and solver set-up after the first call
count; reading, scoring and writing do not. Rounds are interleaved so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
import xarray as xr
from torch import nn

from surrogates.bench.contenders import Contender
from surrogates.bench.suite import Suite
from surrogates.contracts import Conditions
from surrogates.data.mesh_features import as_trained
from surrogates.forecast.prepare import static_of_step
from surrogates.interchange import TIME, conditions_of, from_xarray, trajectories_of
from surrogates.noise import SeededNoise
from surrogates.rollout import rollout


@dataclass(frozen=True)
class Cost:
    """Seconds a frame and trajectory: at batch 1, at batch B, and of the whole forecast (all members, as run). `rounds` of the last."""

    single: float
    batch: float
    forecast: float
    rounds: tuple[float, ...]


def costs(contenders: Sequence[Contender], truth: xr.Dataset, suite: Suite) -> dict[str, Cost]:
    """The cost of each contender, by name."""
    races = {c.name: _variants(c, truth, suite) for c in contenders}
    seconds: dict[str, dict[int, list[float]]] = {name: {rows: [] for rows in v} for name, v in races.items()}
    for variants in races.values():
        for run in variants.values():
            run.frames(1)
    for _ in range(suite.timing.repeats):
        for name, variants in races.items():
            for rows, run in variants.items():
                seconds[name][rows].append(run.frames(suite.timing.frames) / (rows * suite.timing.frames))
    batch = len(trajectories_of(truth))
    out = {}
    for c in contenders:
        mine, members = seconds[c.name], c.members or 1
        rows = min(suite.group, batch * members)
        rounds = tuple(members * s for s in mine[rows if c.members else batch])
        out[c.name] = Cost(median(mine[1]), median(mine[batch]), median(rounds), rounds)
    return out


@dataclass(frozen=True)
class Run:
    """A contender on a fixed batch of rows."""

    contender: Contender
    past: torch.Tensor
    conditions: Conditions
    noise: SeededNoise | None

    def frames(self, count: int) -> float:
        """Seconds that `count` frames take."""
        with torch.inference_mode():
            start = time.perf_counter()
            for _ in rollout(self.contender.step, self.past, count, self.conditions.after, self.noise):
                pass
            if self.past.device.type == "cuda":
                torch.cuda.synchronize(self.past.device)
            return time.perf_counter() - start


def _variants(contender: Contender, truth: xr.Dataset, suite: Suite) -> dict[int, Run]:
    step, ids = contender.step, trajectories_of(truth)
    device = next((p.device for p in step.parameters()), torch.device("cpu")) if isinstance(step, nn.Module) else torch.device("cpu")
    initial = as_trained(truth.isel({TIME: slice(suite.start + 1 - step.history, suite.start + 1)}), static_of_step(step))
    past, conditions = from_xarray(initial, step.inputs), conditions_of(initial)
    sizes = {1, len(ids)}
    if contender.members:
        sizes.add(min(suite.group, len(ids) * contender.members))
    out = {}
    for rows in sorted(sizes):
        which = torch.arange(rows) % len(ids)
        noise = SeededNoise(suite.seeds[0], [ids[i] for i in which.tolist()], list(range(rows))) if contender.members else None
        out[rows] = Run(contender, past[which].to(device), conditions.rows(which).to(device), noise)
    return out
