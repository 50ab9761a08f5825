"""Kalman's update of x by a misfit r, where only products with V are known: x' = x + V G^T (I + G V G^T)^-1 r,  G = -dr/dx at x.

Conjugate gradients on (I + G V G^T) w = r, a row at a time; V G^T w is summed from the products V G^T p that the iteration makes anyhow,
so that k iterations cost k products with V. After k <= N of them w minimises the error in the norm of the matrix over the Krylov space,
and k = rank(G V G^T) + 1 of them are exact, up to rounding. A direction in which the matrix is not positive (the V of a network need
be neither symmetric nor positive) ends a row's iteration. Nothing waits for the device: the number of iterations is fixed.

Source: Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49 (1952) 409.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

LinearMap = Callable[[Tensor], Tensor]
"""A linear map of tensors."""


def linearised(misfit: Callable[[Tensor], Tensor], x: Float[Tensor, "B C *X"]) -> tuple[Float[Tensor, "B N"], LinearMap, LinearMap]:
    """(r, v -> G v, w -> G^T w) at x, by reverse differentiation twice. Raises ValueError where r does not depend on x."""
    with torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        r = misfit(at)
        if not r.requires_grad:
            raise ValueError("the misfit does not depend on the state, or is not differentiable; guidance needs its gradient")
        probe = torch.zeros_like(r, requires_grad=True)
        (pulled,) = torch.autograd.grad(r, at, probe, create_graph=True)

    def push(v: Tensor) -> Tensor:
        (out,) = torch.autograd.grad(pulled, probe, v, retain_graph=True)
        return -out

    def pull(w: Tensor) -> Tensor:
        (out,) = torch.autograd.grad(r, at, w, retain_graph=True)
        return -out

    return r.detach(), push, pull


def update(
    misfit: Callable[[Tensor], Tensor], x: Float[Tensor, "B C *X"], covariance: LinearMap, iterations: int
) -> Float[Tensor, "B C *X"]:
    """V G^T (I + G V G^T)^-1 r."""
    r, push, pull = linearised(misfit, x)
    p, rho, out = r, _dot(r, r), torch.zeros_like(x)
    for k in range(iterations):
        q = covariance(pull(p))
        image = p + push(q)
        bend = _dot(p, image)
        alpha = torch.where(bend > 0, rho / bend.where(bend > 0, 1), 0.0)
        out = out + alpha.to(q).reshape(-1, *(1,) * (q.ndim - 1)) * q
        if k + 1 < iterations:
            r = r - alpha.to(r) * image
            rho, before = torch.where(alpha > 0, _dot(r, r), 0.0), rho
            p = r + torch.where(before > 0, rho / before.where(before > 0, 1), 0.0).to(r) * p
    return out


def _dot(p: Float[Tensor, "B N"], q: Float[Tensor, "B N"]) -> Float[Tensor, "B 1"]:
    return (p.double() * q.double()).sum(1, keepdim=True)
