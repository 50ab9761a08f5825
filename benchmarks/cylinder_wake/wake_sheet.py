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


def write(suite: Suite, rows: Rows, environment: Mapping[str, Any]) -> None:
    """OUT/wake.json, OUT/wake.md and OUT/wake.png."""
    suite.out.mkdir(parents=True, exist_ok=True)
    plain = {label: [{k: v for k, v in r.items() if k != "made by"} for r in row] for label, row in rows.items()}
    told = {"suite": suite.entry, "environment": environment, "certificate": dict(suite.certificate), "rows": plain}
    (suite.out / "wake.json").write_text(json.dumps(told) + "\n")
    (suite.out / "wake.md").write_text(table(rows, suite.leads, suite.pointwise) + _said(suite, environment))
    picture(suite, rows)


def table(rows: Rows, count: int, pointwise: int) -> str:
    """Medians over all cases of a row: one that failed has an infinite error, a frequency that is missing one of 100 %.

    `count` leads were forecast; pointwise errors are told at some leads up to `pointwise`, and there.
    """
    leads = sorted(n for n in {1, max(1, count // 10), max(1, count // 2), count, pointwise} if 1 <= n <= pointwise)
    head = ["", *(f"nRMSE velocity, lead {n}" for n in leads), "drag", "lift amplitude", "Strouhal", "sheds", "failed", "core-seconds"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for label, row in rows.items():
        at = [[error_at(r, n) for r in row] for n in leads]
        errors = [[e for r in row if (e := error_of(r, name)) is not None] for name in COLUMNS]
        truly = [r for r in row if np.isfinite(r["strouhal_truth"])]
        sheds = f"{sum(bool(np.isfinite(r['strouhal'])) and not r['failed'] for r in truly)} of {len(truly)}"
        failed = f"{sum(r['failed'] for r in row)} of {len(row)}"
        seconds = f"{np.median([r['seconds'] for r in row]):.3g}"
        lines.append(f"| {label} | {' | '.join([*map(_median, at), *(_median(e, '%') for e in errors), sheds, failed, seconds])} |")
    return "\n".join(lines) + "\n"


def error_at(row: Mapping[str, Any], lead: int) -> float:
    """Of the velocity; infinite where the forecast had failed by then."""
    return float(row["nrmse_velocity"][lead - 1]) if row["lasted"] >= lead else float("inf")


def error_of(row: Mapping[str, Any], name: str) -> float | None:
    """Infinite for a forecast that failed; 1 for a frequency that is missing where the truth has one; None where the truth has none."""
    if name == "strouhal_error" and not np.isfinite(row["strouhal_truth"]):
        return None
    if row["failed"]:
        return float("inf")
    return float(row[name]) if np.isfinite(row[name]) else 1.0


def _median(values: Sequence[float], unit: str = "") -> str:
    if not values:
        return "-"
    middle = float(np.median(values))
    if not np.isfinite(middle):
        return "failed"
    return f"{100 * middle:.2g} %" if unit else f"{middle:.3g}"


def _said(suite: Suite, environment: Mapping[str, Any]) -> str:
    m, data = environment["machine"], suite.entry["data"]
    c = suite.certificate
    until = (
        f"t* = {c['scored_time']:g} s (case {c['case']}, half the Courant number and half the edges): pointwise errors are told so far"
        if c
        else "No t* is known of these data (`surrogates.data.cases.certify` finds it): how far pointwise errors mean anything is open"
    )
    return (
        f"\nMedians over {len(suite.tests)} test cases of `{data['dataset']}` ({data['size']}), {suite.leads} frames of "
        f"{suite.recipe.frames.step:g} s after frame {suite.history - 1}; a failed forecast counts as infinitely wrong, a frequency that "
        "is missing as 100 % off. Errors of drag (mean), lift (deviation in time) and Strouhal number: surrogate and truth both by cells, "
        f"a run of OpenFOAM and the truth both by OpenFOAM on their own meshes. {until}. Core-seconds: one thread, for all leads of one "
        "case, on the machine below; OpenFOAM's without meshing, the truth's of one case.\n\n"
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
            middle = np.median([[error_at(r, n) for n in range(1, suite.leads + 1)] for r in row], 0)
            left.plot(time, np.where(np.isfinite(middle), middle, np.nan), label=label)
            lift = row[0]["forecast"][1]
            right.plot(time[: len(lift)], lift, lw=1, label=label)
        if suite.certificate:
            left.axvline(suite.certificate["scored_time"], color="0.5", lw=1, ls=":", label="t*")
        left.set(xlabel="time [s]", ylabel="nRMSE of the velocity", yscale="log")
        right.set(xlabel="time [s]", ylabel=f"lift, case {next(iter(rows.values()))[0]['case']}")
        left.legend(fontsize=7)
        figure.savefig(suite.out / "wake.png", dpi=150)
        plt.close(figure)
