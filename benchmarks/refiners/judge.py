"""How good a forecast is: an ensemble rolled out from test states by `surrogates.simulate` and scored by `surrogates.metrics.score`.

Skill is averaged over the first `window` leads, the same for all contenders and fixed in the suite before any of them ran: beyond, an
ensemble on the attractor saturates whatever it knows. Spectra are averaged over trajectories, members and all leads before their ratio is
taken; *dominant* are the shells that hold the first 99 % of the truth's energy, and the error is the log-spectral distance above them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.data import open_dataset
from surrogates.fields import Fields
from surrogates.forecast import simulate
from surrogates.interchange import LEAD, MEMBER, TIME, TRAJECTORY, domain_of, fields_of, from_xarray
from surrogates.metrics import (
    NRMSE,
    Correlation,
    EnergyScore,
    EnergySpectrum,
    FairCRPS,
    ScoreMetric,
    SpreadSkill,
    VorticityCorrelation,
    log_spectral_distance,
    score,
    shell_spectrum,
    spread_skill_curve,
)
from surrogates.metrics.lifetimes import lifetimes
from surrogates.noise import uniform

SEED = 2026  # of the members' noise
DOMINANT = 0.99  # share of the truth's energy
CURVES = ("correlation", "nrmse", "crps", "energy score")


@dataclass(frozen=True)
class Settings:
    """What is forecast: `trajectories` test trajectories from their frame `start`, `leads` frames, `members` members; skill is averaged
    over `window` leads. `long`: frames of the long rollouts (0: none), with one member a trajectory and at most `long_evaluations`."""

    trajectories: int
    leads: int
    members: int
    window: int
    evaluations: tuple[int, ...]
    start: int = 0
    long: int = 0
    long_evaluations: int = 4
    group: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.window <= self.leads:
            raise ValueError(f"window is {self.window} but must lie between 1 and the {self.leads} leads that are forecast")


def truth_of(dataset: str, size: str, settings: Settings, split: str = "test") -> xr.Dataset:
    """The frames that are forecast, the initial one first. Raises ValueError where the split is too small."""
    data = open_dataset(dataset, split, size=size)
    frames = settings.start + settings.leads + 1
    if data.sizes[TRAJECTORY] < settings.trajectories or data.sizes[TIME] < frames:
        raise ValueError(
            f"{dataset}: the {split} split has {data.sizes[TRAJECTORY]} trajectories of {data.sizes[TIME]} frames but the suite "
            f"asks for {settings.trajectories} of {frames}"
        )
    return data.isel({TRAJECTORY: slice(settings.trajectories), TIME: slice(settings.start, frames)}).load()


def judge(step: Step, truth: xr.Dataset, settings: Settings, members: int, device: str = "cpu") -> dict[str, Any]:
    """Curves over leads and what summarises them. One member (or none that differ) is scored as a single forecast."""
    ensemble = members > 1
    forecast = simulate(step, truth.isel({TIME: [0]}), settings.leads, members=members, seed=SEED, group=settings.group)
    fields = fields_of(truth)
    correlation = correlation_metric(fields)
    metrics: list[ScoreMetric] = [NRMSE(fields), correlation, FairCRPS(), EnergyScore(fields), EnergySpectrum(fields)]
    scores = score(forecast, truth, [*metrics, *([SpreadSkill()] if ensemble else [])], device=device)
    name = f"correlation_{'field' if isinstance(correlation, Correlation) else 'vorticity'}"
    each = [score(forecast.isel({MEMBER: [m]}), truth, [correlation], device=device) for m in range(members)] if ensemble else [scores]
    curves = curves_of(scores, name)
    window = slice(settings.window)
    energy = curves["energy score"][:, window].mean(1)
    spectrum, of_truth = (mean_spectrum(scores, n) for n in ("energy_spectrum", "energy_spectrum_truth"))
    return {
        "members": members,
        "failed": int(scores["failed"].isel({LEAD: -1}).sum()),
        "rollouts": members * settings.trajectories,
        "time": _time(scores, name),
        "censored": int(_lifetime(scores, name, "censored").sum()),
        "member time": float(np.mean([_time(s, name) for s in each])),
        "crps": float(curves["crps"][:, window].mean()),
        "energy score": float(energy.mean()),
        "energy scores": energy.tolist(),
        "nrmse": float(curves["nrmse"][:, window].mean()),
        "spectrum error": above(spectrum, of_truth),
        "spread-skill": spread_skill(scores, name) if ensemble else math.nan,
        "spectrum": spectrum.tolist(),
        "spectrum of the truth": of_truth.tolist(),
        "curves": {k: v.mean(0).tolist() for k, v in curves.items()},
    }


def correlation_metric(fields: Fields) -> ScoreMetric:
    """Vorticity where there is a velocity, as turbulence is judged; the field itself otherwise."""
    return VorticityCorrelation(fields) if "velocity" in fields.names else Correlation(fields)


def curves_of(scores: xr.Dataset, correlation: str) -> dict[str, np.ndarray]:
    """(trajectory, lead) each, means over channels or fields; a lead at which a member has failed takes the worst value there is."""
    names = dict(zip(CURVES, (correlation, "nrmse_field", "crps", "energy_score"), strict=True))
    rest = {k: [d for d in scores[v].dims if d not in (TRAJECTORY, LEAD)] for k, v in names.items()}
    return {k: scores[v].mean(rest[k], skipna=False).transpose(TRAJECTORY, LEAD).values for k, v in names.items()}


def mean_spectrum(scores: xr.Dataset, name: str) -> Tensor:
    """Over trajectories, leads and fields; NaN where a member failed."""
    array = scores[name]
    return torch.from_numpy(array.mean([d for d in array.dims if d != "wavenumber"], skipna=False).values)


def above(spectrum: Tensor, truth: Tensor) -> float:
    """The log-spectral distance over the shells above those that hold most of the truth's energy; inf where the spectrum is not finite."""
    share = truth[1:].cumsum(0) / truth[1:].sum()
    last = 1 + int((share < DOMINANT).sum())
    return float(log_spectral_distance(spectrum[last:], truth[last:]))  # which begins after its first shell


def _lifetime(scores: xr.Dataset, correlation: str, what: str) -> xr.DataArray:
    kind = "high_vorticity_correlation" if correlation.endswith("vorticity") else "high_correlation"
    return lifetimes(scores)[f"{kind}_{what}"]


def _time(scores: xr.Dataset, correlation: str) -> float:
    """Mean over trajectories (and fields) of the first lead at which the correlation is .8."""
    return float(_lifetime(scores, correlation, "time").mean())


def spread_skill(scores: xr.Dataset, correlation: str) -> float:
    """Mean of the ratio over the leads at which the ensemble mean still correlates at .8; NaN where it never does."""
    curve = spread_skill_curve(scores, correlation)
    return float(curve.mean()) if curve.size else math.nan


def endure(step: Step, truth: xr.Dataset, climate: Tensor, settings: Settings) -> dict[str, Any]:
    """A long rollout of one member a trajectory: energy and spectrum over its quarters beside those of the truth's climate (S)."""
    initial = truth.isel({TIME: [0]})
    forecast = simulate(step, initial, settings.long, members=1, seed=SEED + 1, group=settings.group, chunk=100)
    failed = forecast["failed_step"].values.ravel()
    u = from_xarray(forecast)[:, 0]
    spectra = torch.stack([shell_spectrum(q, domain_of(truth)).sum(2).mean((0, 1)) for q in u.chunk(4, dim=1)])
    energy = spectra.sum(1) / climate.sum()
    return {
        "frames": settings.long,
        "rollouts": len(failed),
        "failed": int((failed >= 0).sum()),
        "first failure": int(failed[failed >= 0].min()) if (failed >= 0).any() else None,
        "energy": energy.tolist(),
        "drift": float(energy[-1] / energy[0]) if bool(energy.isfinite().all()) else math.inf,
        "spectrum error": above(spectra[-1], climate),
        "distance": float(log_spectral_distance(spectra[-1], climate)),
        "spectrum": spectra[-1].tolist(),
    }


def climate_of(dataset: str, size: str) -> Tensor:
    """The mean spectrum of the training split, of every fifth frame: what is on the attractor."""
    data = open_dataset(dataset, "train", size=size)
    return shell_spectrum(from_xarray(data.isel({TIME: slice(None, None, 5)})), domain_of(data)).sum(2).mean((0, 1))


class ClimateDraws:
    """A `Step` whose members are frames drawn from the training split, whatever the initial state: an ensemble that knows the climate
    and nothing else. A fair score against it says what a forecast knows beyond."""

    history = bundle = 1

    def __init__(self, fields: Fields, frames: Tensor) -> None:
        self.inputs = self.outputs = fields
        self.frames = frames

    def begin(self, past: Tensor, conditions: Conditions) -> State:
        return {"past": past, "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Tensor, State]:
        if noise is None:
            raise ValueError("draws from the climate need noise; forecast with members")
        step = int(state["step"])
        draw = uniform(lambda like, *, draw: noise(like, step=step, draw=draw), state["past"].new_empty(len(state["past"]), 1), draw=0)
        return self.frames[(draw[:, 0] * len(self.frames)).long()][:, None], {**state, "step": state["step"] + 1}
