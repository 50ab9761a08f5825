"""The table says what the scores say, and the verdict what the table says."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from bench.tiny import Made

from surrogates.bench import markdown, summarise, verdict
from surrogates.bench.axes import spread
from surrogates.bench.summary import Clock, at_equal_cost, leads, names_of
from surrogates.bench.tables import notes, number, tables
from surrogates.bench.verdict import classical, times_lower


def cells(scores: xr.Dataset, table: int) -> dict[str, dict[str, str]]:
    """Row label -> head -> cell, read back from the Markdown; the first row of a label."""
    block = [line for line in markdown(scores).split("### ")[1 + table].splitlines() if line.startswith("|")]
    heads = [h.strip() for h in block[0].strip("|").split("|")]
    rows = [[c.strip().strip("*") for c in line.strip("|").split("|")] for line in block[2:]]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in reversed(rows)}


def test_the_table_holds_the_numbers_of_the_scores(made: Made) -> None:
    scores, skill, physics = made.scores, cells(made.scores, 0), cells(made.scores, 1)
    labels = dict(zip(scores["contender"].values.tolist(), scores["label"].values.tolist(), strict=True))
    for name, label in labels.items():
        one = scores.sel(contender=name)
        for index, lead in leads(scores).items():
            value = float(one["nrmse_field"].isel(lead_time=index, field=0).mean())
            assert skill[label][f"nRMSE, {lead}"] == number(value, 2)
        for head, variable in (("ms, batch 1", "cost_single"), ("ms, batch", "cost_batch"), ("ms, forecast", "cost")):
            assert float(physics[label][head]) == pytest.approx(float(one[variable]), rel=0.01, abs=1e-3)
        assert physics[label]["evaluations"] == f"{float(one['evaluations']):g} x {int(one['members'])}"
        if name != "climatology":
            mean = float(one["half_climatology_time"].mean()) / 4.0
            assert float(skill[label]["skill"].lstrip("> ")) == pytest.approx(mean, abs=0.006)
            assert skill[label]["skill"].startswith(">") == bool(one["half_climatology_censored"].any())
    times = scores["half_climatology_time"]
    difference = float((times.sel(contender="solver-16") - times.sel(contender="mine")).mean())
    assert float(skill["solver 16"]["less the reference"].split()[0]) == pytest.approx(difference / 4.0, abs=0.006)


def test_what_is_censored_is_marked(made: Made) -> None:
    crossed = skilled(made.scores, mine=4, solver_16=3, solver_24=5)
    crossed["half_climatology_censored"].loc[{"contender": "solver-24", "trajectory": 1}] = True
    table = cells(crossed, 0)
    assert table["solver 16"]["skill"] == "0.75" and table["solver 16"]["less the reference"] == "-0.25 [-0.25, -0.25]"
    assert table["solver 24"]["skill"] == "> 1.25" and table["solver 24"]["less the reference"] == "+0.25 [+0.25, +0.25]†"


def test_leads_are_named_in_lyapunov_times_and_stay_within_what_is_scored(made: Made) -> None:
    named = leads(made.scores)
    assert list(named.values()) == ["1 frame", "1 Lyapunov time", "2 Lyapunov times"]
    assert [float(made.scores["lead_time"][i]) for i in named] == [0.5, 4.0, 8.0]
    short = made.scores.assign_coords(scored=made.scores["lead_time"] <= 5)
    assert list(leads(short).values()) == ["1 frame", "1 Lyapunov time"]
    plain = made.scores.drop_attrs().assign_attrs(reference="mine")
    assert Clock.of(plain).unit == "time units" and list(leads(plain).values())[1] == "1 time unit"


def test_leads_of_dates_are_named_in_days_or_hours(made: Made) -> None:
    def every(step: float, unit: str) -> xr.Dataset:
        plain = made.scores.drop_attrs().assign_attrs(reference="mine")
        return plain.assign_coords(lead_time=("lead_time", step / 0.5 * plain["lead_time"].values, {"units": unit}))

    days = every(12, "hours")
    assert [(c.unit, c.period) for c in map(Clock.of, (days, every(12 * 3600, "seconds")))] == [("days", 24), ("days", 86400)]
    assert list(leads(days).values()) == ["1 frame", "1 day", "2 days", "4 days"]
    assert [Clock.of(every(*e)).unit for e in ((0.5, "hours"), (0.1, "seconds"), (0.1, "s"))] == ["hours", "seconds", "s"]
    assert "Leads are in days" in notes(days)[0] and "hours (" in notes(days)[0]


def test_rows_repeat_the_solver_at_equal_cost(made: Made) -> None:
    scores = priced(made.scores, mine=10.0, guess=1.0, solvers=(0.5, 4.0, 12.0))
    assert at_equal_cost(scores, "mine") == ("solver-64", pytest.approx(1.2))
    assert at_equal_cost(scores, "mine-guess") == ("solver-16", pytest.approx(0.5))
    rows = summarise(scores)
    assert [(r.name, r.at_cost_of) for r in rows[:4]] == [
        ("mine", ""),
        ("mine-guess", ""),
        ("solver-64", "surrogate ensemble"),
        ("solver-16", "surrogate guess"),
    ]
    assert rows[2].skill == next(r for r in rows if r.name == "solver-64" and not r.at_cost_of).skill
    assert names_of(scores, "solver") == ["solver-16", "solver-24", "solver-64"]


def test_spread_skill_is_a_range_over_leads_that_still_correlate(made: Made) -> None:
    row = summarise(made.scores)[0].numbers
    pooled = made.scores.sel(contender="mine")
    ratio = np.sqrt(5 / 4 * (pooled["spread"] ** 2).mean("trajectory") / (pooled["skill"] ** 2).mean("trajectory")).isel(channel=0)
    above = (pooled["correlation_field"].mean("trajectory").isel(field=0) > 0.8).values & pooled["scored"].values.astype(bool)
    held = ratio.values[: int(np.argmin(above)) if not above.all() else None]
    assert (row["spread_low"], row["spread_high"]) == pytest.approx((held.min(), held.max()))


def test_a_failure_is_in_the_table(made: Made) -> None:
    scores = made.scores.copy(deep=True)
    scores["failed"].loc[{"contender": "mine"}] = 2
    scores["nrmse_field"].loc[{"contender": "solver-16", "trajectory": 1}] = np.inf
    table = cells(scores, 0)
    assert table["surrogate ensemble"]["failed"] == "6/12"
    assert table["solver 16"]["nRMSE, 1 frame"] == "failed"


def test_numbers_are_plain() -> None:
    values = (np.nan, np.inf, 0.0, 1.0, 12.34, 1234.4, 2.04e-7)
    assert [number(v) for v in values] == ["-", "failed", "0.00", "1.00", "12.3", "1234", "2e-07"]


def test_ratios_are_plain() -> None:
    assert [times_lower(r) for r in (1.0, 1.26, 9.99, 14.6, 218.0)] == [
        "the same",
        "1.3 times lower",
        "10 times lower",
        "15 times lower",
        "220 times lower",
    ]


# -- who wins ------------------------------------------------------------------------------------------------------


def priced(scores: xr.Dataset, mine: float, guess: float, solvers: tuple[float, float, float]) -> xr.Dataset:
    """The same scores at other costs."""
    values = {"mine": mine, "mine-guess": guess, **dict(zip(("solver-16", "solver-24", "solver-64"), solvers, strict=True))}
    cost = [values.get(str(n), 1e-3) for n in scores["contender"].values]
    return scores.assign(cost=("contender", cost))


def skilled(scores: xr.Dataset, **times: float) -> xr.Dataset:
    """The same with skill times that differ a little between trajectories."""
    out = scores.copy(deep=True)
    for name, time in times.items():
        out["half_climatology_time"].loc[{"contender": name.replace("_", "-")}] = (time + np.array([-0.1, 0.0, 0.1]))[:, None]
        out["half_climatology_censored"].loc[{"contender": name.replace("_", "-")}] = False
    return out


def said(scores: xr.Dataset) -> str:
    return classical(scores, summarise(scores))


def test_a_solver_that_is_better_and_cheaper_wins(made: Made) -> None:
    scores = skilled(priced(made.scores, 10.0, 1.0, (0.5, 2.0, 9.0)), mine=4, mine_guess=3, solver_16=2, solver_24=5, solver_64=7)
    assert (
        "The classical solver wins: the 24-point spectral solver is more accurate (1.2 against 1.0 Lyapunov times) at 5 times lower cost"
        in said(scores)
    )
    assert "the 64-point solver is to be had, good for 1.8" in said(scores)


def test_a_surrogate_that_is_better_at_equal_cost_wins(made: Made) -> None:
    scores = skilled(priced(made.scores, 1.0, 0.2, (0.5, 1.1, 9.0)), mine=6, mine_guess=3, solver_16=2, solver_24=5, solver_64=7)
    assert said(scores).startswith("At equal cost the surrogate ensemble wins: it is more accurate than the 24-point spectral solver")


def test_a_dearer_solver_that_is_better_wins_at_the_nearest_cost(made: Made) -> None:
    scores = skilled(priced(made.scores, 1.0, 0.2, (1.2, 4.0, 9.0)), mine=3, mine_guess=3, solver_16=5, solver_24=6, solver_64=7)
    assert said(scores).startswith("At equal cost the classical solver wins: the 16-point spectral solver")
    far = skilled(priced(made.scores, 1.0, 0.2, (2.2, 4.0, 9.0)), mine=3, mine_guess=3, solver_16=5, solver_24=6, solver_64=7)
    assert said(far).startswith("At the nearest cost that was run the classical solver wins")


def test_what_cannot_be_told_apart_is_said(made: Made) -> None:
    scores = skilled(priced(made.scores, 1.0, 0.2, (1.1, 4.0, 9.0)), mine=5, mine_guess=3, solver_16=5, solver_24=6, solver_64=7)
    assert "nobody wins" in said(scores) and "cannot be told apart" in said(scores) and "3 trajectories" in said(scores)
    cheap = skilled(priced(made.scores, 1.0, 0.2, (0.1, 0.9, 9.0)), mine=5, mine_guess=3, solver_16=5, solver_24=5, solver_64=7)
    assert (
        "cheaper way to the same accuracy" in said(cheap)
        and "already the 16-point solver is as good" in said(cheap)
        and "10 times lower cost" in said(cheap)
    )


def test_the_summary_is_three_sentences_of_numbers(made: Made) -> None:
    scores = skilled(made.scores, mine=4, mine_guess=3, persistence=0.4)
    skill, _, trust = verdict(scores)
    assert "Over 3 held-out trajectories the surrogate ensemble of 4 members" in skill and "1.0 Lyapunov times" in skill
    assert "against 0.75 for the surrogate guess and 0.10 for persistence" in skill
    assert "0 of its 12 runs failed" in trust
    censored = scores.copy(deep=True)
    censored["half_climatology_censored"].loc[{"contender": "mine", "trajectory": 0}] = True
    assert "for at least 1.0 Lyapunov times" in verdict(censored)[0]


def test_two_tables_have_the_same_rows(made: Made) -> None:
    first, second = tables(made.scores)
    assert [r[0] for r in first.rows] == [r[0] for r in second.rows]
    assert first.emphasised == second.emphasised == (0, 2, 3)


@pytest.mark.parametrize("heights", [[0.5] * 6, [0.99, 1.0, 1.0], [0.0, 0.01, 0.5], [0.2], []])
def test_labels_keep_their_distance_and_order(heights: list[float]) -> None:
    placed = spread(np.array(heights), 0.06)
    assert (np.diff(placed) >= 0.06 - 1e-4).all()
    assert ((placed >= -1e-4) & (placed <= 1 + 1e-4)).all()
