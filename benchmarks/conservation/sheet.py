"""The table and the picture of a long run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from physics import Series

from surrogates.bench.style import ENSEMBLES, GUESSES, ORANGES, drawing
from surrogates.forecast import open_forecast
from surrogates.interchange import TIME, domain_of, fields_of, from_xarray

if TYPE_CHECKING:
    from long import Task

COLUMNS = {
    "failed": "failed",
    "divergence": "divergence",
    "mean flow": "mean flow against its equation",
    "mean flow at the end": "mean flow at the end",
    "mass": "mass",
    "momentum": "momentum",
    "step balance": "energy balance of a step",
    "closure": "closure of the mean balance",
    "closure error": "+-",
    "energy": "energy",
    "energy error": "+-",
    "energy pdf": "energy pdf",
    "spectrum": "spectrum",
    "nrmse 1": "error at 1",
    "nrmse 10": "error at 10",
    "time to .8": "time to .8",
}


COLOURS = (*GUESSES[:2], *ENSEMBLES[:2], *ORANGES)


def write(task: Task, result: Mapping[str, Any], found: Mapping[str, Series], climate: Series, out: Path) -> None:
    """OUT/TASK.md and OUT/TASK.png."""
    rows = {"data": result["climate"], **result["rows"]}
    columns = [c for c in COLUMNS if any(c in r for r in rows.values())]
    costs = result.get("costs", {})
    head = ["run", *(COLUMNS[c] for c in columns), *(["ms a frame"] if costs else [])]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for label, r in rows.items():
        told = [_number(c, r) for c in columns] + ([f"{costs[label]:.3g}" if label in costs else ""] if costs else [])
        lines.append(f"| {label} | {' | '.join(told)} |")
    m = result["machine"]
    said = (
        f"{task.entry['frames']} frames of {task.entry['trajectories']} trajectories; {m['cpu']}, torch {m['torch']}, commit {m['commit']}."
    )
    (out / f"{task.name}.md").write_text("\n".join([*lines, "", said, ""]))
    picture(task, found, climate, out / f"{task.name}.png")


def _number(column: str, r: Mapping[str, Any]) -> str:
    if column == "failed":
        return f"{r['failed']}/{r['members']}" + (f" from {r['first failure']}" if r["first failure"] is not None else "")
    return f"{r[column]:.3g}" if r.get(column) is not None else ""


def picture(task: Task, found: Mapping[str, Series], climate: Series, path: Path) -> None:
    """What the laws hold over time, the energy and its law, the spectra, and the last frames."""
    dt = float(task.truth.attrs["dt"])
    panels = [p for p in ("divergence", "mean flow x", "mass", "momentum", "energy", "pdf", "spectrum") if p in climate or p == "pdf"]
    columns = max(len(panels), len(found) + 1)
    with drawing() as plt:
        figure, axes = plt.subplots(2, columns, figsize=(3.2 * columns, 5.6), squeeze=False, layout="constrained")
        for axis, name in zip(axes[0], panels, strict=False):
            for n, (label, series) in enumerate(found.items()):
                _panel(axis, name, series, climate, dt, label, COLOURS[n % len(COLOURS)])
            axis.set_title({"pdf": "law of the energy", "spectrum": "spectrum"}.get(name, name), loc="left", fontsize=9)
        for axis in axes[0, len(panels) :]:
            axis.set_axis_off()
        axes[0, 0].legend(fontsize=6, frameon=False)
        _states(task, found, axes[1])
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _panel(axis: Any, name: str, series: Series, climate: Series, dt: float, label: str, colour: str) -> None:
    if name == "pdf":
        low, high = (float(q) for q in climate["energy"].aminmax())
        edges = np.linspace(low - 0.5 * (high - low), high + 0.5 * (high - low), 60)
        axis.hist(series["energy"].numpy().ravel(), edges, density=True, histtype="step", color=colour)
        axis.hist(climate["energy"].numpy().ravel(), edges, density=True, color="0.85", zorder=0)
    elif name == "spectrum":
        shells = series["spectrum"].nanmean((0, 1))
        axis.loglog(shells[1:].numpy(), color=colour)
        axis.loglog(climate["spectrum"].mean((0, 1))[1:].numpy(), color="0.6", ls=":")
    else:
        time = dt * np.arange(series[name].shape[1])
        every = max(1, len(time) // 2000)
        axis.plot(time[::every], series[name].nanmean(0)[::every].numpy(), color=colour, lw=0.7, label=label)
        axis.set_xlabel("time", fontsize=8)
        if name in ("energy", "mean flow x"):  # what blows up leaves the picture
            low, high = (float(q) for q in climate[name].aminmax())
            margin = max(high - low, 0.02)
            axis.set_ylim(low - margin, high + margin)
        if name == "divergence":
            axis.set_yscale("log")


def _states(task: Task, found: Mapping[str, Series], axes: Any) -> None:
    """The first channel's last frame (vorticity where there is a plane velocity), and the truth's own last."""
    frames = {"data": task.truth.isel({TIME: [-1]})}
    for label in found:
        folder = task.out / "forecasts" / task.name / f"{label.replace(' ', '-')}.zarr"
        frames[label] = open_forecast(folder).isel({TIME: [-1]}) if folder.exists() else None
    limit = None
    for axis, (label, frame) in zip(axes, frames.items(), strict=False):
        axis.set_title(label, loc="left", fontsize=8)
        if frame is not None:
            u, domain = from_xarray(frame), domain_of(frame)
            u = next((v for v in u if bool(v.isfinite().all())), u[0])
            flat = hasattr(domain, "vorticity") and fields_of(frame).count == 2
            shown = domain.vorticity(u)[0, 0].T if flat else u[0, 0]
            limit = limit or (float(shown.min()), float(shown.max()))
            axis.imshow(shown.numpy(), origin="lower", cmap="RdBu_r" if flat else "viridis", vmin=limit[0], vmax=limit[1], aspect="auto")
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        if not axis.has_data():
            axis.set_axis_off()
