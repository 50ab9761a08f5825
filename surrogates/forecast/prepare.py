"""The plan of a forecast from an initial state as xarray holds it: read, and checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surrogates.contracts import Step
from surrogates.data.mesh_features import as_trained
from surrogates.domains import Mesh
from surrogates.fields import Fields
from surrogates.forecast.keep import Keep
from surrogates.forecast.plan import BEFORE, Plan, device_of
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP
from surrogates.forecast.surroundings import Given, counted
from surrogates.interchange import MEMBER, conditions_of, from_xarray, time_attrs_of, trajectories_of


def plan_of(
    step: Step,
    initial: xr.Dataset,
    frames: int,
    *,
    members: int | None = None,
    group: int,
    length: int,
    keep: Keep | None = None,
    **rest: Any,
) -> Plan:
    """The plan of a forecast from the last times of `initial`. Raises ValueError as `simulate` says.

    On a mesh its boundaries become the static fields that the step was trained with (`mesh_features.as_trained`).
    """
    if min(frames, group, length, 1 if members is None else members) < 1:
        raise ValueError(f"frames, members, group and chunk must be at least 1, got {frames}, {members}, {group}, {length}")
    keep = keep or Keep()
    if frames < keep.every:
        raise ValueError(f"every={keep.every} keeps none of {frames} frames; forecast more, or keep more often")
    static = static_of_step(step)
    initial, around = as_trained(initial, static), rest.get("surroundings")
    around = around.as_trained(static) if isinstance(around, Given) else around
    past, own = from_xarray(initial, step.inputs), initial.sizes.get(MEMBER)
    if own is not None and members not in (None, own):
        raise ValueError(f"the initial state has {own} members but {members} were asked for; leave members out, or select one member of it")
    past = past[:, None] if own is None else past
    members = own if own is not None else members
    conditions, trajectories = conditions_of(initial), trajectories_of(initial)
    count = len(trajectories) * (members or 1)
    rest["surroundings"] = counted(around, time_attrs_of(initial))
    monitor = rest.get("monitor")
    size = min(group, count)
    if monitor is not None and monitor.together:
        size = max(1, size // (members or 1)) * (members or 1)
    plan = Plan(
        step, past, conditions, trajectories, _failed(initial, trajectories, members), members, frames,
        group=size, length=length, before=int(initial.attrs.get(BEFORE, 0)), keep=keep, **rest,
    )  # fmt: skip
    _check_past(plan)
    plan.selection.variables(frames)
    with torch.inference_mode():
        plan.first([0], device_of(step))
    return plan


def static_of_step(step: Step) -> Fields | None:
    """The static fields that a step was trained with; None for one that says of none."""
    found = getattr(step, "static", None)
    return found if isinstance(found, Fields) else None


def _failed(initial: xr.Dataset, trajectories: Sequence[int], members: int | None) -> dict[str, Tensor]:
    """Members of a forecast that is continued and that had failed: for them it does not go on."""
    count = len(trajectories) * (members or 1)
    none = torch.zeros(count, dtype=torch.int64)
    if BEFORE not in initial.attrs or FAILED_STEP not in initial:
        return {FAILED_STEP: none - 1, FAILED_REASON: none}
    step, why = (torch.from_numpy(np.array(initial[n].values).reshape(-1)) for n in (FAILED_STEP, FAILED_REASON))
    return {FAILED_STEP: torch.where(step >= 0, 0, -1), FAILED_REASON: torch.where(step >= 0, why, 0)}


def _check_past(plan: Plan) -> None:
    step, past, domain = plan.step, plan.past, plan.domain
    if isinstance(domain, Mesh) and domain.members > 1:
        raise ValueError(
            f"the initial state lies on {domain.members} meshes joined to one; a forecast takes one mesh for all trajectories: "
            "forecast the parts of Mesh.separate() one by one"
        )
    if past.shape[2] < step.history:
        raise ValueError(f"the step needs {step.history} frames of history but the initial state has {past.shape[2]}; select as many times")
    bad = ~past.isfinite()
    if past.shape[:2].numel() == plan.count:
        bad &= (plan.failed[FAILED_STEP] < 0).reshape(past.shape[:2] + (1,) * (past.ndim - 2))
    if bad.any():
        b, m, h, c = bad.nonzero()[0].tolist()[:4]
        member = f", member {m}" if past.shape[1] > 1 else ""
        raise ValueError(
            f"the initial state holds a value that is not finite: trajectory {plan.trajectories[b]}{member}, time index {h}, "
            f"channel {step.inputs.channels[c]}"
        )
