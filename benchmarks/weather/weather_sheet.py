"""The table, the numbers and the picture of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.bench.style import FAINT, GUESSES, ORANGES, drawing

if TYPE_CHECKING:
    from weather import Task

SURROGATE = "surrogate"
Rows = Mapping[str, Mapping[str, Any]]


def write(task: Task, rows: Rows) -> None:
    """OUT/TASK.json, OUT/TASK.md and OUT/TASK.png; each row says from which commit and machine it is."""
    windows = task.windows
    hours = [windows.dt * (n + 1) * _hours(task) for n in range(task.entry["leads"])]
    told = {label: {k: v for k, v in row.items() if k not in ("made by", "last")} for label, row in rows.items()}
    about = {"starts": len(windows), "lead hours": hours, "fields": list(windows.fields.names), "units": _units(task)}
    path = task.out / f"{task.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": task.entry, **about, "rows": told}, indent=1))
    (task.out / f"{task.name}.md").write_text(table(task, rows, hours) + _said(task, rows))
    picture(task, rows, hours, task.out / f"{task.name}.png")


def table(task: Task, rows: Rows, hours: list[float]) -> str:
    """One block a field: RMSE and ACC at the first, the middle and the last lead; surrogates as mean and deviation over their seeds."""
    at = sorted({0, len(hours) // 2, len(hours) - 1})
    labels = [*(label for label in rows if not label.startswith(SURROGATE)), SURROGATE]
    out = []
    for name, units in zip(task.windows.fields.names, _units(task), strict=True):
        head = [f"{name} [{units}]", *(f"RMSE {hours[n]:g} h" for n in at), *(f"ACC {hours[n]:g} h" for n in at), "ms a forecast"]
        out += [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
        for label in labels:
            mine = [r for key, r in rows.items() if key == label or (label == SURROGATE and key.startswith(SURROGATE))]
            numbers = [_told([r["rmse"][name][n] for r in mine], 3) for n in at] + [_told([r["acc"][name][n] for r in mine], 3) for n in at]
            out.append(f"| {label} | {' | '.join(numbers)} | {_told([1e3 * r['seconds a forecast'] for r in mine], 2)} |")
        out.append("")
    return "\n".join(out)


def _told(values: list[float], digits: int) -> str:
    if not all(np.isfinite(values)):
        return "failed" if len(values) == 1 else f"failed in {sum(not np.isfinite(v) for v in values)} of {len(values)}"
    return f"{mean(values):.{digits}g}" + (f" +- {stdev(values):.1g}" if len(values) > 1 else "")


def _said(task: Task, rows: Rows) -> str:
    """What was compared, and where each row is from: rows are kept, so that they may come from several commits and machines."""
    seeds = len(task.entry["seeds"])
    mean_of = "each hour of the day, of the training frames" if task.entry.get("climatology") else "all training frames"
    origins: dict[str, list[str]] = {}
    for label, row in rows.items():
        machine, threads, versions = row["machine"], row["threads"], row["versions"]
        where = f"{machine['processor']}, {threads['torch']} threads, torch {versions['torch']}, commit {row['commit']}"
        origins.setdefault(where, []).append(label)
    told = "; ".join(where if len(origins) == 1 else f"{', '.join(labels)}: {where}" for where, labels in origins.items())
    return (
        f"\n{len(task.windows)} starts of the test split, {seeds} training seeds (mean +- deviation). By area; ACC against the mean of "
        f"{mean_of}. Times beside other work: {told}.\n"
    )


def _units(task: Task) -> list[str]:
    return [f.units for f in task.windows.fields]


def _hours(task: Task) -> float:
    """Hours in the unit of the times: of dates as they say, else seconds."""
    from surrogates.data.files import open_dataset

    units = str(open_dataset(task.entry["data"]["dataset"], "test", size=task.entry["data"]["size"])["time"].attrs["units"])
    return {"hour": 1.0, "day": 24.0}.get(units.split()[0].rstrip("s"), 1 / 3600)


def picture(task: Task, rows: Rows, hours: list[float], path: Path) -> None:
    """RMSE and ACC by lead for every field; below, the first channel at the last lead from the first start."""
    fields = task.windows.fields
    with drawing() as plt:
        columns = max(len(fields.names), 3)
        figure, axes = plt.subplots(3, columns, figsize=(3.4 * columns, 8), squeeze=False, layout="constrained")
        for axis, name, units in zip(axes[0], fields.names, _units(task), strict=False):
            _curves(axis, rows, hours, "rmse", name)
            axis.set_title(f"{name}: RMSE [{units}]", loc="left", fontsize=9)
        for axis, name in zip(axes[1], fields.names, strict=False):
            _curves(axis, rows, hours, "acc", name)
            axis.set_title(f"{name}: ACC", loc="left", fontsize=9)
            axis.set_ylim(-0.1, 1.02)
            axis.set_xlabel("lead [h]")
        axes[0, 0].legend(fontsize=7, frameon=False)
        _maps(task, rows, axes[2], figure)
        for axis in axes.flat:
            if not axis.has_data():
                axis.set_axis_off()
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _curves(axis: Any, rows: Rows, hours: list[float], what: str, name: str) -> None:
    plain = {"persistence": (FAINT, "-"), "climatology": (FAINT, ":")}
    solvers = [label for label in rows if label not in plain and not label.startswith(SURROGATE)]
    for label, row in rows.items():
        first = label.startswith(SURROGATE) and label == next(k for k in rows if k.startswith(SURROGATE))
        colour, dashes = plain.get(label, (GUESSES[0], "-"))
        if label in solvers:
            colour, dashes = ORANGES[solvers.index(label) % len(ORANGES)], ("-", "--", ":")[solvers.index(label) % 3]
        shown = label if not label.startswith(SURROGATE) else SURROGATE if first else None
        values = np.asarray(row[what][name])
        if what == "acc" and label == "climatology":
            continue  # its anomaly is zero, so that it has no correlation
        axis.plot(hours, np.where(np.isfinite(values), values, np.nan), color=colour, ls=dashes, lw=1.4, label=shown)


def _maps(task: Task, rows: Rows, axes: Any, figure: Any) -> None:
    windows, label = task.windows, next(k for k in rows if k.startswith(SURROGATE))
    truth, made = windows.batch([0]).future[0, -1, 0].numpy(), np.asarray(rows[label]["last"])[0]
    wet = np.ones(truth.shape, bool) if windows.domain.mask is None else windows.domain.mask.numpy()
    truth, made = (np.where(wet, u, np.nan) for u in (truth, made))
    low, high = np.nanmin(truth), np.nanmax(truth)
    limit = np.nanmax(np.abs(made - truth))
    top = bool(windows.domain.coordinate(0)[0] > windows.domain.coordinate(0)[-1])
    for axis, u, title, how in (
        (axes[0], truth, "truth, last lead", {"vmin": low, "vmax": high}),
        (axes[1], made, label, {"vmin": low, "vmax": high}),
        (axes[2], made - truth, "difference", {"vmin": -limit, "vmax": limit, "cmap": "RdBu_r"}),
    ):
        shown = axis.imshow(u, origin="upper" if top else "lower", aspect="auto", **how)
        axis.set_title(f"{windows.fields.channels[0]}: {title}", loc="left", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        figure.colorbar(shown, ax=axis, shrink=0.8)
