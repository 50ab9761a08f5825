"""What makes a step the same step as another: how it is made, and a hash of its tensors. A stored run knows itself by this."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from surrogates.contracts import Step
from surrogates.record import describe


def identity(step: Step) -> dict[str, Any]:
    """{"step", "weights"}, fit for JSON. Steps that do not record their arguments, or parts of theirs, are known by class and tensors."""
    made: Any = type(step).__qualname__
    if hasattr(step, "arguments"):
        try:
            made = describe(step)
        except TypeError:  # made of parts that are not ours
            made = str(step) if isinstance(step, nn.Module) else made
    tensors = step.state_dict() if isinstance(step, nn.Module) else {k: v for k, v in vars(step).items() if isinstance(v, Tensor)}
    return {"step": made, "weights": digest(tensors)}


def digest(tensors: dict[str, Tensor]) -> str:
    """Names, types, shapes and bits."""
    out = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        out.update(f"{key} {value.dtype} {tuple(value.shape)}".encode() + bits.numpy().tobytes())
    return out.hexdigest()[:16]


def known(value: Any) -> Any:
    """What a run knows a part by: how it is made, or, where that is not recorded, its class and its tensors."""
    try:
        return describe(value)
    except TypeError:
        tensors = {k: v for k, v in vars(value).items() if isinstance(v, Tensor)} if hasattr(value, "__dict__") else {}
        return {"class": type(value).__qualname__, "tensors": digest(tensors)}
