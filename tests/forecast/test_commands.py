"""What `surrogates rollout` understands and what it says when it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from forecast.steps import Grows, Walk, initial

from surrogates import simulate
from surrogates.cli import arguments
from surrogates.forecast.commands import account, read_fields, read_region, rollout, summary
from surrogates.forecast.progress import Progress, Tally, left


def test_options_are_written_with_either_line() -> None:
    given = arguments(rollout, "rollout", ["here", "data", "--keep-fields", "velocity", "--every=5", "--watch", "--region", "x=0:1"])
    assert (given["keep_fields"], given["every"], given["watch"], given["region"]) == ("velocity", 5, True, "x=0:1")
    assert arguments(rollout, "rollout", ["here", "data", "--keep_fields=p"])["keep_fields"] == "p"


def test_fields_and_regions_are_read() -> None:
    assert read_fields(None) is None and read_fields("none") == () and read_fields("velocity, p") == ("velocity", "p")
    assert read_region("") == {} and read_region("lon=-10:30,lat=35:60") == {"lon": (-10.0, 30.0), "lat": (35.0, 60.0)}
    for wrong in ("x", "x=1", "x=a:b", "x:1=2"):
        with pytest.raises(ValueError, match="is not understood; write x=0:3.14,y=1:2"):
            read_region(wrong)


def test_the_summary_names_who_failed_and_what_it_took() -> None:
    bar = Progress(shown=False)
    forecast = simulate(Grows(), initial(growth=[1.0, 3.0, 1.0]), 12, members=2, group=2, chunk=4, progress=bar)
    text = summary(forecast, "f.zarr", bar.tally)
    assert "2 of 6 runs failed" in text and "trajectory 11, member 1: amplitude beyond 100 times the initial after 4 frames" in text
    assert bar.tally.steps == 2 * 12 + 2 * 8 + 2 * 12 and "steps/s" in text  # the failed group stopped at the end of a chunk
    assert "defect" not in text and "evaluations" not in text
    told = account(Tally(10, 30, 2.0)), account(Tally())
    assert told == ("10 steps in 2.0 s: 5 steps/s, 30 network evaluations", "it was there already: nothing was made")


def test_what_was_there_already_does_not_flatter_the_estimate(tmp_path: Path) -> None:
    simulate(Walk(), initial(), 20, group=1, chunk=5, out=tmp_path / "f")
    for state in (tmp_path / "f").rglob("2.log"):
        state.unlink()  # of three groups the last is to be made again
    bar = Progress(shown=False)
    simulate(Walk(), initial(), 20, group=1, chunk=5, out=tmp_path / "f", progress=bar)
    assert bar.tally.steps == 20 and bar._bar.tasks[0].completed == 60
    assert left(80, 20, 5.0) == 20.0 and left(80, 0, 5.0) is None
