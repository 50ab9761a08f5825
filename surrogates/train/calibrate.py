"""Calibration of an ensemble on the validation split: two numbers, fitted so that its spread is as large as its error.

With r_l the spread-skill ratio at lead l (1 where truth and members are drawn from one law; `metrics.spread_skill`), find the refiner's
`inflation` a and the surrogate's `coherence` rho that minimise

    J(a, rho) = mean_l (log r_l^2)^2      over the leads at which the ensemble mean still correlates above .8 with the truth.

The first lead sees a alone, rho decides how spread grows after it. The search is deterministic and every evaluation uses the same
noise. For each rho on a coarse grid, and then between the best one and its neighbours, a is moved once: where errors grow linearly the
variance s^2 of the members is proportional to a^2, and the squared error of the mean of M members is e^2 + s^2/M with e^2 independent
of a, so that r = 1 asks for a^2 <- a^2 exp mean_l log(e_l^2/s_l^2), where e^2/s^2 = (M + 1)/(M r^2) - 1/M. At saturation r = 1 for any
states of the attractor, which is why later leads do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table
from torch import Tensor

from surrogates.data.files import open_dataset
from surrogates.saved import load_surrogate, read_config, save
from surrogates.surrogate import Surrogate
from surrogates.train.validation import Trial, ensemble, score_curves, trial

COARSE = (0.0, 0.6, 0.9)
CORRELATED = 0.8
INFLATIONS = (0.25, 8.0)  # beyond these it is not a matter of calibration


@dataclass(frozen=True)
class Tried:
    """One evaluation: the misfit J, the spread-skill ratio at the first and last lead that count, and members that blew up."""

    inflation: float
    coherence: float
    misfit: float
    first: float
    last: float
    failed: int


@dataclass(frozen=True)
class Calibration:
    """The fitted numbers, how many leads they were judged on (in frames), and all that was tried."""

    inflation: float
    coherence: float
    leads: int
    tried: tuple[Tried, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> Table:
        """For a person to read."""
        out = Table("inflation", "coherence", "misfit", "ratio at lead 1", f"ratio at lead {self.leads}", "failed members")
        for t in self.tried:
            numbers = (t.inflation, t.coherence, t.misfit, t.first, t.last)
            chosen = (t.inflation, t.coherence) == (self.inflation, self.coherence)
            out.add_row(*(f"{v:.3f}" for v in numbers), str(t.failed), style="bold" if chosen else None)
        return out


def calibrate(
    surrogate: Surrogate,
    truth: xr.Dataset,
    *,
    frames: int = 20,
    members: int = 6,
    starts: int = 1,
    trajectories: int | None = None,
    seed: int = 0,
    coarse: Sequence[float] = COARSE,
) -> Calibration:
    """Fit `surrogate.coherence` and `surrogate.refiner.inflation` in place, on validation trajectories.

    `frames` are rolled out from `starts` times of each trajectory with `members` members. Raises ValueError for a deterministic
    surrogate, for one member, for a refiner that neither number reaches, for trajectories that are too short and where
    the ensemble is worthless from the first lead on.
    """
    if surrogate.refiner is None:
        raise ValueError("this surrogate is deterministic: it has no refiner, so there is no ensemble to calibrate")
    if members < 2:
        raise ValueError(f"members is {members} but spread needs at least two")
    search = Search(surrogate, trial(truth, surrogate, frames, starts, trajectories), frames, members, seed)
    grid = sorted({float(c) for c in coarse})
    for rho in grid:
        search.settle(rho)
    search.check()
    if search.inflation is None and len(grid) > 1 and len({t.misfit for t in search.tried}) == 1:
        raise ValueError(
            f"a {type(surrogate.refiner).__name__} has no inflation, and the coherence of its source changes nothing: there is nothing to "
            "calibrate; its spread is what it was trained to be"
        )
    centre = grid.index(search.best.coherence)
    for neighbour in (centre - 1, centre + 1):
        if 0 <= neighbour < len(grid):
            search.settle((grid[centre] + grid[neighbour]) / 2)
    best = search.best
    search.set(best.inflation, best.coherence)
    return Calibration(best.inflation, best.coherence, search.leads, tuple(search.tried))


class Search:
    """Evaluations of J, all on the same leads and noise, remembered."""

    def __init__(self, surrogate: Surrogate, rows: Trial, frames: int, members: int, seed: int) -> None:
        self.surrogate, self.rows, self.frames, self.members, self.seed = surrogate, rows, frames, members, seed
        self.inflation: Tensor | None = getattr(surrogate.refiner, "inflation", None)
        self.tried: list[Tried] = []
        self.leads = 0

    @property
    def best(self) -> Tried:
        return min(self.tried, key=lambda t: t.misfit)

    def check(self) -> None:
        """Raise ValueError where no evaluation had a finite misfit."""
        if not isfinite(self.best.misfit):
            why = "members blow up" if self.best.failed else "its members do not differ"
            raise ValueError(
                f"{why} in every ensemble tried ({len(self.tried)}, of {self.frames} frames), so there is no spread to compare with its "
                "error; train for longer, or calibrate on fewer frames"
            )

    def set(self, inflation: float, coherence: float) -> None:
        self.surrogate.coherence.fill_(coherence)
        if self.inflation is not None:
            self.inflation.fill_(inflation)

    def settle(self, coherence: float) -> None:
        """Evaluate one coherence, from the best inflation so far, and once more after moving it."""
        start = self.best.inflation if self.tried else 1.0
        ratios = self.evaluate(start, coherence)
        m = self.members
        excess = [max((m + 1) / (m * r * r) - 1 / m, 1e-2) for r in ratios]  # e^2 / s^2; sampling noise can make it negative
        moved = start * exp(sum(map(log, excess)) / (2 * len(excess))) if ratios else start / 2
        moved = min(max(moved, INFLATIONS[0]), INFLATIONS[1])
        if self.inflation is not None and abs(log(moved / start)) > 0.01:
            self.evaluate(moved, coherence)

    def evaluate(self, inflation: float, coherence: float) -> list[float]:
        """The ratios at the leads that count; none where members blew up."""
        self.set(inflation, coherence)
        members = ensemble(self.surrogate, self.rows, self.frames, self.members, self.seed).cpu()
        curves = score_curves(members, self.rows, self.surrogate)
        if not self.leads:
            above = (curves["correlation"] > CORRELATED).int()
            self.leads = int(above.cumprod(0).sum())
            if not self.leads and not bool(members[:, :, 0].isfinite().all()):
                raise ValueError(
                    f"members blow up at the first lead, coherence {coherence:g}, so there is no spread to calibrate; is the surrogate "
                    "trained, and on this data set?"
                )
            if not self.leads:
                raise ValueError(
                    f"the ensemble mean correlates {float(curves['correlation'][0]):.2f} with the truth at the first lead, not above "
                    f"{CORRELATED}; there is no skill to calibrate a spread against (is this the data set that it was trained on?)"
                )
        ratios = [float(r) for r in curves["spread_skill"][: self.leads]]
        failed = int((~members.isfinite()).flatten(2).any(2).sum())
        sound = all(isfinite(r) and r > 0 for r in ratios)
        misfit = sum((2 * log(r)) ** 2 for r in ratios) / len(ratios) if sound else float("inf")
        self.tried.append(Tried(inflation, coherence, misfit, ratios[0], ratios[-1], failed))
        return ratios if sound else []


def calibrate_command(
    run: str, dataset: str | None = None, size: str | None = None, frames: int = 20, members: int = 6, starts: int = 1, seed: int = 0
) -> Calibration:
    """Calibrate the ensemble of a saved surrogate on the validation split, and save it again.

    Args:
        run: Folder of the surrogate.
        dataset: Name or path of the data set; the one that it was trained on unless given.
        size: Size of the data set, where several were made.
        frames: How far to roll out.
        members: Members of the ensemble.
        starts: Initial states from each validation trajectory.
        seed: Of the noise.
    """
    folder = Path(run)
    surrogate, config = load_surrogate(folder), read_config(folder)
    known = config["provenance"]
    truth = open_dataset(dataset or known.get("dataset", ""), "valid", size=size or known.get("size"))
    result = calibrate(surrogate, truth, frames=frames, members=members, starts=starts, seed=seed)
    save(surrogate, folder, {**known, "calibration": result.to_json()})
    Console().print(result.table())
    return result
