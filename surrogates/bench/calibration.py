"""Is the ensemble's spread the size of its error? Spread over error against lead, and rank histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from surrogates.bench.axes import time_axis
from surrogates.bench.contenders import ENSEMBLE
from surrogates.bench.style import FAINT, INK, WIDTH, Picture, drawing, encoded, lines
from surrogates.bench.summary import Clock, leads, names_of, spread_skill
from surrogates.bench.verdict import CALIBRATED
from surrogates.interchange import LEAD, TRAJECTORY
from surrogates.metrics import spread_skill_curve


def calibration(scores: xr.Dataset) -> Picture | None:
    """Spread over error against lead, and rank histograms; None without an ensemble."""
    names = names_of(scores, ENSEMBLE)
    if not names:
        return None
    clock, chosen = Clock.of(scores), list(leads(scores).items())[:3]
    with drawing() as plt:
        figure = plt.figure(figsize=(WIDTH, 3.1))
        grid = figure.add_gridspec(1, 2 + len(chosen), width_ratios=[2.2, 0.05, *[1] * len(chosen)])
        ax = figure.add_subplot(grid[0])
        ax.axhspan(*CALIBRATED, color="#0072b2", alpha=0.10, lw=0)
        ax.axhline(1, color=FAINT, lw=0.8)
        for line in [x for x in lines(scores) if x.name in names]:
            judged, whole = spread_skill(scores, line.name), _whole_spread(scores, line.name)
            ax.plot(whole[LEAD] / clock.period, whole, color=line.colour, lw=1.2, ls=(0, (1, 1.5)))
            ax.plot(judged[LEAD] / clock.period, judged, color=line.colour, lw=line.width)
            until = float(judged[LEAD].values[-1]) / clock.period
        ax.axvspan(0, until, color=FAINT, alpha=0.09, lw=0, zorder=0)
        ax.text(until, 0.03, "correlation > .8 ", transform=ax.get_xaxis_transform(), ha="right", fontsize=8, color=INK)
        time_axis(ax, scores)
        ax.set(title="spread over error of the mean", ylim=(0, max(1.45, float(whole.max()) * 1.05)))
        _ranks(figure, grid, scores, names[0], chosen)
        image = encoded(figure)
    judged = spread_skill(scores, names[0])
    low, high = float(judged.min()), float(judged.max())
    way = "in it" if CALIBRATED[0] <= low and high <= CALIBRATED[1] else "outside it at some leads"
    way = "below it: too sure of itself" if high < CALIBRATED[0] else "above it: too unsure" if low > CALIBRATED[1] else way
    return Picture(
        "Is the ensemble's spread the size of its error?",
        image,
        f"Left: 1 is right, the blue band is {CALIBRATED[0]} to {CALIBRATED[1]}, and only the grey region counts, where the mean "
        f"still correlates above .8 (at saturation any states of the attractor score 1). Here it runs from {low:.2f} to {high:.2f}, {way}. "
        "Right: how often the truth has r members below it; flat is right, a U is too little spread, a dome too much.",
    )


def _whole_spread(scores: xr.Dataset, name: str) -> xr.DataArray:
    one = scores.sel(contender=name)
    curve: xr.DataArray = spread_skill_curve(one.assign_attrs(members=int(one["members"])), above=-2.0).isel(field=0, drop=True)
    return curve


def _ranks(figure: Any, grid: Any, scores: xr.Dataset, name: str, chosen: list[tuple[int, str]]) -> None:
    colour = next(x.colour for x in lines(scores) if x.name == name)
    histogram = scores["rank_histogram"].sel(contender=name).mean((TRAJECTORY, "channel"))
    top = max(float(histogram.isel({LEAD: [i for i, _ in chosen]}).max()) * 1.05, 2 / histogram.sizes["rank"])
    for column, (index, label) in enumerate(chosen):
        ax = figure.add_subplot(grid[2 + column])
        values = histogram.isel({LEAD: index}).values
        ax.bar(np.arange(len(values)), values, width=0.86, color=colour, alpha=0.85)
        ax.axhline(1 / len(values), color=INK, lw=0.8)
        ax.set(ylim=(0, top), xlabel="members below", xticks=[0, len(values) - 1])
        ax.set_title(label.replace("Lyapunov", "Lyap."), fontweight="normal", fontsize=8.5)
        if column:
            ax.set_yticklabels([])
        else:
            ax.set_ylabel("how often")
