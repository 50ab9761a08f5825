"""The engine around the generator: an initial state becomes an ensemble forecast, in fixed groups, streamed chunk by chunk.

Rows (trajectory, member) are run in groups of one fixed size, the last one padded with repeats: noise is keyed by trajectory and
member, so grouping never changes what is drawn, and at the recorded group size the result is the same bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

import surrogates
from surrogates.contracts import Conditions, Step
from surrogates.forecast.blowup import REASONS, judge
from surrogates.forecast.identity import identity
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP, MemorySink, Sink, ZarrSink
from surrogates.interchange import conditions_of, domain_of, from_xarray, parameters_of, to_xarray, trajectories_of
from surrogates.noise import SeededNoise
from surrogates.record import describe
from surrogates.rollout import begin, bundles

GROUP, CHUNK = 16, 32


@dataclass(frozen=True)
class Plan:
    """All that a forecast is made from: B trajectories of `members` members each."""

    step: Step
    past: Float[Tensor, "B H C *X"]
    conditions: Conditions
    trajectories: Sequence[int]
    members: int
    frames: int
    seed: int
    group: int
    chunk: int
    deterministic: bool

    @property
    def count(self) -> int:
        return len(self.trajectories) * self.members

    def rows(self, group: int) -> list[int]:
        """Row numbers of a group, trajectory-major, without the padding."""
        return list(range(group * self.group, min((group + 1) * self.group, self.count)))

    def padded(self, group: int) -> list[int]:
        """The same, filled to the fixed size with repeats of the last."""
        rows = self.rows(group)
        return rows + rows[-1:] * (self.group - len(rows))


def simulate(
    step: Step,
    initial: xr.Dataset,
    frames: int,
    *,
    members: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    group: int = GROUP,
    chunk: int = CHUNK,
    deterministic: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """Forecast `frames` frames from the last `step.history` times of `initial`; dims (trajectory, [member,] time, *axes).

    `members` (None: no such dim) draw their own noise from `seed`; `deterministic` passes none. With `out` the forecast streams to
    Zarr in chunks of frames, and the same call goes on where it was cut. A member that blows up is NaN from that frame
    on; `failed_step` tells how many frames it made (-1: it did not fail) and `failed_reason` why.

    Raises ValueError where the initial state lacks times, fields, units, dt or parameters that the step needs, or holds NaN, and
    FileExistsError where `out` holds another run.
    """
    if min(frames, group, chunk, 1 if members is None else members) < 1:
        raise ValueError(f"frames, members, group and chunk must be at least 1, got {frames}, {members}, {group}, {chunk}")
    past = from_xarray(initial, step.inputs)
    _check_past(past, initial, step)
    conditions, trajectories = conditions_of(initial), trajectories_of(initial)
    plan = Plan(
        step,
        past,
        conditions,
        trajectories,
        members or 1,
        frames,
        seed,
        min(group, len(trajectories) * (members or 1)),
        chunk,
        deterministic,
    )
    begin(step, past[:1, -step.history :], conditions.rows(torch.tensor([0])))
    template = _template(plan, initial, members)
    sink: Sink = MemorySink(template) if out is None else ZarrSink(out, template, _fingerprint(plan, members), chunk)
    groups = -(-plan.count // plan.group)
    columns = (*Progress.get_default_columns()[:2], TimeElapsedColumn(), TimeRemainingColumn())
    with torch.inference_mode(), Progress(*columns, disable=not progress, transient=True) as bar:
        task = bar.add_task(f"{len(trajectories)} x {plan.members} members, {frames} frames", total=groups * frames)
        for g in range(groups):
            _run_group(plan, g, sink, lambda made, g=g: bar.update(task, completed=g * frames + made))
    return sink.finish()


def _run_group(plan: Plan, group: int, sink: Sink, report: Any) -> None:
    """Run one group of rows from where its sink has it."""
    rows, padded = plan.rows(group), torch.tensor(plan.padded(group))
    device = _device(plan.step)
    which = padded // plan.members
    conditions = plan.conditions.rows(which).to(device)
    past = plan.past[which][:, -plan.step.history :].to(device)
    noise = SeededNoise(plan.seed, [plan.trajectories[i] for i in which.tolist()], (padded % plan.members).tolist())
    scale = past[: len(rows), -1].double().flatten(1).square().mean(1).sqrt().cpu()
    made, failures = sink.made(group), sink.failures(rows)
    if made >= plan.frames:
        return
    first = {k: v.to(device) if v.ndim else v for k, v in sink.state(group).items()} if made else begin(plan.step, past, conditions)
    buffer: list[Tensor] = []
    for bundle, state in bundles(plan.step, first, plan.frames, conditions.after, None if plan.deterministic else noise, made):
        buffer.append(bundle[: len(rows)].float().cpu())
        held = sum(b.shape[1] for b in buffer)
        if held < plan.chunk and made + held < plan.frames:
            continue
        block = torch.cat(buffer, 1)[:, : plan.frames - made]
        failures = _strike_out(block, scale, failures, made)
        sink.write(rows, made, _by_variable(plan, block), failures)
        made, buffer = made + held, []
        if (failures[0] >= 0).all():
            made = plan.frames
        sink.mark(group, min(made, plan.frames), state)
        report(min(made, plan.frames))
        if made >= plan.frames:
            return


def _device(step: Step) -> torch.device:
    """Where a step's weights are; the CPU for one without."""
    weights = step.parameters() if isinstance(step, nn.Module) else iter(())
    return next((p.device for p in weights), torch.device("cpu"))


def _strike_out(block: Tensor, scale: Tensor, failures: NDArray[Any], made: int) -> NDArray[Any]:
    """Set a blown-up row to NaN from its first bad frame on, in place, and return the updated (step, reason) codes."""
    first, code = judge(block, scale)
    steps, reasons = torch.from_numpy(failures[0]).clone(), torch.from_numpy(failures[1]).clone()
    new = (steps < 0) & (code > 0)
    first = torch.where(steps >= 0, 0, first)
    steps[new], reasons[new] = made + first[new], code[new]
    gone = torch.arange(block.shape[1]) >= first[:, None]
    block.masked_fill_(gone.reshape(*gone.shape, *(1,) * (block.ndim - 2)), torch.nan)
    return torch.stack([steps, reasons]).numpy()


def _by_variable(plan: Plan, block: Tensor) -> dict[str, NDArray[Any]]:
    out, start, values = {}, 0, block.numpy()
    for f in plan.step.outputs:
        for name in f.variables:
            part = values[:, :, start : start + max(1, len(f.levels))]
            out[name] = part if f.levels else part[:, :, 0]
            start += max(1, len(f.levels))
    return out


def _check_past(past: Tensor, initial: xr.Dataset, step: Step) -> None:
    if past.ndim != 3 + len(conditions_of(initial).domain.shape):
        raise ValueError("the initial state has ensemble members; select one with .isel(member=0)")
    if past.shape[1] < step.history:
        raise ValueError(f"the step needs {step.history} frames of history but the initial state has {past.shape[1]}; select as many times")
    if not past.isfinite().all():
        where = (~past.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the initial state holds a value that is not finite: trajectory {trajectories_of(initial)[where[0]]}, time index {where[1]}, "
            f"channel {step.inputs.channels[where[2]]}"
        )


def _template(plan: Plan, initial: xr.Dataset, members: int | None) -> xr.Dataset:
    """The whole forecast without its values (no memory is taken for them)."""
    now = float(plan.conditions.time[0])
    dt = float(plan.conditions.dt[0])
    domain = domain_of(initial)
    lead = (len(plan.trajectories),) if members is None else (len(plan.trajectories), members)
    nothing = torch.full((), torch.nan).expand(*lead, plan.frames, plan.step.outputs.count, *domain.shape)
    keep = {
        k: initial.attrs[k] for k in ("dataset", "split", "checksum", "lyapunov_time", "turnover_time", "scored_time") if k in initial.attrs
    }
    versions = {"surrogates_version": surrogates.__version__, "torch_version": str(torch.__version__)}
    attrs = {**keep, **versions, "seed": plan.seed, "group": plan.group, "dt": dt, "step": type(plan.step).__name__}
    parameters = {k: v.tolist() for k, v in parameters_of(initial).items()}
    out = to_xarray(
        nothing,
        plan.step.outputs,
        domain,
        time=[now + dt * (n + 1) for n in range(plan.frames)],
        trajectories=plan.trajectories,
        members=None if members is None else range(members),
        parameters=parameters,
        start=now,
        attrs=attrs,
    )
    dims = ("trajectory",) if members is None else ("trajectory", "member")
    meaning = {"flag_values": list(range(len(REASONS))), "flag_meanings": " ".join(r.replace(" ", "_") for r in REASONS)}
    out[FAILED_STEP] = (dims, np.full(lead, -1, dtype=np.int64), {"long_name": "frames made before the member blew up; -1 if it did not"})
    out[FAILED_REASON] = (dims, np.zeros(lead, dtype=np.int64), {"long_name": "why the member stopped", **meaning})
    return out


def _fingerprint(plan: Plan, members: int | None) -> dict[str, Any]:
    """What makes this run the same run."""
    conditions = plan.conditions
    digest = hashlib.sha256(plan.past.contiguous().numpy().tobytes())
    digest.update(b"".join(v.numpy().tobytes() for v in (conditions.parameters, conditions.time, conditions.dt)))
    digest.update(json.dumps([describe(conditions.domain), conditions.names]).encode())
    return {
        **identity(plan.step),
        "initial state": digest.hexdigest()[:16],
        "trajectories": list(plan.trajectories),
        "members": members,
        "frames": plan.frames,
        "seed": None if plan.deterministic else plan.seed,
        "group": plan.group,
        "chunk": plan.chunk,
    }
