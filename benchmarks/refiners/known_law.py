"""A generative forecast against the law it should have: the truth is stochastic, so that members of its conditional law can be drawn.

The part `members` of the data set holds true members of S initial states. Half of them are batch A, half B, n each, and a contender draws
n of its own. With ||u||^2 = <|u|^2> over space and components, and the same number of pairs on every side,

    D(X, Y) = 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||          (energy distance; all pairs, a member with itself included)
    ratio   = mean_s [D(model, A) + D(model, B)] / 2  /  mean_s D(A, B)

The floor D(A, B) is what two samples of one law are apart; a perfect contender has ratio 1, whatever n is. The variance spectrum is that of
the members about their mean, S_k of u - <u>_members times n/(n - 1), averaged over states.
Source: Szekely and Rizzo, "Energy statistics", Journal of Statistical Planning and Inference 143, 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from judge import SEED
from torch import Tensor

from surrogates.contracts import Domain, Step
from surrogates.data import open_dataset
from surrogates.forecast import simulate
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, domain_of, from_xarray
from surrogates.metrics import log_spectral_distance, shell_spectrum

MEMBERS = "members"  # the part of a data set that holds them


@dataclass(frozen=True)
class Law:
    """`states` initial states with `members` in each of the three batches, judged at these `leads` (frames)."""

    states: int
    members: int
    leads: tuple[int, ...]
    group: int = 512


@lru_cache(maxsize=2)
def truth(dataset: str, size: str, law: Law) -> tuple[xr.Dataset, Tensor, Tensor]:
    """The initial states, and two independent batches (states, members, leads, C, *X). Raises ValueError where there are too few."""
    data = open_dataset(dataset, MEMBERS, size=size)
    have, wanted = (data.sizes[TRAJECTORY], data.sizes[MEMBER], data.sizes[TIME]), (law.states, 2 * law.members, max(law.leads) + 1)
    if any(h < w for h, w in zip(have, wanted, strict=True)):
        raise ValueError(f"{dataset}: {MEMBERS} has (states, members, frames) {have} but the known law asks for {wanted}")
    data = data.isel({TRAJECTORY: slice(law.states)})
    u = from_xarray(data.isel({TIME: list(law.leads)}))
    return data.isel({TIME: [0], MEMBER: 0}).load(), u[:, : law.members], u[:, law.members : 2 * law.members]


def compare(step: Step, dataset: str, size: str, law: Law) -> list[dict[str, Any]]:
    """What is told of each lead."""
    initial, a, b = truth(dataset, size, law)
    forecast = simulate(step, initial, max(law.leads), members=law.members, seed=SEED, group=law.group)
    x, domain = from_xarray(forecast.isel({TIME: [n - 1 for n in law.leads]})), domain_of(initial)
    return [{"lead": n} | at_lead(x[:, :, i], a[:, :, i], b[:, :, i], domain) for i, n in enumerate(law.leads)]


def at_lead(x: Tensor, a: Tensor, b: Tensor, domain: Domain) -> dict[str, Any]:
    """Members (S, n, C, *X) of a contender and of the two true batches."""
    floor = distance(a, b, domain)
    d = (distance(x, a, domain) + distance(x, b, domain)) / 2
    ours, true = variance_spectrum(x, domain), (variance_spectrum(a, domain) + variance_spectrum(b, domain)) / 2
    low, high = ratio_interval(d, floor)
    return {
        "ratio": float(d.mean() / floor.mean()),
        "interval": [low, high],
        "distance": float(d.mean()),
        "floor": float(floor.mean()),
        "variance": float(ours.sum() / true.sum()),
        "variance spectrum error": float(log_spectral_distance(ours, true)),
        "variance spectrum": ours.tolist(),
        "variance spectrum of the truth": true.tolist(),
    }


def distance(x: Tensor, y: Tensor, domain: Domain) -> Tensor:
    """The energy distance of each state (S): members (S, n, C, *X)."""
    weight = (domain.measure / domain.measure.sum()).sqrt()
    p, q = ((u.double() * weight).flatten(2) for u in (x, y))
    between, own = torch.cdist(p, q).mean((1, 2)), [torch.cdist(u, u).mean((1, 2)) for u in (p, q)]
    return 2 * between - own[0] - own[1]


def variance_spectrum(x: Tensor, domain: Domain) -> Tensor:
    """(S shells): of members (states, n, C, *X) about their mean, components together."""
    n = x.shape[1]
    anomalies = x.double() - x.double().mean(1, keepdim=True)
    return shell_spectrum(anomalies, domain).sum(2).mean((0, 1)) * n / (n - 1)


def ratio_interval(d: Tensor, floor: Tensor, resamples: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap over states."""
    draws = np.random.default_rng(0).integers(len(d), size=(resamples, len(d)))
    ratios = d.numpy()[draws].mean(1) / floor.numpy()[draws].mean(1)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
