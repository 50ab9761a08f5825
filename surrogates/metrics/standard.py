"""The metrics that apply to a forecast, by its fields, its domain and whether it is an ensemble."""

from __future__ import annotations

from surrogates.domains import Box
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.metrics.budget import Budget
from surrogates.metrics.correlation import Correlation, VorticityCorrelation
from surrogates.metrics.crps import FairCRPS
from surrogates.metrics.divergence import DivergenceDefect
from surrogates.metrics.energy_score import EnergyScore
from surrogates.metrics.nrmse import NRMSE
from surrogates.metrics.quantity import ScoreMetric
from surrogates.metrics.rank import RankHistogram
from surrogates.metrics.spectrum import EnergySpectrum, EnstrophySpectrum
from surrogates.metrics.spread_skill import SpreadSkill
from surrogates.metrics.vrmse import VRMSE


def standard(fields: Fields, domain: AnyDomain, members: int) -> tuple[ScoreMetric, ...]:
    """Errors, correlation, fair scores and budgets always; vorticity and divergence where there is a field "velocity" with one
    component an axis; spectra where every axis is periodic; spread and ranks where there are members. A Sphere and a Mesh have no
    derivatives or spectra among these."""
    metrics: list[ScoreMetric] = [NRMSE(fields), VRMSE(fields), Correlation(fields), FairCRPS(), EnergyScore(fields), Budget(fields)]
    if isinstance(domain, Box):
        metrics += _on_a_box(fields, domain)
    if members > 1:
        metrics += [SpreadSkill(), RankHistogram()]
    return tuple(metrics)


def _on_a_box(fields: Fields, box: Box) -> list[ScoreMetric]:
    metrics: list[ScoreMetric] = []
    flow = box.dim > 1 and "velocity" in fields.names and fields["velocity"].components == box.axes and not fields["velocity"].levels
    if flow:
        metrics += [VorticityCorrelation(fields), DivergenceDefect(fields)]
    if box.all_periodic:
        metrics += [EnergySpectrum(fields)]
    if box.all_periodic and flow:
        metrics += [EnstrophySpectrum(fields)]
    return metrics
