"""The table, the numbers and the picture of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.bench.style import drawing

if TYPE_CHECKING:
    from wake import Suite

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
COLUMNS = ("drag_error", "lift_error", "strouhal_error")


def write(suite: Suite, rows: Rows, truth: Sequence[float], environment: Mapping[str, Any]) -> None:
    """OUT/wake.json, OUT/wake.md and OUT/wake.png."""
    suite.out.mkdir(parents=True, exist_ok=True)
    plain = {label: [{k: v for k, v in r.items() if k != "made by"} for r in row] for label, row in rows.items()}
    told = {"suite": suite.entry, "environment": environment, "truth_seconds": list(truth), "rows": plain}
    (suite.out / "wake.json").write_text(json.dumps(told, indent=1))
    (suite.out / "wake.md").write_text(table(suite, rows, truth) + _said(suite, environment))
    picture(suite, rows)


def table(suite: Suite, rows: Rows, truth: Sequence[float]) -> str:
    """Medians over the test cases; failures are counted, and what failed has no error."""
    leads = sorted({1, max(1, suite.leads // 10), suite.leads // 2, suite.leads})
    head = ["", *(f"nRMSE velocity, lead {n}" for n in leads), "drag", "lift amplitude", "Strouhal", "failed", "core-seconds"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for label, row in rows.items():
        at = [[r["nrmse_velocity"][n - 1] for r in row if r["lasted"] >= n] for n in leads]
        errors = [[r[name] for r in row if not r["failed"]] for name in COLUMNS]
        failed = f"{sum(r['failed'] for r in row)} of {len(row)}"
        seconds = f"{np.median([r['seconds'] for r in row]):.3g}"
        lines.append(f"| {label} | {' | '.join([*map(_median, at), *(_median(e, '%') for e in errors), failed, seconds])} |")
    empty = [""] * (len(leads) + 4)
    lines.append(f"| OpenFOAM, the truth | {' | '.join([*empty, f'{np.median(list(truth)):.3g}'])} |")
    return "\n".join(lines) + "\n"


def _median(values: Sequence[float], unit: str = "") -> str:
    known = [v for v in values if np.isfinite(v)]
    if not known:
        return "-"
    return f"{100 * np.median(known):.2g} %" if unit else f"{np.median(known):.3g}"


def _said(suite: Suite, environment: Mapping[str, Any]) -> str:
    m, data = environment["machine"], suite.entry["data"]
    return (
        f"\nMedians over {len(suite.tests)} test cases of `{data['dataset']}` ({data['size']}), {suite.leads} frames of "
        f"{suite.recipe.frames.step:g} s from the first. Errors of drag (mean), lift (deviation in time) and Strouhal number are against "
        "the same formulas on the stored frames. Core-seconds: one thread, for all leads of one case; OpenFOAM's without meshing.\n\n"
        f"`{environment['command']}`, commit {environment['commit']}, {m['processor']}, {m['devices']}.\n"
    )


def picture(suite: Suite, rows: Rows) -> None:
    """Error against lead, and lift of the first test case."""
    import matplotlib.pyplot as plt

    with drawing():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        time = suite.recipe.frames.step * np.arange(1, suite.leads + 1)
        right.plot(time, next(iter(rows.values()))[0]["truth"][1], "k", lw=1, label="truth")
        for label, row in rows.items():
            length = min(len(r["nrmse_velocity"]) for r in row)
            left.plot(time[:length], np.median([r["nrmse_velocity"][:length] for r in row], 0), label=label)
            lift = row[0]["forecast"][1]
            right.plot(time[: len(lift)], lift, lw=1, label=label)
        left.set(xlabel="time [s]", ylabel="nRMSE of the velocity", yscale="log")
        right.set(xlabel="time [s]", ylabel=f"lift, case {next(iter(rows.values()))[0]['case']}")
        left.legend(fontsize=7)
        figure.savefig(suite.out / "wake.png", dpi=150)
        plt.close(figure)
