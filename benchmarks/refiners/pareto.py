"""Skill against network evaluations, one column a task: what a contender reaches, and from how many evaluations on.

One colour and one marker a contender, the same in every panel (Okabe and Ito's colours, told apart by colour-blind readers; markers, for
print without colour); each line is named at its end, each single point beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.bench.axes import label_ends, plain_log, spread
from surrogates.bench.style import FAINT, INK, drawing, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]
INKS = "5b5b5b d55e00 009e73 cc79a7 e69f00 56b4e9 000000 0072b2 6a51a3 999933 8c564b f0e442 a6761d"
COLOURS = tuple(f"#{c}" for c in INKS.split())
MARKERS = "osD^vPX<>hp"
GAP = 0.066
BEHIND = {"boxstyle": "round,pad=.1", "fc": "white", "ec": "none", "alpha": 0.75}


@dataclass(frozen=True)
class Panel:
    """What is drawn of a row: a number of the tables, its title, and how."""

    key: str
    title: str
    log: bool
    section: str = "rows"


PLAIN = (
    Panel("of climate", "fair energy score over that of climate's draws: lower is better", True),
    Panel("time", "time to correlation .8 of the ensemble mean: higher is better", False),
    Panel("spectrum error", "log-spectral error above the dominant wavenumbers: lower is better", True),
)
KNOWN = (
    Panel("ratio", "energy distance to the true law, over the floor: 1 is perfect", True, "law"),
    Panel("variance spectrum error", "log-spectral error of the conditional variance: lower is better", True, "law"),
    Panel("of climate", "fair energy score over that of climate's draws: lower is better", True),
)


def picture(out: Path, everything: Mapping[str, Mapping[str, list[Row]]]) -> None:
    """OUT/pareto.png."""
    families = list(dict.fromkeys(r["family"] for found in everything.values() for r in found["rows"]))
    with drawing() as plt:
        size = (6.4 * len(everything), 3.7 * len(PLAIN))
        figure, axes = plt.subplots(len(PLAIN), len(everything), figsize=size, squeeze=False, layout="none")
        figure.subplots_adjust(0.075 / len(everything) ** 0.5, 0.055, 1 - 0.28 / len(everything), 0.95, wspace=0.56, hspace=0.3)
        for column, (task, found) in zip(axes.T, everything.items(), strict=True):
            for ax, panel in zip(column, KNOWN if found["law"] else PLAIN, strict=True):
                draw(ax, found, panel, families)
            column[0].annotate(task, (0, 1.13), xycoords="axes fraction", fontsize=12, fontweight="bold", color=INK)
            column[-1].set_xlabel("network evaluations a frame")
        figure.savefig(out / "pareto.png", dpi=150, metadata={"Software": None})
        plt.close(figure)


def draw(ax: Axes, found: Mapping[str, list[Row]], panel: Panel, families: Sequence[str]) -> None:
    """One panel: a line a family through its budgets."""
    lines = {f: points(found, panel, f) for f in families}
    lines = {f: p for f, p in lines.items() if p}
    most = max((p[-1][0] for p in lines.values()), default=1)
    ax.set(xscale="log", title=panel.title)
    if panel.log:
        ax.set_yscale("log")
        plain_log(ax.yaxis)
    ends, alone = [], []
    for family, at in lines.items():
        k = families.index(family)
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        x, y, low, high = zip(*at, strict=True)
        ax.plot(x, y, marker=marker, ms=4.5, lw=1.6, color=colour, mec="white", mew=0.5, zorder=3)
        ax.vlines(x, low, high, color=colour, lw=0.8, alpha=0.6)
        (ends if x[-1] > 0.9 * most and most > 1 else alone).append((x[-1], y[-1], family, colour))
    ticks = sorted({x for at in lines.values() for x, *_ in at})
    ticks = [t for t in ticks if t < 2 or t + 1 not in ticks]  # 31 beside 32 has no room
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_locator(ax.xaxis.get_major_locator().__class__([]))
    ax.set_xlim(0.32 if any(x == 1 for x, *_ in alone) else 0.87, most * 1.08)  # names of single points stand left of 1
    references(ax, found, panel)
    ax.figure.draw_without_rendering()
    label_ends(ax, ends, GAP)
    beside(ax, alone)


def points(found: Mapping[str, list[Row]], panel: Panel, family: str) -> list[tuple[float, float, float, float]]:
    """(evaluations, value, least, greatest over seeds) where the value is finite; of a known law, its first lead."""
    climate = next((r["energy score"] for r in found["references"] if r["contender"] == "climate"), math.nan)
    lead = min((r["lead"] for r in found["law"]), default=None)
    at = []
    for r in found[panel.section]:
        if r.get("family") != family or (panel.section == "law" and r["lead"] != lead):
            continue
        value, ranged = r.get(panel.key), (math.nan, math.nan)
        if panel.key == "of climate":
            value, ranged = r["energy score"] / climate, (r["range"][0] / climate, r["range"][1] / climate)
        elif panel.key == "ratio":
            ranged = (min(r["ratios"]), max(r["ratios"]))
        if value is not None and math.isfinite(value) and (value > 0 or not panel.log):
            at.append((float(r["evaluations"]), value, *(v if math.isfinite(v) else value for v in ranged)))
    return sorted(at)


def references(ax: Axes, found: Mapping[str, list[Row]], panel: Panel) -> None:
    """Levels to compare with, as thin grey lines named inside the panel."""
    levels = {"ratio": [("true members", 1.0)], "of climate": [("climate", 1.0)]}.get(panel.key, [])
    if panel.key == "time":
        levels = [(r["contender"], r["time"]) for r in found["references"] if r["contender"] != "climate"]
    low, high = ax.get_ylim()
    shown = sorted((v, n) for n, v in levels if panel.key == "time" or low <= v <= 1.3 * high)
    for value, _ in shown:
        ax.axhline(value, color=FAINT, lw=0.8, ls=(0, (4, 2)), zorder=0)
    ax.figure.draw_without_rendering()
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = spread(np.array([to_axes.transform((1.0, v))[1] + 0.02 for v, _ in shown]), 0.045)
    for height, (_, name) in zip(heights, shown, strict=True):
        ax.text(0.995, height, name, transform=ax.transAxes, ha="right", va="center", fontsize=7, color=INK, bbox=BEHIND, zorder=1)


def beside(ax: Axes, alone: Sequence[tuple[float, float, str, str]]) -> None:
    """Names of lines that end before the last budget, moved apart: left of single evaluations, else to the right of the last point."""
    to_axes = ax.transData + ax.transAxes.inverted()
    for x in sorted({a[0] for a in alone}):
        here = sorted((a for a in alone if a[0] == x), key=lambda a: a[1])
        at = np.array([to_axes.transform((x, y)) for _, y, _, _ in here])
        side, align, lift = (-0.025, "right", 0.0) if x == 1 else (0.02, "left", 0.04)
        arrow = {"arrowstyle": "-", "lw": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 2, "relpos": (float(x == 1), 0.5)}
        for (_, y, text, colour), (left, _), height in zip(here, at, spread(at[:, 1] + lift, GAP), strict=True):
            ax.annotate(
                text,
                (x, y),
                (left + side, height),
                textcoords="axes fraction",
                ha=align,
                va="center",
                fontsize=8,
                color=ink(colour),
                bbox=BEHIND,
                arrowprops=arrow | {"color": colour},
                zorder=5,
            )
