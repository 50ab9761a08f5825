"""From the files of a comparison to what people read: table.md, scores.json with every curve, and a picture of error against cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from compare import best_rate, stored

if TYPE_CHECKING:
    from compare import Plan

Row = dict[str, Any]
LEADS = (1, 20, 100)


def write(out: Path, plans: list[Plan], failed: list[str]) -> None:
    """table.md, scores.json and table.png from the files of `out`; tasks without a finished run are left out."""
    tables, everything = [], {}
    for plan in plans:
        rows = collect(out, plan)
        if rows:
            everything[plan.task] = rows
            tables.append(table(out, plan, rows))
    text = "\n".join([*tables, *(["## Failed runs", "", *(f"- {line}" for line in failed), ""] if failed else [])])
    (out / "table.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(everything))
    if everything:
        picture(out, plans, everything)
    print(text)


def collect(out: Path, plan: Plan) -> list[Row]:
    """One row a network that has results, one a baseline, for each test case; the least error first."""
    costs = _read(out / f"costs-{plan.task}.json").get("rows", {})
    rows: list[Row] = []
    for label in plan.networks:
        lr = best_rate(out, plan, label)
        results = [] if lr is None else [stored(out, run) for run in plan.finals(label, lr)]
        done = [r for r in results if r is not None]
        if not done:
            continue
        for case in done[0]["scores"]:
            scores = [r["scores"][case] for r in done]
            about = {"network": label, "case": case, "lr": lr, "seeds": len(done), "parameters": done[0]["parameters"]}
            rows.append(about | summarise(scores) | costs.get(label, {}) | {"machine": done[0]["machine"]})
    for name, entry in _read(out / f"baselines-{plan.task}.json").get("rows", {}).items():
        for case, scores in entry["scores"].items():
            rows.append({"network": name, "case": case, "baseline": True} | summarise([scores]))
    return sorted(rows, key=lambda row: (row["case"], row["summary"]))


def summarise(scores: list[Mapping[str, Any]]) -> Row:
    """The mean over seeds, and the least and greatest summary; a seed that failed makes its errors infinite."""
    curves = [s["nrmse"] for s in scores]
    leads = [n for n in (*LEADS, len(curves[0])) if n <= len(curves[0])]
    each = [s["summary"] if math.isfinite(s["summary"]) else math.inf for s in scores]
    return {
        "error": {n: mean(c[n - 1] for c in curves) for n in dict.fromkeys(leads)},
        "summary": mean(each),
        "range": (min(each), max(each)),
        "time": mean(s["time"] for s in scores),
        "failed": f"{sum(s['failed'] for s in scores)}/{sum(s['rows'] for s in scores)}",
        "curve": [mean(column) for column in zip(*curves, strict=True)],
    }


def table(out: Path, plan: Plan, rows: list[Row]) -> str:
    """Markdown, one table a test case."""
    parts = []
    machine = next((r["machine"] for r in rows if "machine" in r), {})
    batch = _read(out / f"costs-{plan.task}.json").get("batch", "")
    for case in dict.fromkeys(r["case"] for r in rows):
        here = [r for r in rows if r["case"] == case]
        leads = list(here[0]["error"])
        head = ["network", "parameters", "MFLOP", *(f"error at {n}" for n in leads), "mean error", "of seeds", "time to .8", "failed"]
        head += ["lr", "ms a step", f"ms a step of {batch}", "ms a training step", "MB"]
        lines = [head, ["---"] * len(head)]
        for r in here:
            errors = [_number(r["error"][n]) for n in leads]
            spread = "" if r.get("baseline") else "{}: {:.3g} to {:.3g}".format(r["seeds"], *r["range"])
            cells = [r["network"], r.get("parameters", ""), _number(r.get("flops", math.nan) / 1e6), *errors, _number(r["summary"])]
            cells += [spread, _number(r["time"]), r["failed"], r.get("lr", "")]
            cells += [_number(r.get(k, math.nan)) for k in ("step ms", "batch step ms", "train ms", "memory MB")]
            lines.append([str(c) for c in cells])
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {plan.task}: {case}\n\n{body}\n")
    steps = f"{plan.steps} steps; rates {', '.join(f'{v:g}' for v in plan.rates)}, each tried for {plan.scan:g} of the steps with one seed"
    about = f"{machine.get('cpu', '')}, torch {machine.get('torch', '')}, commit {machine.get('commit', '')}"
    return "\n".join([*parts, f"{steps}. {about}.\n"])


def picture(out: Path, plans: list[Plan], everything: Mapping[str, list[Row]]) -> None:
    """Error against the cost of a training step, one panel a task, networks named at the right with a line to their point."""
    import matplotlib

    from surrogates.bench.axes import label_ends, plain_log

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    tasks = [p.task for p in plans if any("train ms" in r for r in everything.get(p.task, ()))]
    if not tasks:
        return
    figure, axes = plt.subplots(1, len(tasks), figsize=(5.6 * len(tasks), 5.6), layout="constrained", squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        case = everything[task][0]["case"]
        shown = [r for r in everything[task] if r["case"] == case and "train ms" in r and math.isfinite(r["summary"])]
        for r in shown:
            ax.plot(r["train ms"], r["summary"], "o", color="#0072b2", ms=4)
            ax.vlines(r["train ms"], *r["range"], color="#0072b2", lw=0.8)
        ax.set(xscale="log", yscale="log", xlabel="ms a training step", title=task)
        for axis in (ax.xaxis, ax.yaxis):
            plain_log(axis)
        ax.spines[["top", "right"]].set_visible(False)
        figure.draw_without_rendering()
        label_ends(ax, [(r["train ms"], r["summary"], r["network"], "#5b5b5b") for r in shown], gap=0.042)
    axes[0][0].set_ylabel("nRMSE, geometric mean over 100 leads")
    figure.savefig(out / "table.png", dpi=140, metadata={"Software": None})
    plt.close(figure)


def _number(value: float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return "inf" if math.isinf(value) else f"{value:.3g}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
