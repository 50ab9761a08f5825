"""Figures of scores: error curves, and accuracy against cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from surrogates.bench.axes import label_ends, plain_log, time_axis
from surrogates.bench.contenders import CLIMATOLOGY, ENSEMBLE, GUESS, PERSISTENCE, SOLVER
from surrogates.bench.style import FAINT, INK, WIDTH, Line, Picture, drawing, encoded, ink, lines, main_lines
from surrogates.bench.summary import Clock, correlation_of, mean_time, names_of, pick
from surrogates.bench.verdict import amount
from surrogates.interchange import LEAD, TRAJECTORY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def errors(scores: xr.Dataset) -> Picture:
    """nRMSE and correlation against lead, up to the time to which the truth is certified."""
    what = correlation_of(scores)
    correlation = "correlation_vorticity" if what == "vorticity" else "correlation_field"
    minor = set(names_of(scores, SOLVER)) - {line.name for line in main_lines(scores)}
    with drawing() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.0), layout="none")
        figure.subplots_adjust(0.06, 0.115, 0.85, 0.93, wspace=0.52)
        for ax, variable in zip(axes, ("nrmse_field", correlation), strict=True):
            drawn = {
                line.name: _curve(ax, scores, line, variable)
                for line in lines(scores)
                if variable == "nrmse_field" or line.name != CLIMATOLOGY
            }
            ends = [end for name, end in drawn.items() if variable != "nrmse_field" or name not in minor]
            time_axis(ax, scores)
            if variable == "nrmse_field":
                ax.set(yscale="log", title="nRMSE")
                ends.append(_half_level(ax, scores))
            else:
                ax.set(ylim=(-0.1, 1.03), title=f"correlation of the {what}")
                ax.axhline(0.8, color=FAINT, lw=0.8, ls="--", zorder=0)
                ax.text(0.99, 0.805, ".8", transform=ax.get_yaxis_transform(), fontsize=8, color=INK, ha="right", va="bottom")
            figure.draw_without_rendering()
            label_ends(ax, ends)
        image = encoded(figure)
    clock = Clock.of(scores)
    skill = {n: mean_time(scores, n, "half_climatology") for n in names_of(scores, ENSEMBLE, GUESS)}
    said = ", ".join(f"the {scores['label'].sel(contender=n).values} crosses it at {amount(s)}" for n, s in skill.items())
    return Picture(
        "Error against lead",
        image,
        "Of the ensemble's mean, where there is one. Lower (left) and higher (right) is better; lines are means over trajectories, bands "
        f"their range. The dashed line on the left is half of climatology's error, the end of useful skill: {said} {clock.unit}. Solvers "
        "in orange, darker with resolution; the thick one is the nearest in cost to the whole ensemble.",
    )


def cost_accuracy(scores: xr.Dataset) -> Picture:
    """Skill against cost, the classical solver as a curve."""
    clock = Clock.of(scores)
    with drawing() as plt:
        figure, ax = plt.subplots(figsize=(WIDTH, 4.2))
        points = {line.name: _point(scores, line) for line in lines(scores) if line.name not in names_of(scores, CLIMATOLOGY, PERSISTENCE)}
        solvers = [points[n] for n in names_of(scores, SOLVER)]
        ax.plot([p[0] for p in solvers], [p[1] for p in solvers], color="#d95f0e", lw=1.2, zorder=2)
        for line in lines(scores):
            if line.name not in points:
                continue
            x, y, low, high = points[line.name]
            ax.errorbar(x, y, [[max(0, y - low)], [max(0, high - y)]], color=line.colour, marker="o", ms=6, lw=1.1, zorder=4)
            is_solver = line.name in names_of(scores, SOLVER)
            text = line.label.removeprefix("solver ") if is_solver else line.label
            ax.annotate(text, (x, y), (7, -11 if is_solver else 8), textcoords="offset points", fontsize=8.5, color=ink(line.colour))
        for name in names_of(scores, PERSISTENCE):
            level = mean_time(scores, name, "half_climatology").value
            ax.axhline(level, color=FAINT, lw=1)
            ax.text(0.995, level, "persistence", transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize=8, color=INK)
        ax.set(xscale="log", xlabel="ms a frame and trajectory (all members)", ylabel=f"skill ({clock.unit})", ylim=(0, None))
        plain_log(ax.xaxis)
        image = encoded(figure)
    return Picture(
        "Accuracy against cost",
        image,
        "Up and left is better: the lead at which the error reaches half of climatology's, against the cost of the forecast on this "
        "machine; bars are 95 % intervals of the mean over trajectories. A point below the orange curve is a forecast that the classical "
        f"solver makes cheaper or better. {_beside_curve(scores)}",
    )


def _beside_curve(scores: xr.Dataset) -> str:
    solvers = [(float(pick(scores, n)["cost"]), mean_time(scores, n, "half_climatology").value) for n in names_of(scores, SOLVER)]
    said = []
    for name in names_of(scores, ENSEMBLE, GUESS):
        cost, skill = float(pick(scores, name)["cost"]), mean_time(scores, name, "half_climatology").value
        beaten = any(c <= cost and s >= skill for c, s in solvers)
        said.append(f"the {scores['label'].sel(contender=name).values} lies {'below' if beaten else 'above or beyond'} it")
    return ("Here " + " and ".join(said) + ".") if said else ""


def _point(scores: xr.Dataset, line: Line) -> tuple[float, float, float, float]:
    skill = mean_time(scores, line.name, "half_climatology")
    return float(pick(scores, line.name)["cost"]), skill.value, skill.lower, skill.upper


def _curve(ax: Axes, scores: xr.Dataset, line: Line, variable: str) -> tuple[float, float, str, str]:
    """Draw one contender; returns where its label goes."""
    one = pick(scores, line.name)[variable].isel({LEAD: scores["scored"].values.astype(bool)})
    x, y = one[LEAD].values / Clock.of(scores).period, one.where(np.isfinite(one)).transpose(TRAJECTORY, LEAD).values
    mean = y.mean(0)
    ax.plot(x, mean, color=line.colour, lw=line.width, ls=line.dashes, zorder=line.order)
    if line.band:
        ax.fill_between(x, y.min(0), y.max(0), color=line.colour, alpha=0.15, lw=0, zorder=line.order - 0.5)
    last = int(np.flatnonzero(np.isfinite(mean))[-1]) if np.isfinite(mean).any() else 0
    return float(x[last]), float(mean[last]), line.label.removeprefix("solver "), line.colour


def _half_level(ax: Axes, scores: xr.Dataset) -> tuple[float, float, str, str]:
    name = names_of(scores, CLIMATOLOGY)[0]
    level = pick(scores, name)["nrmse_field"].isel({LEAD: scores["scored"].values.astype(bool)}).mean(TRAJECTORY) / 2
    x = level[LEAD].values / Clock.of(scores).period
    ax.plot(x, level, color=FAINT, lw=0.8, ls="--", zorder=0)
    return float(x[-1]), float(level[-1]), "half of climatology", INK
