"""Kalman's update of x by a misfit r, where only products with V are known: x' = x + V G^T (I + G V G^T)^-1 r,  G = -dr/dx at x.

Conjugate residuals on (I + G V G^T) w = r, a row at a time: the k-th w has the least residual of its Krylov space. V G^T w is summed from
the products V G^T p that the iteration makes anyhow, so k iterations cost k products with V; as many as G V G^T has distinct
eigenvalues are exact, up to rounding, and stopping early leaves out those directions of which the evidence says least.

The V of a trained network is neither symmetric nor positive, and then either method can ask for ever more: eight iterations blew a
Kuramoto-Sivashinsky assimilation up within a dozen frames. With V >= 0 the norm of w grows with k and stays below that of r, since
I + G V G^T >= I; so a row's iteration ends before |w| > |r|, and directions are made orthogonal to all before, not to the last alone.
Nothing waits for the device: the number of iterations is fixed.

Sources: Eisenstat, Elman and Schultz, "Variational iterative methods for nonsymmetric systems of linear equations", SIAM J. Numer. Anal.
20 (1983) 345 (generalised conjugate residuals; the iterates of GMRES); Fong and Saunders, "CG versus MINRES", 2012 (|w| grows).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

SLACK = 1e-5
"""What |w|^2 may exceed |r|^2 by: rounding in float32."""
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
    out, w, most, before = torch.zeros_like(x), torch.zeros_like(r), (1 + SLACK) * _dot(r, r), list[tuple[Tensor, ...]]()
    for _ in range(iterations):
        p, q = r, covariance(pull(r))
        image = r + push(q)
        for p_j, q_j, image_j, size_j in before:
            beta = _ratio(_dot(image, image_j), size_j)
            p, q, image = (u - _times(beta, u_j) for u, u_j in ((p, p_j), (q, q_j), (image, image_j)))
        size = _dot(image, image)
        alpha = _ratio(_dot(r, image), size)
        ahead = w + _times(alpha, p)
        alpha = torch.where(_dot(ahead, ahead) <= most, alpha, 0.0)  # a row that ends stays where it is: its next p is this one again
        out, w, r = out + _times(alpha, q), w + _times(alpha, p), r - _times(alpha, image)
        before.append((p, q, image, size))
    return out


def _ratio(a: Float[Tensor, "B 1"], b: Float[Tensor, "B 1"]) -> Float[Tensor, "B 1"]:
    """a / b, and 0 where b is not positive."""
    return torch.where(b > 0, a / b.where(b > 0, 1), 0.0)


def _times(a: Float[Tensor, "B 1"], u: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    return a.to(u).reshape(-1, *(1,) * (u.ndim - 1)) * u


def _dot(p: Float[Tensor, "B N"], q: Float[Tensor, "B N"]) -> Float[Tensor, "B 1"]:
    return (p.double() * q.double()).sum(1, keepdim=True)
