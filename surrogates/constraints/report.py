"""What is left of every law in a forecast, frame by frame: what a rollout with laws and one without are held beside each other by.

    left = defects(forecast, surrogate.constraint, initial)       left["DivergenceFree-velocity"]: (trajectory, [member,] time)

The budgets are those of the initial state, moved on from frame to frame as in the rollout itself; those that depend on the field need every
frame. A law that was projected onto is left
with rounding, float32's where the forecast was stored so; that says the projection works, and nothing about the forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.compose import follows, law_names, remaining
from surrogates.contracts import Conditions, Constraint
from surrogates.dates import numbered
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, conditions_of, domain_of, fields_of, from_xarray

CHUNK = 2**22
"""Values of the forecast in memory at a time."""

Surroundings = Callable[[Conditions, int], Conditions]
"""From the conditions of the initial state, and how many frames have been made, to the conditions there."""


def defects(
    forecast: xr.Dataset, law: Constraint, initial: xr.Dataset | None = None, *, surroundings: Surroundings | None = None
) -> xr.Dataset:
    """The largest |defect| of each law by name, (trajectory, [member,] time), dimensionless, float64; NaN in frames that are not finite.

    `initial` holds the state that the forecast began from, its last time; laws that remember nothing need none. Raises ValueError where
    it is missing, where its trajectories or the frames' times do not belong to the forecast, and where frames that budgets depend on were
    left out. Laws that read a source term, a boundary or parameters that change take them from `surroundings`, such as
    lambda start, n: replace(start.after(n), source_term=f); dt stays.
    """
    initial = None if initial is None else numbered(initial)
    forecast = numbered(forecast, initial)
    fields, start = fields_of(forecast), _start(forecast, initial)
    alone = MEMBER not in forecast.dims
    at = surroundings or Conditions.after
    rows = []
    for i in range(forecast.sizes[TRAJECTORY]):
        here = forecast.isel({TRAJECTORY: [i]})
        members = torch.zeros(here.sizes.get(MEMBER, 1), dtype=torch.long)
        conditions = conditions_of(here if initial is None else initial.isel({TRAJECTORY: [i]})).rows(members)
        conditions = Conditions(**{**vars(conditions), "time": torch.full_like(conditions.time, start)})
        known = None if initial is None else from_xarray(initial.isel({TRAJECTORY: [i]}), fields)[:, -1]
        rows.append(_follow(here, law, conditions, None if known is None else known.expand(len(members), *known.shape[1:]), alone, at))
    dims = (TRAJECTORY, TIME) if alone else (TRAJECTORY, MEMBER, TIME)
    values = {name: np.stack([row[name].numpy() for row in rows]) for name in rows[0]}
    coords = {k: v for k, v in forecast.coords.items() if set(v.dims) <= set(dims)}
    meta = {"units": "1", "long_name": "largest defect of the law"}
    return xr.Dataset({name: (dims, v[:, 0] if alone else v, meta) for name, v in values.items()}, coords)


def _follow(
    here: xr.Dataset, law: Constraint, conditions: Conditions, known: Tensor | None, alone: bool, at: Surroundings
) -> dict[str, Float[Tensor, "M T"]]:
    """The defects of one trajectory's members, with the budgets that come along."""
    fields, dt = fields_of(here), float(conditions.dt[0])
    counts = np.diff(here[TIME].values.astype(float), prepend=float(conditions.time[0])) / dt
    steps = np.rint(counts).astype(int)
    if (np.abs(counts - steps) > 1e-4).any() or (steps < 1).any():
        raise ValueError(f"the frames do not follow the initial state by multiples of dt = {dt:g}: {here[TIME].values[:3]}...")
    if follows(law) and (steps > 1).any():
        raise ValueError(
            f"the budget of {', '.join(law_names(law))} depends on every frame but some were not kept; keep them all (every=1)"
        )
    start, made = conditions, 0
    conditions = at(start, 0)
    reference: Tensor | None = None if known is None else law.reference(known, conditions)
    size = max(1, CHUNK // (len(conditions.time) * fields.count * domain_of(here).measure.numel()))
    found: list[dict[str, Tensor]] = []
    for first, stop in pairwise([*range(0, here.sizes[TIME], size), here.sizes[TIME]]):
        u = from_xarray(here.isel({TIME: slice(first, stop)}), fields)
        for n, frame in enumerate((u if alone else u[0]).unbind(1), start=first):
            reference = law.reference(frame, conditions) if reference is None else reference
            if known is None and reference.shape[1]:
                raise ValueError("this law has budgets, which the initial state sets; pass it as `initial`")
            for _ in range(int(steps[n])):
                reference = law.advance(reference, frame, conditions)
                made += 1
                conditions = at(start, made)
            left = remaining(law, frame, reference, conditions)
            found.append({name: d.abs().amax(1) for name, d in left.items()})
    return {name: torch.stack([f[name] for f in found], 1) for name in found[0]}


def _start(forecast: xr.Dataset, initial: xr.Dataset | None) -> float:
    """The time of the state before the first frame."""
    if initial is None:
        return float(forecast[TIME].values[0]) - float(forecast.attrs["dt"])
    one, other = (np.atleast_1d(d[TRAJECTORY].values).tolist() for d in (forecast, initial))
    if one != other:
        raise ValueError(f"the forecast has trajectories {one} but the initial state {other}; select the same")
    return float(np.atleast_1d(initial[TIME].values)[-1])
