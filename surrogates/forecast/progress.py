"""How far a forecast is, how long it will take, and what it took: counted in rows times frames made in this session,

    left = (frames still to be made) * (seconds of this session) / (frames made in it),

so that what an earlier session made does not flatter the estimate. With `watch` a table of every group's budgets stands above the bar.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from surrogates.forecast.group import Portion
from surrogates.forecast.plan import Plan


@dataclass
class Tally:
    """What this session did: rows times frames, network evaluations, seconds, and the largest defect that the constraint left."""

    steps: int = 0
    evaluations: int | None = None
    seconds: float = 0.0
    defect: float | None = None


class Left(ProgressColumn):
    """The time that is left, from this session's own pace."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    def render(self, task: Task) -> Text:
        seconds = left(int(task.total or 0) - int(task.completed), self.tally.steps, task.elapsed or 0.0)
        return Text("-:--:--" if seconds is None else str(timedelta(seconds=int(seconds))), style="progress.remaining")


def left(steps: int, made: int, seconds: float) -> float | None:
    """Seconds for so many steps at the pace of those `made`; None where none was."""
    return steps * seconds / made if made else None


class Progress:
    """Told of every portion (`report`); shows a bar where `shown`, budgets too where `watch`; `tally` is the account at the end."""

    def __init__(self, shown: bool = True, watch: bool = False) -> None:
        self.shown, self.watch, self.tally = shown or watch, watch, Tally()
        self._lines: dict[int, tuple[str, ...]] = {}

    @contextmanager
    def of(self, plan: Plan, made: Sequence[int]) -> Iterator[None]:
        """While a plan runs, `made` frames of each group being there already."""
        self.plan, self.tally = plan, Tally()
        sizes = [len(plan.rows(g)) for g in range(plan.groups)]
        done = sum(n * min(m, plan.frames) for n, m in zip(sizes, made, strict=True))
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
        self._bar = Bar(*columns, Left(self.tally))
        members = "" if plan.members is None else f" x {plan.members} members"
        what = f"{len(plan.trajectories)}{members}, {plan.frames} frames"
        self._task = self._bar.add_task(what, total=plan.count * plan.frames, completed=done)
        began = time.perf_counter()
        shown = Live(get_renderable=self._picture, refresh_per_second=4, transient=True) if self.shown else None
        try:
            if shown is not None:
                shown.start()
            yield
        finally:
            self.tally.seconds = time.perf_counter() - began
            if shown is not None:
                shown.stop()

    def report(self, p: Portion) -> None:
        """A group made another portion."""
        self.tally.steps += p.rows * p.frames
        evaluations = evaluations_of(self.plan)
        if evaluations is not None:
            self.tally.evaluations = (self.tally.evaluations or 0) + p.rows * p.calls * evaluations
        if p.defect is not None:
            self.tally.defect = max(p.defect, self.tally.defect or 0.0)
        beyond = self.plan.frames - p.made if p.failed == p.rows else 0
        self._bar.update(self._task, advance=p.rows * (p.frames + beyond))
        if self.watch:
            self._lines[p.group] = self._line(p)

    def _line(self, p: Portion) -> tuple[str, ...]:
        domain = self.plan.domain
        integral = _mean(domain.integral(p.last))
        energy = _mean(domain.integral(p.last.double().square()) / 2)
        numbers = [f"{a:.5g}  {b:.5g}" for a, b in zip(integral, energy, strict=True)]
        return str(p.group), f"{p.made}/{self.plan.frames}", f"{p.failed}/{p.rows}", *numbers

    def _picture(self) -> Any:
        if not self._lines:
            return self._bar
        table = Table("group", "frames", "failed", *(f"{c}: integral, energy" for c in self.plan.step.outputs.channels))
        for g in sorted(self._lines)[-20:]:
            table.add_row(*self._lines[g])
        return Group(table, self._bar)


def evaluations_of(plan: Plan) -> int | None:
    """Network evaluations a call and row, where the step tells; without noise a surrogate makes its guess alone."""
    told = getattr(plan.step, "evaluations", None)
    if not isinstance(told, int):
        return None
    return min(1, told) if plan.deterministic else told


def _mean(values: torch.Tensor) -> list[float]:
    """Over the rows that are finite."""
    found: list[float] = values.where(values.isfinite(), torch.nan).nanmean(0).tolist()
    return found
