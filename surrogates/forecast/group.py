"""One group of rows from where its sink has it to the end: step, judge, thin, hold until a chunk is full, write, mark.

What is marked is all that the rest follows from: the state of the step, running sums, frames that wait for their chunk to fill, failures
and, for a monitor, the last frame. A group depends on nothing but the plan, so groups may run in any order and in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, State
from surrogates.forecast.monitor import Monitor
from surrogates.forecast.plan import Plan, device_of, shared
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP, Sink
from surrogates.rollout import begin, bundles

MARK = 1024
"""Frames after which a run is marked although no chunk is full (frames that are kept rarely)."""


@dataclass(frozen=True)
class Portion:
    """What one group has done since it last said so: rows, frames of them, calls of the step, and of the last frame what a watcher sees."""

    group: int
    rows: int
    frames: int
    made: int
    calls: int
    failed: int
    last: Float[Tensor, "B C *X"]
    defect: float | None = None


Report = Callable[[Portion], None]


def run_group(plan: Plan, group: int, sink: Sink, report: Report) -> None:
    """Raises ValueError where the step hands over other frames than it declares."""
    done = sink.made(group)
    if done >= plan.frames:
        return
    rows, device = plan.rows(group), device_of(plan.step)
    padded = rows + rows[-1:] * (plan.group - len(rows))
    past, at, noise, ids = plan.begin(padded, device)
    record = Record(plan, group, sink, past, ids)
    state: State = record.resume(sink.state(group), device) if done else begin(plan.step, past, at(0))
    held: list[Tensor] = []
    calls, count = 0, 0
    for bundle, after in bundles(plan.step, state, plan.frames, at, noise, done):
        held.append(bundle)
        calls, count = calls + 1, count + bundle.shape[1]
        if count < plan.piece and done + count < plan.frames:
            continue
        frames = min(count, plan.frames - done)
        block = torch.cat(held, 1)[:, :frames]
        record.take(block, done, at)
        done, held, count = done + frames, [], 0
        record.mark(done, after)
        report(Portion(group, len(rows), frames, done, calls, record.gone, block[: len(rows), -1], _defect(plan, block, after, at(done))))
        calls = 0
        if record.over:
            return


class Record:
    """What becomes of the frames of one group. `rows` are the first of the block's; the rest is padding."""

    def __init__(self, plan: Plan, group: int, sink: Sink, past: Float[Tensor, "B H C *X"], trajectories: list[int]) -> None:
        self.plan, self.group, self.sink = plan, group, sink
        self.rows = plan.rows(group)
        self.trajectories = trajectories[: len(self.rows)]
        self.failed = {k: v[self.rows].clone() for k, v in plan.failed.items()}
        self.into, self.of, self.fields = shared(plan)
        self.start = past[: len(self.rows), -1, self.into]
        self.last = self.start
        self.held: Mapping[str, Tensor] = {}
        self.waiting: list[dict[str, Tensor]] = []
        self.stored, self.marked, self.done = 0, 0, 0

    @property
    def gone(self) -> int:
        """How many rows have failed."""
        return int((self.failed[FAILED_STEP] >= 0).sum())

    @property
    def over(self) -> bool:
        return self.done >= self.plan.frames

    def take(self, block: Float[Tensor, "B T C *X"], made: int, at: Callable[[int], Conditions]) -> None:
        """Judge, thin and hold a block that begins after `made` frames; `at` gives the conditions after n frames."""
        plan, count = self.plan, len(self.rows)
        block = block.float() if block.dtype != torch.float64 else block
        mine = block[:count]
        judged = mine if len(self.of) == block.shape[2] else mine[:, :, self.of]
        first, code = plan.limits.judge(judged, self.start, self.fields, plan.domain)
        first, code = first.cpu(), code.cpu()
        if plan.monitor is not None:
            bad = torch.where(self.failed[FAILED_STEP] >= 0, 0, first)
            when = self._watch(plan.monitor, _struck(judged, bad), made, at)
            code = torch.where(when < first, len(plan.limits.reasons), code)
            first = torch.minimum(first, when)
        mine = self._strike(mine, first, code, made)
        self.waiting.append({k: v.cpu() for k, v in plan.selection.frames(mine, made).items()})
        self.held = plan.selection.update(self.held, mine)

    def _watch(self, monitor: Monitor, judged: Float[Tensor, "B T C *X"], made: int, at: Callable[[int], Conditions]) -> Tensor:
        """The first frame of each row that the monitor does not trust (T: none), judged bundle by bundle: dt may change between them."""
        rows, stops, length = torch.arange(len(self.rows)), [], self.plan.step.bundle
        for n in range(0, judged.shape[1], length):
            bundle = judged[:, n : n + length]
            stops.append(monitor.judge(self.last, bundle, at(made + n).rows(rows), self.trajectories).cpu())
            self.last = bundle[:, -1]
        stop = torch.cat(stops, 1)
        return torch.where(stop.any(1), stop.int().argmax(1), stop.shape[1])

    def _strike(self, block: Tensor, first: Tensor, code: Tensor, made: int) -> Tensor:
        """A block whose failed rows are NaN from their first bad frame on."""
        steps, reasons = self.failed[FAILED_STEP], self.failed[FAILED_REASON]
        new = (steps < 0) & (code > 0)
        first = torch.where(steps >= 0, 0, torch.where(new, first, block.shape[1]))
        self.failed = {FAILED_STEP: torch.where(new, made + first, steps), FAILED_REASON: torch.where(new, code, reasons)}
        return _struck(block, first)

    def mark(self, made: int, state: State) -> None:
        """Write what fills a chunk, and store the state where it was some time ago."""
        plan = self.plan
        lost = self.gone == len(self.rows)
        self.done = plan.frames if lost else made
        if not (self.done >= plan.frames or made % plan.span == 0 or made - self.marked >= MARK):
            return
        if self.done >= plan.frames or made % plan.span == 0:
            self._write()
        if self.done >= plan.frames:
            self._finish(made)
        elif self.gone:
            self.sink.put(self.rows, {k: v.numpy() for k, v in self.failed.items()})
        self.sink.mark(self.group, self.done, {} if self.over else self._state(state))
        self.marked = made

    def _write(self) -> None:
        block = self._joined()
        if block:
            self.sink.write(self.rows, self.stored, {k: v.numpy() for k, v in block.items()})
            self.stored += next(iter(block.values())).shape[1]
        self.waiting = []

    def _finish(self, made: int) -> None:
        values: dict[str, Tensor] = {**self.failed, **self.plan.selection.values(self.held)}
        self.sink.put(self.rows, {k: v.cpu().numpy() for k, v in values.items()})
        if made < self.plan.frames:
            self.sink.abandon(self.rows, self.stored)

    def _joined(self) -> dict[str, Tensor]:
        names = next((w.keys() for w in self.waiting if w), {}.keys())
        return {k: torch.cat([w[k] for w in self.waiting if w], 1) for k in names}

    def _state(self, state: State) -> dict[str, Tensor]:
        out = {f"step/{k}": v for k, v in state.items()} | {f"sum/{k}": v for k, v in self.held.items()}
        out |= {f"wait/{k}": v for k, v in self._joined().items()} | {f"failed/{k}": v for k, v in self.failed.items()}
        out["stored"], out["marked"] = torch.tensor(self.stored), torch.tensor(self.marked)
        return out if self.plan.monitor is None else out | {"last": self.last}

    def resume(self, stored: Mapping[str, Tensor], device: torch.device) -> State:
        """Go on from what `mark` stored: the state of the step. Tensors without dims stay on the CPU, where counters live."""
        parts: dict[str, dict[str, Tensor]] = {"step": {}, "sum": {}, "wait": {}, "failed": {}}
        for name, v in stored.items():
            part, _, key = name.partition("/")
            if key:
                parts[part][key] = v.to(device) if v.ndim and part in ("step", "sum") else v
        self.held, self.failed, self.waiting = parts["sum"], parts["failed"], [parts["wait"]] if parts["wait"] else []
        self.stored, self.marked = int(stored["stored"]), int(stored["marked"])
        self.last = stored["last"][: len(self.rows)].to(device) if "last" in stored else self.last
        return parts["step"]


def _struck(block: Float[Tensor, "B T C *X"], first: Tensor) -> Float[Tensor, "B T C *X"]:
    """A block whose rows are NaN from their frame `first` on."""
    if bool((first >= block.shape[1]).all()):
        return block
    gone = (torch.arange(block.shape[1]) >= first[:, None]).to(block.device)
    return block.masked_fill(gone.reshape(*gone.shape, *(1,) * (block.ndim - 2)), torch.nan)


def _defect(plan: Plan, block: Tensor, state: State, conditions: Conditions) -> float | None:
    """At the end, the largest defect of the step's own constraint, inf where one is not finite; None where the step does not tell it."""
    constraint: Any = getattr(plan.step, "constraint", None)
    if constraint is None or "reference" not in state:
        return None
    found = constraint.defect(block[:, -1], state["reference"], conditions).abs()
    return float(found.nan_to_num(nan=torch.inf, posinf=torch.inf).max()) if found.numel() else None
