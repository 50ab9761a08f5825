"""Step sizes learned after training, by gradients through the sampler.

    t_k = 1 - (the sum of the first k of softmax(theta)),      minimise |z_K - Z(0)|^2 over theta

with z_K where K steps of Euler's or Heun's method lead and Z(0) where a fine solution leads from the same draws. The times fall from 1 to
0 whatever theta is. Unlike `step_sizes.optimal_steps` this sees the error that counts, that at the end, and no grid; it may end in a
local minimum, and can begin with the result of the other.
Source: Shaul et al., "Bespoke solvers for generative flow models", 2024, https://arxiv.org/abs/2310.19075 (which scales z as well).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain, Draws
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.samplers import euler, heun
from surrogates.refine.schedule import Given, check_steps
from surrogates.refine.teacher import velocity_at


def learned_steps(
    refiner: FlowMatching,
    guess: Float[Tensor, "B C *X"] | None,
    context: Float[Tensor, "B Cc *X"],
    embedding: Float[Tensor, "G E"] | None,
    domain: Domain,
    noise: Draws,
    *,
    steps: int,
    fine: int = 64,
    iterations: int = 100,
    rate: float = 0.1,
    begin: Given | None = None,
) -> Given:
    """The schedule of least error at the end, by `iterations` of Adam at `rate` from `begin` (uniform steps unless given).

    The reference is `fine` steps of Heun's method. The best times met on the way are returned. Raises ValueError for a sampler that is
    neither Euler's nor Heun's, and where the times that were learned are not among those that were trained.
    """
    check_steps(steps)
    if refiner.sampler not in (euler, heun):
        raise ValueError("learned_steps differentiates Euler's and Heun's methods; write sampler=euler or heun, or use optimal_steps")
    if begin is not None and len(begin.times) != steps + 1:
        raise ValueError(f"begin has {len(begin.times) - 1} steps, not {steps}")
    frame = refiner.frame(guess, context)
    z = refiner.start(frame, context, domain, noise).detach()
    with torch.no_grad():
        target = heun(refiner.velocity(frame, guess, context, embedding, domain), z, refiner.schedule.levels(fine), refiner.path)
    velocity = velocity_at(refiner, frame, guess, context, embedding, domain)
    times = torch.tensor([1 - k / steps for k in range(steps + 1)] if begin is None else begin.times, dtype=torch.float64)
    theta = (-times.diff()).log().to(z.device).requires_grad_()
    optimiser, best = torch.optim.Adam([theta], rate), (float("inf"), theta.detach().clone())
    for i in range(iterations + 1):
        levels = falling(theta).to(z.dtype)
        error = (_through(velocity, z, levels, domain.members, refiner.sampler is heun) - target).double().square().mean()
        if error.item() < best[0]:
            best = (error.item(), theta.detach().clone())
        if i < iterations:
            (theta.grad,) = torch.autograd.grad(error, (theta,))
            optimiser.step()
    found = falling(best[1]).tolist()
    return Given((1.0, *found[1:-1], 0.0), refiner.schedule)


def falling(theta: Float[Tensor, " K"]) -> Float[Tensor, " K1"]:
    """Times from 1 to 0 whose steps are softmax(theta)."""
    done = theta.softmax(0).cumsum(0)
    return torch.cat((torch.ones_like(done[:1]), 1 - done[:-1], torch.zeros_like(done[:1])))


def _through(velocity: Callable[[Tensor, Tensor], Tensor], z: Tensor, levels: Tensor, members: int, second: bool) -> Tensor:
    """Euler's or Heun's method with times that are differentiated."""
    rows = z.shape[0] * members
    last = len(levels) - 2
    for k, (s, r) in enumerate(pairwise(levels.unbind())):
        v = velocity(z, s.expand(rows))
        ahead = z + (r - s) * v
        z = z + (r - s) * (v + velocity(ahead, r.expand(rows))) / 2 if second and k < last else ahead
    return z
