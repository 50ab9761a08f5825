"""What an equation u_t = F(u) says of two frames that follow each other: the residual of its time step,

    r = (u_1 - u_0)/dt - (F(u_0) + F(u_1))/2        trapezoidal
    r = (u_1 - u_0)/dt - F((u_0 + u_1)/2)           midpoint

in the units of u per unit of time. F is that of the solver, L u + N(u) with spectral derivatives and products without aliasing, so the
equation, its parameters and its sign conventions are said once. On exact frames r = O(dt^2) u_ttt: as much as the surrogate's dt
resolves the motion, and so much error a use of r must allow for. Velocities come back as velocities: the residual of the momentum
equation without its pressure gradient (r is free of divergence), beside it that of a tracer.

What the solver does not carry, r does not see: modes above its 2/3 cutoff (a `resolution` of 3/2 that of the data carries them all) and
the divergence of a velocity (that is `DivergenceFree`'s). Equations with random forcing leave that forcing in r.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.pde.exponential import shared
from surrogates.pde.spectral import Spectral

Tendency = Callable[[Tensor], Tensor]
Rule = Callable[[Tendency, Tensor, Tensor], Tensor]
"""The mean of F over a step, from F and the two ends."""


def trapezoidal(F: Tendency, before: Tensor, after: Tensor) -> Tensor:
    return (F(before) + F(after)) / 2


def midpoint(F: Tendency, before: Tensor, after: Tensor) -> Tensor:
    return F((before + after) / 2)


def residual(
    solver: Spectral, before: Float[Tensor, "B C *X"], after: Float[Tensor, "B C *X"], conditions: Conditions, rule: Rule = trapezoidal
) -> Float[Tensor, "B K *X"]:
    """r for frames dt = conditions.dt apart, K = C, on their grid; differentiable in both.

    Raises ValueError for other channels than the equation's, for walls, and KeyError for a parameter that is given nowhere.
    """
    box, fields = solver.box(conditions), solver.inputs
    for name, u in (("before", before), ("after", after)):
        if u.shape[1] != fields.count:
            raise ValueError(f"{name} has {u.shape[1]} channels but {type(solver).__name__} speaks of {fields.count}: {fields.channels}")
    w0, w1 = solver.encode(before, box), solver.encode(after, box)
    L, N = solver.terms(box, {name: shared(v) for name, v in solver.parameters(conditions).items()}, w0.dtype, w0.device)
    symbol = L.to(w0.dtype)
    dt = conditions.dt.to(before.device, before.dtype).reshape(-1, *(1,) * (w0.ndim - 1))
    r = (w1 - w0) / dt - rule(lambda w: symbol * w + N(w), w0, w1)
    return solver.decode(r, box, conditions.domain.shape)


def residuals(
    solver: Spectral, last: Float[Tensor, "B C *X"], future: Float[Tensor, "B T C *X"], conditions: Conditions, rule: Rule = trapezoidal
) -> Float[Tensor, "B T K *X"]:
    """r of each frame of a bundle and the one before it, `last` before the first; `conditions` are those of `last`."""
    rows, frames = future.shape[:2]
    before = torch.cat([last[:, None], future[:, :-1]], 1)
    every = conditions.rows(torch.arange(rows).repeat_interleave(frames))
    r = residual(solver, before.flatten(0, 1), future.flatten(0, 1), every, rule)
    return r.reshape(rows, frames, *r.shape[1:])


def residual_loss(
    solver: Spectral,
    last: Float[Tensor, "B C *X"],
    future: Float[Tensor, "B T C *X"],
    conditions: Conditions,
    scale: float | Float[Tensor, " K"] = 1.0,
    rule: Rule = trapezoidal,
) -> Float[Tensor, " G"]:
    """The mean square of r / scale over frames, components and space, one a member, float64: a term for training, in physical units.

    `scale` is in the units of r; that of u_t (a tendency's deviation over dt) makes the loss relative. Below the residual of true
    frames there is nothing to learn. Raises ValueError for a scale that is not positive.
    """
    s = torch.as_tensor(scale, dtype=future.dtype, device=future.device)
    if not bool((s > 0).all()):
        raise ValueError(f"scale is {scale} but it divides the residual; give the size of u_t, in the units of u per unit of time")
    r = residuals(solver, last, future, conditions, rule) / s.reshape(-1, *(1,) * (last.ndim - 2))
    return r.double().square().flatten(1).mean(1)
