"""Figures of fields: pictures side by side, spectra, budgets over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from surrogates.bench.axes import plain_log
from surrogates.bench.contenders import ENSEMBLE, GUESS
from surrogates.bench.pictures import WHO
from surrogates.bench.style import FAINT, TRUTH, WIDTH, Picture, drawing, encoded, main_lines
from surrogates.bench.summary import Clock, at_equal_cost, leads, names_of, pick, spectrum_error
from surrogates.interchange import LEAD, TRAJECTORY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def snapshots(scores: xr.Dataset, pictures: Mapping[str, xr.DataArray]) -> Picture:
    """Truth, ensemble mean, two members, guess and the solver at equal cost: rows are leads, one colour scale."""
    columns = _columns(scores, pictures)
    truth, clock = columns["truth"], Clock.of(scores)
    limit = float(np.quantile(np.abs(truth.values), 0.998))
    line = truth.ndim == 2
    with drawing() as plt:
        rows = 1 if line else truth.sizes[LEAD]
        height = 3.0 if line else 0.9 * WIDTH / len(columns) * rows + 0.3
        figure, axes = plt.subplots(rows, len(columns), figsize=(WIDTH, height), squeeze=False)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        for j, (title, field) in enumerate(columns.items()):
            for i in range(rows):
                ax = axes[i, j]
                image = _space_time(ax, field, clock, limit) if line else _plane(ax, field.isel({LEAD: i}), limit)
                if i == 0:
                    ax.set_title(title, fontsize=9, fontweight="normal")
                if j:
                    ax.set_yticklabels([])
                else:
                    t = float(truth[LEAD].values[i])
                    ax.set_ylabel(
                        f"lead ({clock.unit})" if line else f"{t / clock.period:.1f}",
                        rotation=90 if line else 0,
                        labelpad=4 if line else 14,
                    )
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=25, pad=0.01)
        bar.set_label(str(truth.attrs.get("long_name", "")))
        bar.outline.set_visible(False)
        uri = encoded(figure, "png")
    what = str(truth.attrs.get("long_name", "the field"))
    said = "Space to the right, time upwards." if line else f"Rows are leads in {clock.unit}."
    return Picture(
        "What the forecasts look like",
        uri,
        f"Pictures of {what} in the first test trajectory, on one colour scale. {said} Columns should agree with the truth at short "
        "leads; once they no longer do, single members should still look like the truth, while the ensemble mean goes smooth.",
    )


def spectra(scores: xr.Dataset) -> Picture:
    """Energy spectra at a few leads against the truth's, and their ratio."""
    named = leads(scores)
    chosen = [*list(named.items())[:2], (scores.sizes[LEAD] - 1, f"last frame, t = {scores[LEAD].values[-1]:.3g}")]
    k = scores["wavenumber"].values[1:]
    shown = main_lines(scores)
    with drawing() as plt:
        figure, axes = plt.subplots(2, len(chosen), figsize=(WIDTH, 4.4), sharex=True, sharey="row", height_ratios=[2, 1])
        for j, (index, title) in enumerate(chosen):
            truth = _spectrum(scores, shown[0].name, "energy_spectrum_truth", index)
            axes[0, j].loglog(k, truth, color=TRUTH, lw=2.6, label="truth")
            for line in shown:
                mine = _spectrum(scores, line.name, "energy_spectrum", index)
                axes[0, j].loglog(k, mine, color=line.colour, lw=1.5, label=line.label)
                axes[1, j].semilogx(k, mine / truth, color=line.colour, lw=1.5)
            axes[0, j].set_title(title)
            axes[1, j].axhline(1, color=TRUTH, lw=0.8)
            axes[1, j].set(xlabel="wavenumber", ylim=(0, 2))
            plain_log(axes[1, j].xaxis)
        axes[0, 0].set(ylabel="energy a shell", ylim=(max(float(truth.min()) / 30, 1e-14), None))
        axes[1, 0].set_ylabel("over the truth's")
        axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left", labelcolor="linecolor", handlelength=1.2)
        uri = encoded(figure)
    said = "; ".join(f"{line.label} {spectrum_error(pick(scores, line.name)):.2g}" for line in shown)
    return Picture(
        "Energy by scale",
        uri,
        "Means over trajectories, and over members of their spectra (the spectrum of an ensemble mean would be too smooth). Below 1 in the "
        f"lower row a forecast lacks energy at that scale. Error over all leads, in decades: {said}. A solver holds nothing beyond two "
        "thirds of its Nyquist wavenumber.",
    )


def budgets(scores: xr.Dataset) -> Picture:
    """Energy, enstrophy, mean flow and divergence over the whole forecast: statistics, which count beyond t* too."""
    panels = [
        ("energy", "energy"),
        ("enstrophy", "enstrophy"),
        ("mean", "error of the mean flow"),
        ("divergence", "divergence over gradient"),
    ]
    panels = [(n, t) for n, t in panels if n in ("energy", "mean") or (f"{n}_spectrum" in scores or n in scores)]
    clock, t = Clock.of(scores), scores[LEAD].values
    with drawing() as plt:
        figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.1), squeeze=False)
        for ax, (name, title) in zip(axes[0], panels, strict=True):
            for line in main_lines(scores):
                ax.plot(t / clock.period, _budget(scores, line.name, name), color=line.colour, lw=1.5, zorder=line.order, label=line.label)
            if name in ("energy", "enstrophy"):
                _truth_range(ax, scores, name, t / clock.period)
            ax.set(title=title, xlabel=f"lead ({clock.unit})", xlim=(0, t[-1] / clock.period))
            if name in ("mean", "divergence"):
                ax.set_yscale("log")
                low, high = ax.get_ylim()
                ax.set_ylim(low / 10, high * 10)
        axes[0, 0].set_ylim(0, None)
        axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left", labelcolor="linecolor", handlelength=1.2)
        uri = encoded(figure)
    return Picture(
        "Budgets over time",
        uri,
        "Means over trajectories and members; the truth in black, its range over trajectories in grey. A surrogate that drifts leaves the "
        f"grey region even where its point-by-point error has long saturated. {_divergence_said(scores)}",
    )


def _columns(scores: xr.Dataset, pictures: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    out = {"truth": pictures["truth"].isel({WHO: 0})}
    for name in names_of(scores, ENSEMBLE)[:1]:
        for who in pictures[name][WHO].values:
            out["ensemble mean" if who == "mean" else str(who)] = pictures[name].sel({WHO: who})
    for name in names_of(scores, GUESS)[:1]:
        out["guess"] = pictures[name].isel({WHO: 0})
    solver, _ = at_equal_cost(scores, scores.attrs["reference"])
    out[f"{scores['label'].sel(contender=solver).values}"] = pictures[solver].isel({WHO: 0})
    return out


def _plane(ax: Axes, field: xr.DataArray, limit: float) -> object:
    values = field.values if field.ndim == 2 else field.values[..., field.shape[-1] // 2]
    image = ax.imshow(values.T, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="bilinear")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _space_time(ax: Axes, field: xr.DataArray, clock: Clock, limit: float) -> object:
    t = field[LEAD].values / clock.period
    image = ax.imshow(field.values, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", extent=(0, 1, t[0], t[-1]))
    ax.set(xticks=[], xlabel="space")
    return image


def _spectrum(scores: xr.Dataset, name: str, variable: str, index: int) -> np.ndarray:
    return np.asarray(pick(scores, name)[variable].isel({LEAD: index}).mean(TRAJECTORY).values[1:])


def _budget(scores: xr.Dataset, name: str, what: str) -> np.ndarray:
    one = pick(scores, name)
    if what == "mean":
        error2 = ((one["mean"] - one["mean_truth"]) ** 2).sum("channel")
        return np.asarray(np.sqrt(error2.mean(TRAJECTORY).transpose(LEAD).values) + 1e-12)
    series = one["enstrophy_spectrum"].sum("wavenumber", skipna=False) if what == "enstrophy" else one[what]
    return np.asarray(series.mean(TRAJECTORY).transpose(LEAD).values)


def _truth_range(ax: Axes, scores: xr.Dataset, what: str, x: np.ndarray) -> None:
    one = pick(scores, scores.attrs["reference"])
    each = one["enstrophy_spectrum_truth"].sum("wavenumber") if what == "enstrophy" else one["energy_truth"]
    each = each.transpose(TRAJECTORY, LEAD)
    ax.fill_between(x, each.min(TRAJECTORY), each.max(TRAJECTORY), color=FAINT, alpha=0.2, lw=0, zorder=0)
    ax.plot(x, each.mean(TRAJECTORY), color=TRUTH, lw=2.2, zorder=2, label="truth")


def _divergence_said(scores: xr.Dataset) -> str:
    if "divergence" not in scores:
        return ""
    worst = {line.label: float(scores["divergence"].sel(contender=line.name).max()) for line in main_lines(scores)}
    return (
        "Largest divergence over gradient: "
        + ", ".join(f"{label} {value:.1g}" for label, value in worst.items())
        + "; float32 rounds at 1e-7."
    )
