"""Where a point lies on a box, as harmonics that are continuous over the seam:

sin n theta, cos n theta for n = 1..N, with theta = 2 pi (x - lower)/L on a periodic axis and half of it between walls.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def positions(box: Box, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, "*X P"]:
    """Channels last, P = 2 sum(harmonics), `harmonics` one an axis and 0 for none there; cached, so not to be written to."""
    return _make(box, harmonics, dtype, device)


def beside(h: Float[Tensor, "B *X C"], box: Box, harmonics: tuple[int, ...]) -> Float[Tensor, "B *X D"]:
    """Fields, channels last, with the positions as channels behind their own; themselves where there are none."""
    if not any(harmonics):
        return h
    return torch.cat([h, positions(box, harmonics, h.dtype, h.device).expand(len(h), *box.shape, -1)], -1)


@lru_cache(maxsize=64)
def _make(box: Box, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, "*X P"]:
    with torch.inference_mode(False), torch.no_grad():
        out = []
        for axis, x in enumerate(box.grid()):
            turn = 2 * torch.pi if box.boundary[axis] == PERIODIC else torch.pi
            theta = turn * (x - box.lower[axis]) / box.lengths[axis]
            for n in range(1, harmonics[axis] + 1):
                out += [(n * theta).sin(), (n * theta).cos()]
        if not out:
            return torch.zeros(*box.shape, 0, dtype=dtype, device=device)
        return torch.stack(out, -1).to(device, dtype)
