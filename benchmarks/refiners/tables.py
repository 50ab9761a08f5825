"""From the files of a comparison to what people read: table.md, scores.json with every curve, pareto.png."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from contender import slug
from contest import short, stored
from verdicts import MARGIN, equivalence

if TYPE_CHECKING:
    from contest import Plan

Row = dict[str, Any]
NUMBERS = ("energy score", "crps", "nrmse", "time", "member time", "spread-skill", "spectrum error")
FEW = 4  # evaluations that are to be as good as the most


def write(out: Path, plans: list[Plan], failed: Mapping[str, str]) -> None:
    """table.md, scores.json and pareto.png from the files of `out`; tasks without a finished run are left out."""
    everything = {plan.task: found for plan in plans if (found := collect(out, plan))["rows"]}
    texts = [section(plan, everything[plan.task]) for plan in plans if plan.task in everything]
    if failed:
        texts.append("\n".join(["## Left out or failed", "", *(f"- {name}: {reason}" for name, reason in failed.items()), ""]))
    text = "\n".join(texts)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(short(everything)))
    if everything:
        from pareto import picture

        picture(out, everything)
    print(text)


def collect(out: Path, plan: Plan) -> dict[str, list[Row]]:
    """Rows of contenders and budgets, means over seeds; references; verdicts; long rollouts; known laws."""
    costs = _read(out / f"costs-{slug(plan.task)}.json").get("rows", {})
    found: dict[str, list[Row]] = {"rows": [], "references": [], "equivalence": [], "long": [], "law": []}
    for label in plan.contenders:
        done = [r for run in plan.finals(out, label) if (r := stored(out, run)) is not None]
        if not done:
            continue
        about = {"contender": label, "family": plan.families[label], "seeds": len(done), "machine": done[0]["machine"]}
        about |= {"parameters": done[0]["parameters"], "train seconds": mean(r["train seconds"] for r in done)}
        about["lr"] = done[0]["run"]["training"]["lr"]
        for n in sorted(map(int, done[0]["results"])):
            here = [r["results"][str(n)] for r in done]
            row = about | {"evaluations": n, "ms": costs.get(label, {}).get(str(n), math.nan)}
            found["rows"].append(row | summarise(here))
            found["long"] += [row | over_seeds([h["long"] for h in here])] if "long" in here[0] else []
            for lead in range(len(here[0].get("law", ()))):
                found["law"].append(row | over_seeds([h["law"][lead] for h in here]) | {"ratios": [h["law"][lead]["ratio"] for h in here]})
        found["equivalence"] += verdict(label, done)
    for label, scores in _read(out / f"baselines-{slug(plan.task)}.json").get("rows", {}).items():
        found["references"].append({"contender": label, "ms": costs.get(label, {}).get("0", math.nan)} | summarise([scores]))
    for label, laws in _read(out / f"baselines-{slug(plan.task)}.json").get("laws", {}).items():
        found["law"] += [{"contender": label, "reference": True, "ratios": [told["ratio"]]} | told for told in laws]
    return found


def summarise(scores: Sequence[Mapping[str, Any]]) -> Row:
    """Means over seeds, the least and greatest energy score, and failures counted."""
    energies = [s["energy score"] for s in scores]
    totals = {"failed": sum(s["failed"] for s in scores), "rollouts": sum(s["rollouts"] for s in scores)}
    totals |= {"censored": sum(s["censored"] for s in scores), "range": (min(energies), max(energies))}
    curves = {k: over_seeds([s["curves"] for s in scores])[k] for k in scores[0]["curves"]}
    spectra = over_seeds([{k: s[k] for k in ("spectrum", "spectrum of the truth")} for s in scores])
    return {k: mean(s[k] for s in scores) for k in NUMBERS} | totals | spectra | {"curves": curves}


def over_seeds(values: Sequence[Mapping[str, Any]]) -> Row:
    """The mean of every number and of every list of numbers; sums of counts; the rest as in the first."""
    out: Row = dict(values[0])
    for key, first in values[0].items():
        every = [v[key] for v in values]
        if key in ("failed", "rollouts"):
            out[key] = sum(every)
        elif isinstance(first, float):
            out[key] = mean(every)
        elif isinstance(first, list) and first and isinstance(first[0], float):
            out[key] = [mean(column) for column in zip(*every, strict=True)]
    return out


def verdict(label: str, done: Sequence[Mapping[str, Any]]) -> list[Row]:
    """At most `FEW` evaluations against the most; none for contenders that have one budget."""
    budgets = sorted(int(n) for n in done[0]["results"])
    few = max((n for n in budgets if n <= FEW), default=0)
    if not few or few == budgets[-1]:
        return []
    scores = {n: [mean(column) for column in zip(*(r["results"][str(n)]["energy scores"] for r in done), strict=True)] for n in budgets}
    found = equivalence(scores[few], scores[budgets[-1]])
    numbers = {"ratio": found.ratio, "lower": found.lower, "upper": found.upper, "trajectories": found.trajectories}
    return [{"contender": label, "few": few, "many": budgets[-1], "seeds": len(done), "verdict": found.word} | numbers]


def section(plan: Plan, found: Mapping[str, list[Row]]) -> str:
    """The Markdown of one task."""
    machine, settings = found["rows"][0]["machine"], plan.judge
    about = f"{settings['trajectories']} test trajectories, {settings['members']} members, {settings['leads']} frames; "
    about += f"skill over the first {settings['window']}. {plan.steps} steps of {plan.data['batch']} windows; "
    about += f"rates {', '.join(f'{v:g}' for v in plan.rates)}, each tried for {plan.scan:g} of the steps with one seed. "
    about += f"{machine.get('cpu', '')}, torch {machine.get('torch', '')}, commit {machine.get('commit', '')}."
    parts = [f"## {plan.task}", about, scores_table(found)]
    if found["law"]:
        parts += ["### Against the known law", law_table(found["law"])]
    if found["equivalence"]:
        parts += [
            f"### Few evaluations against the most (fair energy score, margin {100 * MARGIN:g} %)",
            verdict_table(found["equivalence"]),
        ]
    if found["long"]:
        parts += ["### Long rollouts", long_table(found["long"])]
    return "\n\n".join(parts) + "\n"


def scores_table(found: Mapping[str, list[Row]]) -> str:
    climate = next((r["energy score"] for r in found["references"] if r["contender"] == "climate"), math.nan)
    head = ["contender", "evaluations", "energy score", "of seeds", "of climate's", "CRPS", "time to .8", "of a member", "spread-skill"]
    head += ["spectrum error", "failed", "ms a frame and member", "training s", "lr", "parameters"]
    lines = []
    for r in [*found["rows"], *found["references"]]:
        trained = "evaluations" in r
        spread = "{}: {:.3g} to {:.3g}".format(r["seeds"], *r["range"]) if trained else ""
        time = number(r["time"]) + ("+" if r["censored"] else "")
        cells = [r["contender"], r.get("evaluations", ""), number(r["energy score"]), spread, number(r["energy score"] / climate)]
        cells += [number(r["crps"]), time, number(r["member time"]), number(r["spread-skill"]), number(r["spectrum error"])]
        cells += [f"{r['failed']}/{r['rollouts']}", number(r["ms"]), number(r.get("train seconds", math.nan)), r.get("lr", "")]
        lines.append([*cells, r.get("parameters", "")])
    return markdown(head, lines)


def law_table(rows: Sequence[Row]) -> str:
    head = ["contender", "evaluations", "lead", "energy distance over floor", "of seeds", "95 % over states", "relative distance"]
    head += ["variance", "variance spectrum error"]
    lines = []
    for r in rows:
        spread = f"{r['seeds']}: {min(r['ratios']):.3g} to {max(r['ratios']):.3g}" if "seeds" in r else ""
        interval = "{:.3g} to {:.3g}".format(*r["interval"])
        cells = [r["contender"], r.get("evaluations", ""), r["lead"], number(r["ratio"]), spread, interval, number(r["relative"])]
        lines.append([*cells, number(r["variance"]), number(r["variance spectrum error"])])
    return markdown(head, lines)


def verdict_table(rows: Sequence[Row]) -> str:
    head = ["contender", "evaluations", "ratio", "90 % interval", "trajectories", "seeds", "verdict"]
    lines = []
    for r in rows:
        cells = [r["contender"], f"{r['few']} against {r['many']}", f"{r['ratio']:.4g}", f"{r['lower']:.4g} to {r['upper']:.4g}"]
        lines.append([*cells, r["trajectories"], r["seeds"], r["verdict"]])
    return markdown(head, lines)


def long_table(rows: Sequence[Row]) -> str:
    head = ["contender", "evaluations", "frames", "failed", "energy, last quarter over truth", "over the first quarter"]
    head += ["spectrum error, last quarter", "all shells"]
    lines = []
    for r in rows:
        cells = [r["contender"], r["evaluations"], r["frames"], f"{r['failed']}/{r['rollouts']}", number(r["energy"][-1])]
        lines.append([*cells, number(r["drift"]), number(r["spectrum error"]), number(r["distance"])])
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    rows = [list(head), ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def number(value: float) -> str:
    if math.isnan(value):
        return ""
    return "inf" if math.isinf(value) else f"{value:.3g}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
