"""What is done to axes: labels at the ends of lines, plain logarithmic ticks, leads as the horizontal axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from surrogates.bench.style import INK, ink
from surrogates.bench.summary import Clock
from surrogates.interchange import LEAD

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float = 0.062) -> None:
    """Write (x, y, text, colour) to the right of the axes, moved apart by at least `gap` of its height, with a thin line to each end."""
    to_axes = ax.transData + ax.transAxes.inverted()
    placed = sorted(
        ((float(to_axes.transform((x, y))[1]), x, y, text, colour) for x, y, text, colour in ends if np.isfinite(y)), key=lambda e: e[0]
    )
    heights = spread(np.array([p[0] for p in placed]), gap)
    for height, (_, x, y, text, colour) in zip(heights, placed, strict=True):
        ax.annotate(
            text,
            (x, y),
            (1.06, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=ink(colour),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.7, "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """Positions at least `gap` apart, near the wanted ones, inside [0, 1] where they fit."""
    out: np.ndarray = np.clip(heights.astype(float), 0, 1)
    for _ in range(200):
        moved = False
        for i in range(1, len(out)):
            short = gap - (out[i] - out[i - 1])
            if short > 1e-6:
                out[i - 1 : i + 1] += np.array([-short / 2, short / 2])
                moved = True
        if len(out) and (out[0] < 0 or out[-1] > 1) and gap * (len(out) - 1) <= 1:
            out += max(0.0, -out[0]) - max(0.0, out[-1] - 1)
        if not moved:
            break
    return out


def plain_log(axis: Any) -> None:
    """Ticks at 1, 2, 5 in each decade, written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def time_axis(ax: Axes, scores: xr.Dataset) -> None:
    """Leads in the clock's unit, and the certified time where it falls inside the forecast."""
    clock, t = Clock.of(scores), scores[LEAD].values
    scored = t[scores["scored"].values.astype(bool)]
    ax.set(xlabel=f"lead ({clock.unit})", xlim=(0, (scored[-1] if len(scored) else t[-1]) / clock.period))
    limit = float(scores.attrs.get("scored_time", np.inf))
    if limit <= t[-1]:
        ax.axvline(limit / clock.period, color=INK, lw=0.8, ls=":", zorder=0)
        ax.text(limit / clock.period, 0.02, "t* ", transform=ax.get_xaxis_transform(), ha="right", fontsize=8, color=INK)
