"""How fast a step forgets: the leading Lyapunov exponent, and the turnover time of its eddies.

    lambda = lim 1/t log |delta(t)| / |delta(0)|       delta scaled back to a fixed small size after every frame,

by following two neighbours of any `Step` (Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15 (1980) 9). The size must lie well
above the rounding of the step's precision and well below the attractor's. 1/lambda is the Lyapunov time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Step
from surrogates.domains import Box
from surrogates.noise import SeededNoise


def lyapunov_exponent(
    step: Step,
    past: Float[Tensor, "B H C *X"],
    frames: int,
    at: Callable[[int], Conditions],
    *,
    discard: int = 0,
    size: float = 1e-6,
    seed: int = 0,
) -> Float[Tensor, " B"]:
    """Exponent of each row, 1/time, from `frames` frames after `discard` in which the perturbation turns into the fastest direction.

    `size` is the perturbation's, relative to the rms of `past`: 1e-6 suits float64, 1e-3 float32. `at` is that of `rollout`.
    The same deterministic answer is asked of both neighbours (no noise). Raises ValueError where nothing is left to average.
    """
    if frames < 1 or discard < 0 or not size > 0:
        raise ValueError(f"frames must be at least 1, discard at least 0 and size positive, got {frames}, {discard}, {size}")
    rows = past.shape[0]
    both = torch.arange(rows, device=past.device).repeat(2)
    white = SeededNoise(seed, range(rows), [0] * rows)(past, step=0, draw=0)
    target = size * length(past[:, -1])
    bad = ~((target > 0) & target.isfinite())
    if bad.any():
        raise ValueError(f"past is zero or not finite in rows {bad.nonzero().flatten().tolist()}; there is nothing to perturb relative to")
    base, other = past, past + scaled(white, target / length(white[:, -1]))
    total, elapsed, made = torch.zeros_like(target), torch.zeros_like(target), 0
    while made < discard + frames:
        conditions = at(made)
        pair = conditions.rows(both.to(conditions.dt.device))
        new, _ = step(step.begin(torch.cat([base, other]), pair), pair)
        window = torch.cat([torch.cat([base, other]), new.to(past.dtype)], 1)[:, -step.history :]
        base, other = window[:rows], window[rows:]
        growth = length(other[:, -1] - base[:, -1]) / target
        other = base + scaled(other - base, 1 / growth)
        made += step.bundle
        if made > discard:
            total = total + growth.log()
            elapsed = elapsed + step.bundle * conditions.dt.to(total.device)
    return total / elapsed


def length(u: Float[Tensor, "B C *X"]) -> Float[Tensor, " B"]:
    """Root mean square over channels and space, float64."""
    return u.double().flatten(1).square().mean(1).sqrt()


def scaled(u: Float[Tensor, "B H C *X"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B H C *X"]:
    return u * factor.to(u.dtype).reshape(-1, *(1,) * (u.ndim - 1))


def turnover_time(u: Float[Tensor, "B C *X"], domain: Box) -> Float[Tensor, " B"]:
    """L/u' of each row: the mean wavelength, 2 pi <1/|k|> weighted by the spectrum of the fluctuation, over its rms length u'.

    With velocity u it is the time in which an eddy moves its own size. Raises ValueError on walls (no wavenumbers).
    """
    domain.check(u)
    dims = tuple(range(2, 2 + domain.dim))
    energy: Tensor = torch.fft.fftn(u.double(), dim=dims, norm="forward").abs().square().sum(1)
    k2 = torch.zeros(domain.shape, dtype=torch.float64, device=u.device)
    for axis, (n, size) in enumerate(zip(domain.shape, domain.lengths, strict=True)):
        k = torch.fft.fftfreq(n, size / (2 * torch.pi * n), dtype=torch.float64, device=u.device)
        k2 = k2 + k.square().reshape(-1, *(1,) * (domain.dim - 1 - axis))
    energy = (energy * (k2 > 0)).flatten(1)
    wavelength = 2 * torch.pi / k2.flatten().sqrt().where(k2.flatten() > 0, 1)
    return (energy * wavelength).sum(1) / energy.sum(1) / energy.sum(1).sqrt()
