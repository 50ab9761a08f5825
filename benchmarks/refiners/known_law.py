"""A generative forecast against the law it should have: the truth is stochastic, and the data set holds true members of that law.

The part `members` has many true members of each of S initial states. The first half of them is what forecasts are held against, the
second half a contender like any other, which shows what a perfect forecast would score: the floor as it is measured, beside the floor
that the metric expects. Every contender draws as many members as that half has (a deterministic one repeats itself, so that it is judged
at the same number of pairs). All numbers are ratios of means over the S states,

    energy distance over floor     mean of D with all pairs / mean of (1/M + 1/N) E||Y - Y'||          1 for a perfect forecast
    relative distance              mean of the unbiased D / mean of E||Y - Y'||                        0 for a perfect forecast
    variance, its spectrum         of the members about their mean, over that of the true members (shells of more than 1e-6 of it)

with D = 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||, as `surrogates.metrics.EnergyDistance` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from judge import SEED

from surrogates.contracts import Step
from surrogates.data import open_dataset
from surrogates.fields import Fields
from surrogates.forecast import simulate
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, fields_of
from surrogates.metrics import log_spectral_distance
from surrogates.metrics.energy_distance import EnergyDistance
from surrogates.metrics.samples import score_members
from surrogates.metrics.variance_spectrum import VarianceSpectrum

MEMBERS = "members"  # the part of a data set that holds them
LEAST = 1e-6  # share of the true variance that a shell holds to be counted


@dataclass(frozen=True)
class Law:
    """`states` initial states, `members` of a forecast and of each half of the true ones, at these `leads` (frames)."""

    states: int
    members: int
    leads: tuple[int, ...]
    group: int = 512


@lru_cache(maxsize=2)
def truth(dataset: str, size: str, law: Law) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """The initial states and the two halves of the true members at the leads. Raises ValueError where there are too few."""
    data = open_dataset(dataset, MEMBERS, size=size)
    have, wanted = (data.sizes[TRAJECTORY], data.sizes[MEMBER], data.sizes[TIME]), (law.states, 2 * law.members, max(law.leads) + 1)
    if any(h < w for h, w in zip(have, wanted, strict=True)):
        raise ValueError(f"{dataset}: {MEMBERS} has (states, members, frames) {have} but the known law asks for {wanted}")
    data = data.isel({TRAJECTORY: slice(law.states)}).load()
    initial = data.isel({TIME: [0], MEMBER: 0}).drop_vars(MEMBER, errors="ignore")
    later = data.isel({TIME: list(law.leads)})
    halves = (later.isel({MEMBER: slice(k * law.members, (k + 1) * law.members)}) for k in (0, 1))
    first, second = (h.assign_coords({MEMBER: np.arange(law.members)}) for h in halves)
    return initial, first, second


def compare(step: Step, dataset: str, size: str, law: Law, device: str = "cpu") -> list[dict[str, Any]]:
    """What is told of each lead."""
    initial, true, _ = truth(dataset, size, law)
    forecast = simulate(step, initial, max(law.leads), members=law.members, seed=SEED, group=law.group)
    return told(forecast.isel({TIME: [n - 1 for n in law.leads]}), true, law, device)


def perfect(dataset: str, size: str, law: Law) -> list[dict[str, Any]]:
    """The same for the other half of the true members."""
    _, true, other = truth(dataset, size, law)
    return told(other, true, law)


def told(forecast: xr.Dataset, true: xr.Dataset, law: Law, device: str = "cpu") -> list[dict[str, Any]]:
    fields: Fields = fields_of(true)
    scores = score_members(forecast, true, [EnergyDistance(fields), VarianceSpectrum(fields)], device=device)
    return [{"lead": n} | at_lead(scores.isel(lead_time=i)) for i, n in enumerate(law.leads)]


def at_lead(scores: xr.Dataset) -> dict[str, Any]:
    """From the scores of every state (trajectory, field, ...) at one lead."""
    n = scores.attrs["members"], scores.attrs["members_truth"]
    fair, floor, pooled = (a.mean("field", skipna=False).values for a in distances(scores))
    apart = floor / (1 / n[0] + 1 / n[1])  # E||Y - Y'||
    ours, theirs = (spectrum(scores, f"variance_spectrum{name}") for name in ("", "_truth"))
    low, high = interval(pooled, floor)
    shells = 1 + int((theirs > LEAST * theirs.sum()).nonzero().max())  # what is smaller is dissipation's, and asks for nothing of chance
    return {
        "ratio": float(pooled.mean() / floor.mean()),
        "interval": [low, high],
        "relative": float(fair.mean() / apart.mean()),
        "variance": float(ours.sum() / theirs.sum()),
        "variance spectrum error": float(log_spectral_distance(ours[:shells], theirs[:shells])),
        "variance spectrum": ours.tolist(),
        "variance spectrum of the truth": theirs.tolist(),
    }


def distances(scores: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Unbiased, the floor, and with all pairs."""
    floor = scores["energy_distance_floor"]
    return scores["energy_distance"], floor, scores["energy_distance_ratio"] * floor


def spectrum(scores: xr.Dataset, name: str) -> torch.Tensor:
    """The mean over states, fields together; NaN where a member failed."""
    array = scores[name]
    return torch.from_numpy(array.sum("field", skipna=False).mean(TRAJECTORY, skipna=False).values)


def interval(d: np.ndarray, floor: np.ndarray, resamples: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Of the ratio of means, by a percentile bootstrap over states."""
    draws = np.random.default_rng(0).integers(len(d), size=(resamples, len(d)))
    low, high = np.quantile(d[draws].mean(1) / floor[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
