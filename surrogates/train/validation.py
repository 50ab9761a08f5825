"""Short rollouts on trajectories that training does not see: what the one-step loss cannot tell.

Per lead: nRMSE and correlation of the ensemble mean, averaged over trajectories and fields, and where there is an ensemble the
spread-skill ratio with the means taken before the root (see `surrogates.metrics`). A member that blows up counts: its nRMSE is inf.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.data.gaps import whole_starts
from surrogates.data.mesh_features import as_trained
from surrogates.data.series import Series
from surrogates.interchange import FORCINGS, TIME, TRAJECTORY, conditions_of, declared, domain_of, from_xarray, trajectories_of
from surrogates.metrics import NRMSE, Correlation, SpreadSkill
from surrogates.noise import SeededNoise
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate


@dataclass(frozen=True)
class Trial:
    """Initial states and what became of them, in physical units: one row a start."""

    past: Float[Tensor, "B H C *X"]
    truth: Float[Tensor, "B T C *X"]
    conditions: Conditions
    trajectories: tuple[int, ...]


def trial(dataset: xr.Dataset, surrogate: Surrogate, frames: int, starts: int = 1, trajectories: int | None = None) -> Trial:
    """The first `trajectories`, from `starts` times each that are evenly spaced, as far apart as they can be with no gap after them.

    Raises ValueError where a trajectory, or what lies between its gaps, is too short for the history and the frames.
    """
    chosen = dataset.isel({TRAJECTORY: slice(trajectories)}) if TRAJECTORY in dataset.dims else dataset
    have, need = chosen.sizes[TIME], surrogate.history + frames
    if have < need:
        raise ValueError(
            f"the trajectories have {have} frames but {surrogate.history} of history and {frames} ahead are needed; ask for fewer"
        )
    free = whole_starts(chosen, need)
    if not len(free):
        raise ValueError(f"no {need} successive frames lie between the gaps of these trajectories; ask for fewer frames ahead")
    first = dict.fromkeys(int(free[round(s * (len(free) - 1) / max(1, starts - 1))]) for s in range(starts))
    parts, conditions, ids = [], [], list[int]()
    for start in first:
        part = chosen.isel({TIME: slice(start, start + need)})
        parts.append(from_xarray(part, surrogate.fields))
        conditions.append(conditions_of(as_trained(part.isel({TIME: slice(surrogate.history)}), surrogate.static)))
        ids += [t * 100_003 + start for t in trajectories_of(part)]  # a start is a trajectory of its own to the noise
    u = torch.cat(parts)
    together = Conditions(
        conditions[0].domain,
        torch.cat([c.time for c in conditions]),
        torch.cat([c.dt for c in conditions]),
        torch.cat([c.parameters for c in conditions]),
        conditions[0].names,
        None if conditions[0].static is None else torch.cat([torch.as_tensor(c.static) for c in conditions]),
        _forcing(chosen, len(first)),
    )
    return Trial(u[:, : surrogate.history], u[:, surrogate.history :], together, tuple(ids))


def _forcing(dataset: xr.Dataset, starts: int) -> Series | None:
    """The forcings that a Dataset declares, for all of its trajectories from each start."""
    names = [v for f in declared(dataset, FORCINGS) or () for v in f.variables]
    if not names:
        return None
    ids = trajectories_of(dataset)
    return Series(dataset, names, domain_of(dataset).shape).of(ids * starts)


@torch.no_grad()
def ensemble(surrogate: Surrogate, trial: Trial, frames: int, members: int, seed: int) -> Float[Tensor, "B M T C *X"]:
    """Members of every row, under noise keyed by (seed, row, member); without a refiner there is one."""
    count = members if surrogate.refiner is not None else 1
    device = surrogate.normaliser.state_mean.device
    which = torch.arange(len(trial.past)).repeat_interleave(count)
    conditions = trial.conditions.rows(which).to(device, torch.float32)
    noise = SeededNoise(seed, [trial.trajectories[i] for i in which.tolist()], list(range(count)) * len(trial.past))
    past = trial.past[which].to(device)
    frames_made = rollout(surrogate, past, frames, conditions.after, noise if surrogate.refiner is not None else None)
    made = torch.stack([u.float() for u in frames_made], 1)
    return made.reshape(-1, count, *made.shape[1:])


@dataclass(frozen=True)
class Rollouts:
    """What is rolled out for validation: so many `trajectories` and `members`, scored at `leads` (in frames).

    Leads beyond the end of the trajectories are left out.
    """

    trajectories: int = 4
    members: int = 4
    leads: tuple[int, ...] = (5, 20)

    def __post_init__(self) -> None:
        if not self.leads or min(self.trajectories, self.members, *self.leads) < 1:
            raise ValueError(f"trajectories, members and leads must be at least 1, and at least one lead: {self}")

    def scores(self, surrogate: Surrogate, truth: xr.Dataset | Sequence[xr.Dataset]) -> dict[str, float]:
        """One number a metric and lead, named as nrmse_5: means over the first trajectories, of one part after the other where there are
        several (they differ in mesh or length), of those that are long enough."""
        parts = [truth] if isinstance(truth, xr.Dataset) else truth
        left, sums = self.trajectories, dict[str, list[tuple[float, int]]]()
        for part in parts:
            count = min(left, part.sizes.get(TRAJECTORY, 1))
            found = self._of_part(surrogate, part, count) if count else {}
            left -= count if found else 0
            for name, value in found.items():
                sums.setdefault(name, []).append((value, count))
        if not sums:
            warnings.warn(
                f"no validation rollout reaches lead {min(self.leads)}: between their gaps the trajectories are too short; shorten `leads`",
                stacklevel=2,
            )
        return {name: sum(v * n for v, n in found) / sum(n for _, n in found) for name, found in sums.items()}

    def _of_part(self, surrogate: Surrogate, truth: xr.Dataset, count: int) -> dict[str, float]:
        chosen = truth.isel({TRAJECTORY: slice(count)}) if TRAJECTORY in truth.dims else truth
        within = [lead for lead in self.leads if len(whole_starts(chosen, lead + surrogate.history))]
        if not within:
            return {}
        frames = max(within)
        rows = trial(truth, surrogate, frames, 1, count)
        members = ensemble(surrogate, rows, frames, self.members, seed=0).cpu()
        curves = score_curves(members, rows, surrogate)
        return {f"{name}_{lead}": float(curve[lead - 1]) for lead in within for name, curve in curves.items()}


def score_curves(members: Float[Tensor, "B M T C *X"], rows: Trial, surrogate: Surrogate) -> dict[str, Float[Tensor, " T"]]:
    """nrmse, correlation and, of two members or more, spread_skill at every lead."""
    nrmse, correlation, ratio = NRMSE(surrogate.fields), Correlation(surrogate.fields), SpreadSkill()
    given = (members, rows.truth, rows.conditions.domain, rows.conditions)
    out = {
        "nrmse": nrmse.value(nrmse.statistics(*given))["nrmse_field"].mean((0, 2)),
        "correlation": correlation.value(correlation.statistics(*given))["correlation_field"].mean((0, 2)),
    }
    if members.shape[1] > 1:
        sums = ratio.statistics(*given)
        scale = surrogate.normaliser.state_std.flatten().double().cpu().square()  # channels in units of their own spread
        expected, error = ((sums[n] / scale).sum((0, 2)) for n in ("expected2", "error2"))
        out["spread_skill"] = (expected / error).sqrt()
    return out
