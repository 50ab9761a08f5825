"""From scores to what a table says: one row a contender, every number derived from `scores.nc` and nothing else.

Skill is the time to half of climatology's nRMSE, in Lyapunov times, paired over trajectories with the reference contender. A solver is
at equal cost with a contender when, of the resolutions that were run, the ratio of its cost to the contender's is nearest to one in
logarithm; the ratio is shown. Means over trajectories count a failed one as it is: an error inf, a time at which it failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, nan

import numpy as np
import torch
import xarray as xr

from surrogates.bench.contenders import CLIMATOLOGY, ENSEMBLE, GUESS, KINDS, SOLVER
from surrogates.interchange import LEAD, SECONDS, TRAJECTORY
from surrogates.metrics import paired_bootstrap, spread_skill_curve
from surrogates.metrics.spectrum import log_spectral_distance

LEADS = (1.0, 2.0, 4.0)
READABLE = 4
"""Leads of so many hours, or days, are shown in these."""
CONTENDER, FIELD, CHANNEL = "contender", "field", "channel"


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval; `censored` trajectories had not yet crossed when the scored leads ended, so it is a lower bound."""

    value: float = nan
    lower: float = nan
    upper: float = nan
    censored: int = 0


@dataclass(frozen=True)
class Row:
    """A line of the table. `at_cost_of` names the contender that a repeated solver is set beside, `ratio` its cost over that one's."""

    name: str
    label: str
    kind: str
    numbers: Mapping[str, float]
    skill: Interval
    difference: Interval
    correlation: Interval
    at_cost_of: str = ""
    ratio: float = nan
    nrmse: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Clock:
    """The unit of leads: Lyapunov times where the truth declares one, else its own time units; long ones of dates in hours or days."""

    unit: str
    period: float
    turnover: float

    @classmethod
    def of(cls, scores: xr.Dataset) -> Clock:
        period, turnover = (float(scores.attrs.get(f"{n}_time", nan)) for n in ("lyapunov", "turnover"))
        if np.isfinite(period):
            return cls("Lyapunov times", period, turnover)
        units, last = time_units(scores), float(scores[LEAD].values[-1])
        seconds = SECONDS.get(units, nan)
        chosen = next((u for u in ("days", "hours") if last * seconds >= READABLE * SECONDS[u]), units)
        return cls(chosen, SECONDS[chosen] / seconds if chosen != units else 1.0, turnover)


def time_units(scores: xr.Dataset) -> str:
    """In which leads are stored, in words."""
    units = str(scores[LEAD].attrs.get("units", "1"))
    return "time units" if units == "1" else units


def pick(scores: xr.Dataset, name: str) -> xr.Dataset:
    """The scores of one contender, with `members` as `score` writes it, and the first field only."""
    one = scores.sel({CONTENDER: name})
    return one.isel({FIELD: 0}).assign_attrs(members=int(one["members"])) if FIELD in one.dims else one


def leads(scores: xr.Dataset) -> dict[int, str]:
    """Index of each lead of the table -> its name: one frame, and 1, 2, 4 Lyapunov times where they are forecast and scored."""
    t, clock = scores[LEAD].values, Clock.of(scores)
    last = t[scores["scored"].values.astype(bool)].max(initial=t[0])
    one = clock.unit if len(clock.unit) == 1 else clock.unit.removesuffix("s")
    named = {int(np.abs(t - n * clock.period).argmin()): f"{n:g} {clock.unit if n > 1 else one}" for n in LEADS if n * clock.period <= last}
    return {0: "1 frame", **named}


def correlation_of(scores: xr.Dataset) -> str:
    """The correlation that a time is read from: of vorticity where there is one."""
    return "vorticity" if "correlation_vorticity" in scores else "field"


def times(scores: xr.Dataset, name: str, what: str) -> tuple[xr.DataArray, int]:
    """A time of each trajectory in units of the clock, and how many are censored."""
    one = pick(scores, name)
    return one[f"{what}_time"] / Clock.of(scores).period, int(one[f"{what}_censored"].sum())


def mean_time(scores: xr.Dataset, name: str, what: str) -> Interval:
    """Mean over trajectories with its bootstrap interval."""
    each, censored = times(scores, name, what)
    boot = paired_bootstrap(each, 0 * each)
    return Interval(float(boot["difference"]), float(boot["lower"]), float(boot["upper"]), censored)


def gain(scores: xr.Dataset, name: str, over: str) -> Interval:
    """Skill time of one contender less that of another, paired over trajectories."""
    (a, m), (b, n) = times(scores, name, "half_climatology"), times(scores, over, "half_climatology")
    boot = paired_bootstrap(a, b)
    return Interval(float(boot["difference"]), float(boot["lower"]), float(boot["upper"]), m + n)


def at_equal_cost(scores: xr.Dataset, name: str) -> tuple[str, float]:
    """The solver nearest in cost to a contender, and its cost over the contender's."""
    cost = scores["cost"].to_series()
    solvers = scores[CONTENDER].values[scores["kind"].values == SOLVER]
    nearest = min(solvers, key=lambda s: abs(log(cost[s] / cost[name])))
    return str(nearest), float(cost[nearest] / cost[name])


def names_of(scores: xr.Dataset, *kinds: str) -> list[str]:
    """Contenders of these kinds (all where none is given), in the order of the kinds; solvers coarse to fine."""
    order = sorted(
        range(scores.sizes[CONTENDER]), key=lambda i: (KINDS.index(str(scores["kind"].values[i])), int(scores["resolution"].values[i]))
    )
    return [str(scores[CONTENDER].values[i]) for i in order if not kinds or scores["kind"].values[i] in kinds]


def summarise(scores: xr.Dataset) -> list[Row]:
    """Rows in the order of the table: surrogates, solvers at their cost, all solvers, baselines."""
    rows = {name: _row(scores, name) for name in names_of(scores)}
    models = names_of(scores, ENSEMBLE, GUESS)
    equal = []
    for name in models:
        solver, ratio = at_equal_cost(scores, name)
        same = rows[solver]
        equal.append(Row(**{**vars(same), "at_cost_of": rows[name].label, "ratio": ratio}))
    return [*(rows[n] for n in models), *equal, *(r for n, r in rows.items() if n not in models)]


def _row(scores: xr.Dataset, name: str) -> Row:
    one = pick(scores, name)
    kind = str(one["kind"].values)
    what = "high_vorticity_correlation" if correlation_of(scores) == "vorticity" else "high_correlation"
    own = kind == CLIMATOLOGY  # its error does not begin at zero: it has no time to any threshold
    reference = scores.attrs["reference"]
    nothing = Interval()
    return Row(
        name,
        str(one["label"].values),
        kind,
        _numbers(scores, one, what),
        nothing if own else mean_time(scores, name, "half_climatology"),
        nothing if own or name == reference else gain(scores, name, reference),
        nothing if own else mean_time(scores, name, what),
        nrmse={i: float(one["nrmse_field"].isel({LEAD: i}).mean()) for i in leads(scores)},
    )


def _numbers(scores: xr.Dataset, one: xr.Dataset, what: str) -> dict[str, float]:
    crps_lead = min([i for i in leads(scores) if i > 0], default=0)
    failed = one["failed"].isel({LEAD: -1})
    out = {
        "correlation_of_mean": float(one[f"{what}_time_of_mean"]) / Clock.of(scores).period,
        "correlation_of_mean_censored": float(one[f"{what}_censored_of_mean"]),
        "crps": float(one["crps"].isel({LEAD: crps_lead}).mean()),
        "spectrum": spectrum_error(one),
        "divergence": float(one["divergence"].max()) if "divergence" in one else nan,
        "failed": float(failed.sum()),
        "runs": float(one["members"]) * scores.sizes[TRAJECTORY],
        **{n: float(one[n]) for n in ("cost_single", "cost_batch", "cost", "evaluations", "members")},
    }
    if str(one["kind"].values) == ENSEMBLE:
        curve = spread_skill(scores, str(one[CONTENDER].values))
        out |= {"spread_low": float(curve.min()), "spread_high": float(curve.max()), "spread_until": _last(curve, scores)}
    return out


def spread_skill(scores: xr.Dataset, name: str) -> xr.DataArray:
    """Spread-skill ratio over the leads at which the mean correlation is above .8; the whole of an ensemble's trajectories together."""
    one = scores.sel({CONTENDER: name})
    curve = spread_skill_curve(one.assign_attrs(members=int(one["members"])))
    return curve.isel({FIELD: 0}, drop=True) if curve.sizes[LEAD] else xr.DataArray([nan], {LEAD: [nan]}, (LEAD,))


def spectrum_error(one: xr.Dataset) -> float:
    """Log-spectral distance of the energy spectrum averaged over trajectories and all leads: a statement on the climate."""
    mean = [torch.from_numpy(one[n].mean((TRAJECTORY, LEAD), skipna=False).values) for n in ("energy_spectrum", "energy_spectrum_truth")]
    return float(log_spectral_distance(*mean))


def _last(curve: xr.DataArray, scores: xr.Dataset) -> float:
    return float(curve[LEAD].values[-1]) / Clock.of(scores).period
