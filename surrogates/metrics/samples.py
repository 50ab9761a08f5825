"""Two sets of samples compared as laws: members of a forecast beside true members, or generated states beside the data's.

A metric of `standard` holds members against one truth, which is all that nature gives. Where the law itself can be sampled (a stochastic
truth; the states of an attractor), both sides have members, x (B, M, T, C, *X) and y (B, N, T, C, *X), and a `SampleMetric` is again two
maps: `statistics` of both sides, and `value`, taken last. M and N need not be equal.

    score_members(forecast, truth)   a law for each trajectory and lead: true members of the same initial states
    score_samples(states, truth)     one law: every trajectory, member and time is a sample of it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.interchange import LEAD, MEMBER, TRAJECTORY, domain_of, fields_of, from_xarray, to_xarray
from surrogates.metrics.align import aligned, check_same_domain
from surrogates.metrics.energy_distance import EnergyDistance
from surrogates.metrics.increments import IncrementPDF, Increments
from surrogates.metrics.label import labelled
from surrogates.metrics.quantity import Quantity, Statistics
from surrogates.metrics.sliced_wasserstein import SlicedWasserstein
from surrogates.metrics.two_point import TwoPoint
from surrogates.metrics.variance_spectrum import VarianceSpectrum
from surrogates.metrics.wasserstein import IncrementWasserstein, PointWasserstein, Wasserstein

FAILED = Quantity("samples that are not finite", ())


@runtime_checkable
class SampleMetric(Protocol):
    """A distance or a pair of curves between two laws, from samples of both; values (B, T, *dims), as `Quantity` says."""

    @property
    def name(self) -> str: ...
    @property
    def quantities(self) -> Mapping[str, Quantity]: ...
    def coordinates(self, domain: Domain) -> Mapping[str, Any]: ...
    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Statistics: ...
    def value(self, statistics: Statistics) -> Mapping[str, Tensor]: ...


def for_members(fields: Fields, domain: Domain, members: int) -> tuple[SampleMetric, ...]:
    """What tells conditional laws apart: distances always; on a periodic Box those of increments, which see fronts where distances of
    whole fields see large waves, and for an ensemble the variance wave by wave."""
    metrics: list[SampleMetric] = [EnergyDistance(fields), PointWasserstein(), SlicedWasserstein(fields)]
    if isinstance(domain, Box) and domain.all_periodic:
        metrics += [IncrementWasserstein()]
        metrics += [VarianceSpectrum(fields)] if members > 1 else []
    return tuple(metrics)


def for_samples(fields: Fields, domain: Domain) -> tuple[SampleMetric, ...]:
    """What tells ensembles of states apart: distances always; on a periodic Box spectra, and increments and correlations along its first
    axis."""
    metrics: list[SampleMetric] = [EnergyDistance(fields), Wasserstein(), SlicedWasserstein(fields)]
    if isinstance(domain, Box) and domain.all_periodic:
        metrics += [VarianceSpectrum(fields), Increments(), IncrementPDF(), IncrementWasserstein(), TwoPoint()]
    return tuple(metrics)


def score_members(
    forecast: xr.Dataset, truth: xr.Dataset, metrics: Sequence[SampleMetric] | None = None, *, device: torch.device | str = "cpu"
) -> xr.Dataset:
    """Values (trajectory, lead_time, ...) where true members of the forecast's initial states exist; one trajectory in memory at a time.

    `metrics`: those of `for_members` unless given.
    A forecast without members is a law at one point. Average over trajectories before ratios of curves are read. Raises ValueError where
    grids, fields, trajectories or times do not meet, where the truth has no members, and where it is not finite.
    """
    if MEMBER not in truth.dims:
        raise ValueError("the truth has no dim 'member'; open true members, as open_dataset('forced_burgers', 'members'), or use score")
    forecast, truth = aligned(forecast, truth)
    fields, domain = fields_of(forecast), domain_of(forecast)
    chosen = for_members(fields, domain, forecast.sizes.get(MEMBER, 1)) if metrics is None else tuple(metrics)
    rows = []
    for i in range(forecast.sizes[TRAJECTORY]):
        one = {TRAJECTORY: [i]}
        x, y = (from_xarray(d.isel(one), fields, torch.float64).to(device) for d in (forecast, truth))
        rows.append(evaluate_samples(chosen, x if MEMBER in forecast.dims else x[:, None], y, domain))
    arrays = {name: torch.cat([row[name] for row in rows]).cpu().numpy() for name in rows[0]}
    scores = labelled(arrays, quantities_of(chosen), forecast, truth)
    own = {dim: c for m in chosen for dim, c in m.coordinates(domain).items()}
    sizes = {"members": forecast.sizes.get(MEMBER, 1), "members_truth": truth.sizes[MEMBER]}
    names = json.dumps({m.name: {n: q.formula for n, q in m.quantities.items()} for m in chosen})
    return scores.assign_coords(own).assign_attrs(metrics=names, **sizes)


def score_samples(
    states: xr.Dataset, truth: xr.Dataset, metrics: Sequence[SampleMetric] | None = None, *, device: torch.device | str = "cpu"
) -> xr.Dataset:
    """Values (...) of all states, whatever their trajectory, member and time, as samples of one law beside all of the truth's.

    `metrics`: those of `for_samples` unless given.
    Everything is in memory at once, and distances take S^2 numbers: thin both before, to frames that are nearly independent.
    """
    check_same_domain(domain_of(states), domain_of(truth))
    fields = fields_of(states)
    chosen = for_samples(fields, domain_of(states)) if metrics is None else metrics
    pooled = score_members(_pool(states, fields), _pool(truth, fields), chosen, device=device)
    return pooled.isel({TRAJECTORY: 0, LEAD: 0}, drop=True)


def evaluate_samples(metrics: Sequence[SampleMetric], x: Tensor, y: Tensor, domain: Domain) -> dict[str, Tensor]:
    """The values of several metrics, and how many of x have `failed`. Raises ValueError where y is not finite."""
    if not bool(y.isfinite().all()):
        raise ValueError("the truth is not finite; score only samples that have a truth")
    values: dict[str, Tensor] = {"failed": (~x.isfinite().flatten(3).all(-1)).sum(1)}
    for metric in metrics:
        values.update(metric.value(metric.statistics(x, y, domain)))
    return values


def quantities_of(metrics: Sequence[SampleMetric]) -> dict[str, Quantity]:
    """Every value's meaning by name. Raises ValueError where two metrics yield one name."""
    known: dict[str, Quantity] = {"failed": FAILED}
    for metric in metrics:
        for name, quantity in metric.quantities.items():
            if name in known:
                raise ValueError(f"two metrics yield {name!r}; score them in two calls")
            known[name] = quantity
    return known


def _pool(dataset: xr.Dataset, fields: Fields) -> xr.Dataset:
    u, box = from_xarray(dataset, fields, torch.float64), domain_of(dataset)
    flat = u.reshape(1, -1, 1, fields.count, *box.shape)
    return to_xarray(flat, fields, box, time=[0.0], trajectories=[0], members=range(flat.shape[1]), start=0.0)
