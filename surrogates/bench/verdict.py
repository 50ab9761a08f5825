"""The summary in three sentences, made from the numbers: how far the forecast goes, who wins at what cost, whether it is calibrated."""

from __future__ import annotations

import xarray as xr

from surrogates.bench.contenders import GUESS, PERSISTENCE, SOLVER
from surrogates.bench.summary import Clock, Interval, Row, gain, summarise
from surrogates.interchange import TRAJECTORY

CALIBRATED = (0.8, 1.25)


def verdict(scores: xr.Dataset) -> tuple[str, str, str]:
    """Skill, cost against the classical solver, calibration and laws."""
    rows = summarise(scores)
    by_name = {r.name: r for r in rows if not r.at_cost_of}
    return _skill(scores, by_name), classical(scores, rows), _trust(by_name[scores.attrs["reference"]])


def classical(scores: xr.Dataset, rows: list[Row]) -> str:
    """Who wins, the reference contender or the classical solver, in accuracy and in cost."""
    me = next(r for r in rows if r.name == scores.attrs["reference"])
    solvers = [r for r in rows if r.kind == SOLVER and not r.at_cost_of]
    unit = Clock.of(scores).unit
    cheaper = [s for s in solvers if s.numbers["cost"] <= me.numbers["cost"] and s.difference.lower > 0]
    if cheaper:
        best = min(cheaper, key=lambda s: s.numbers["cost"])
        return (
            f"The classical solver wins: the {grid(best)} spectral solver is more accurate ({amount(best.skill)} against "
            f"{amount(me.skill)} {unit}) at {times_lower(me.numbers['cost'] / best.numbers['cost'])} cost than the {me.label}"
            f"{_and_finest(solvers, best, me)}."
        )
    equal = next(r for r in rows if r.at_cost_of == me.label)
    difference = gain(scores, me.name, equal.name)
    at = "At equal cost" if 0.7 < equal.ratio < 1.4 else "At the nearest cost that was run"
    what = f"the {grid(equal)} spectral solver, the nearest to it in cost ({equal.ratio:.2g} times)"
    both = f"({amount(me.skill)} against {amount(equal.skill)} {unit})"
    if difference.lower > 0:
        return f"{at} the {me.label} wins: it is more accurate than {what} {both}."
    if difference.upper < 0:
        return f"{at} the classical solver wins: {what}, is more accurate than the {me.label} {both}."
    tie = f"the {me.label} and {what}, cannot be told apart {both} with {scores.sizes[TRAJECTORY]} trajectories"
    as_good = [s for s in solvers if s.numbers["cost"] < 0.9 * me.numbers["cost"] and s.difference.upper >= 0]
    if not as_good:
        return f"{at} nobody wins: {tie}."
    best = min(as_good, key=lambda s: s.numbers["cost"])
    return (
        f"The classical solver is the cheaper way to the same accuracy: {tie}; already the {grid(best)} solver is as "
        f"good within that uncertainty, at {times_lower(me.numbers['cost'] / best.numbers['cost'])} cost."
    )


def grid(solver: Row) -> str:
    size = solver.label.removeprefix("solver ")
    return f"{size}-point" if size.isdecimal() else size


def amount(interval: Interval) -> str:
    """The number, marked as a lower bound where a trajectory was censored."""
    return f"{'at least ' if interval.censored else ''}{interval.value:#.2g}"


def times_lower(ratio: float) -> str:
    return f"{float(f'{ratio:.2g}'):.0f} times lower" if ratio >= 10 else f"{ratio:.2g} times lower" if ratio >= 1.05 else "the same"


def _skill(scores: xr.Dataset, rows: dict[str, Row]) -> str:
    me, unit = rows[scores.attrs["reference"]], Clock.of(scores).unit
    others = [(r.label, r.skill) for r in rows.values() if r.kind in (GUESS, PERSISTENCE) and r.name != me.name]
    against = " and ".join(
        f"{amount(skill)} for the {label}" if "guess" in label else f"{amount(skill)} for {label}" for label, skill in others
    )
    ensemble = f" of {me.numbers['members']:.0f} members" if me.numbers["members"] > 1 else ""
    return (
        f"Over {scores.sizes[TRAJECTORY]} held-out trajectories the {me.label}{ensemble} keeps its error below half of climatology's for "
        f"{amount(me.skill)} {unit} (95 % interval of the mean {me.skill.lower:#.2g} to {me.skill.upper:#.2g})"
        + (f", against {against}." if against else ".")
    )


def _trust(me: Row) -> str:
    n = me.numbers
    parts = []
    if "spread_low" in n:
        low, high = n["spread_low"], n["spread_high"]
        judged = (
            "calibrated" if CALIBRATED[0] <= low and high <= CALIBRATED[1]
            else "too narrow" if high < 1 else "too wide" if low > 1 else "not calibrated at every lead"
        )  # fmt: skip
        parts.append(
            f"while its mean correlates above .8 its spread is {low:.2f} to {high:.2f} times its error (1 is right: it is {judged})"
        )
    if n["divergence"] == n["divergence"]:
        parts.append(f"its divergence is at most {n['divergence']:.1g} of its gradient")
    parts.append(f"{n['failed']:.0f} of its {n['runs']:.0f} runs failed")
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _and_finest(solvers: list[Row], best: Row, me: Row) -> str:
    affordable = [s for s in solvers if s.numbers["cost"] <= me.numbers["cost"]]
    finest = max(affordable, key=lambda s: s.skill.value)
    if finest.name == best.name or finest.skill.value <= best.skill.value:
        return ""
    return f"; for the whole cost of the {me.label} the {grid(finest)} solver is to be had, good for {amount(finest.skill)}"
