"""The table, as Markdown and as HTML: the same rows and the same formatted cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isinf, isnan

import xarray as xr

from surrogates.bench.contenders import CLIMATOLOGY, PERSISTENCE
from surrogates.bench.summary import Clock, Interval, Row, correlation_of, leads, summarise, time_units
from surrogates.interchange import LEAD, TRAJECTORY


@dataclass(frozen=True)
class Table:
    """Heads and cells as text; `emphasised` rows are the reference and the solvers at equal cost."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: tuple[int, ...]


def tables(scores: xr.Dataset) -> tuple[Table, Table]:
    """Skill; then calibration, physics and cost."""
    rows = summarise(scores)
    emphasised = tuple(i for i, r in enumerate(rows) if r.at_cost_of or r.name == scores.attrs["reference"])
    return _skill(scores, rows, emphasised), _physics(scores, rows, emphasised)


def notes(scores: xr.Dataset) -> list[str]:
    """What the heads mean, with the numbers they stand on."""
    clock, n = Clock.of(scores), scores.sizes[TRAJECTORY]
    own = time_units(scores)
    unit = f"1 Lyapunov time = {clock.period:.3g} {own}" if clock.unit.startswith("L") else f"Leads are in {clock.unit}"
    turnover = f" = {clock.period / clock.turnover:.3g} turnover times" if clock.turnover == clock.turnover else ""
    scored = scores[LEAD].values[scores["scored"].values.astype(bool)]
    last = f"{scored[-1]:.3g} {own} ({scored[-1] / clock.period:.2g} {clock.unit})" if len(scored) else "no lead"
    named = ", ".join(f"{name}: t = {scores[LEAD].values[i]:.3g}" for i, name in leads(scores).items())
    return [
        f"{unit}{turnover}. {n} test trajectories; the nRMSE is a mean over them ({named}). Pointwise scores count up to {last}, "
        "where the forecast or the certified accuracy of the truth ends.",
        "Skill: lead at which the nRMSE reaches half of climatology's, mean over trajectories; difference to the reference with "
        "the 95 % interval of a bootstrap that resamples trajectories, the same for both. '>' marks a lower bound, some "
        "trajectories had not crossed; † a difference cut short by that.",
        f"Correlation time: lead at which the correlation of the {correlation_of(scores)} falls to .8: mean over trajectories / of their "
        "mean curve.",
        "Spread/error: range over the leads at which the mean correlation is above .8. Spectrum: root mean square of log10(E/E truth) over "
        "shells, of spectra averaged over trajectories and leads. Divergence: largest ||div u|| / ||grad u||.",
        f"Cost: median ms a frame and trajectory on one clock: one member at batch 1; one member, the {n} trajectories in one batch; and "
        "the forecast as scored, all members. Solvers at equal cost are those nearest in the last column, of the resolutions run. "
        f"Rounds of one contender differed by a factor of up to {_noise(scores):.2f}.",
    ]


def markdown(scores: xr.Dataset) -> str:
    """Both tables and their notes."""
    parts = []
    for table in tables(scores):
        lines = ["| " + " | ".join(table.heads) + " |", "| --- |" + " ---: |" * (len(table.heads) - 1)]
        for i, row in enumerate(table.rows):
            cells = [f"**{row[0]}**", *row[1:]] if i in table.emphasised else list(row)
            lines.append("| " + " | ".join(cells) + " |")
        parts += [f"### {table.title}", "\n".join(lines)]
    return "\n\n".join([*parts, "\n".join(f"- {n}" for n in notes(scores))]) + "\n"


def html(table: Table) -> str:
    """One table; the caption is its title."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in table.heads)
    body = []
    for i, row in enumerate(table.rows):
        cells = "".join(f"<td>{escape(c)}</td>" for c in row[1:])
        marked = ' class="marked"' if i in table.emphasised else ""
        body.append(f'<tr{marked}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    inside = f"<caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="table"><table>{inside}</table></div>'


def number(value: float, digits: int = 3) -> str:
    """Plain text of `digits` significant digits; a dash where there is none."""
    if isnan(value):
        return "-"
    if isinf(value):
        return "failed"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".") if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}"


def _noise(scores: xr.Dataset) -> float:
    """Slowest over fastest round, the worst of the contenders that cost something."""
    working = ~scores["kind"].isin([PERSISTENCE, CLIMATOLOGY])
    return float(scores["cost_spread"].where(working).max())


def _skill(scores: xr.Dataset, rows: Sequence[Row], emphasised: tuple[int, ...]) -> Table:
    named = leads(scores)
    heads = ("contender", *(f"nRMSE, {n}" for n in named.values()), "skill", "less the reference", "correlation time", "failed")
    cells = tuple(
        (
            _label(r),
            *(number(r.nrmse[i], 2) for i in named),
            _time(r.skill),
            _difference(r),
            _correlation(r),
            f"{r.numbers['failed']:.0f}/{r.numbers['runs']:.0f}",
        )
        for r in rows
    )
    unit = Clock.of(scores).unit
    return Table(f"Skill, times in {unit}; reference: {_reference(scores, rows)}", heads, cells, emphasised)


def _physics(scores: xr.Dataset, rows: Sequence[Row], emphasised: tuple[int, ...]) -> Table:
    named = leads(scores)
    lead = named[min([i for i in named if i > 0], default=0)]
    heads = (
        "contender",
        f"CRPS, {lead}",
        "spread/error",
        "spectrum",
        "divergence",
        "evaluations",
        "ms, batch 1",
        "ms, batch",
        "ms, forecast",
    )
    cells = tuple(
        (
            _label(r),
            number(r.numbers["crps"], 2),
            f"{r.numbers['spread_low']:.2f} to {r.numbers['spread_high']:.2f}" if r.numbers.get("spread_low", float("nan")) > 0 else "-",
            number(r.numbers["spectrum"], 2),
            number(r.numbers["divergence"], 1),
            f"{r.numbers['evaluations']:g} x {r.numbers['members']:.0f}",
            *(number(r.numbers[c]) for c in ("cost_single", "cost_batch", "cost")),
        )
        for r in rows
    )
    return Table("Calibration, physics and cost a frame and trajectory", heads, cells, emphasised)


def _reference(scores: xr.Dataset, rows: Sequence[Row]) -> str:
    return next(r.label for r in rows if r.name == scores.attrs["reference"])


def _label(row: Row) -> str:
    return f"{row.label} ({row.ratio:.2g} x the cost of the {row.at_cost_of})" if row.at_cost_of else row.label


def _time(interval: Interval) -> str:
    if isnan(interval.value):
        return "-"
    return f"{'> ' if interval.censored else ''}{interval.value:.2f}"


def _difference(row: Row) -> str:
    d = row.difference
    if row.kind == CLIMATOLOGY or isnan(d.value):
        return "-"
    return f"{d.value:+.2f} [{d.lower:+.2f}, {d.upper:+.2f}]{'†' if d.censored else ''}"


def _correlation(row: Row) -> str:
    if isnan(row.correlation.value):
        return "-"
    mean = f"{'> ' if row.numbers['correlation_of_mean_censored'] else ''}{row.numbers['correlation_of_mean']:.2f}"
    return f"{_time(row.correlation)} / {mean}"
