"""Tridiagonal systems a_i x_(i-1) + b_i x_i + c_i x_(i+1) = d_i by cyclic reduction of all rows at once: log2(n) steps of plain products.

A step of stride s removes x_(i-s) and x_(i+s) from row i by its neighbours' rows, which leaves x_(i-2s) and x_(i+2s), until none is left.
Every row is worked on in every step, n log n operations in place of n, none of which waits for another: right for batches, for GPUs, and
for gradients. Without pivots, so for matrices that need none: diagonally dominant by rows or by columns.

Source: Hockney, A fast direct solution of Poisson's equation using Fourier analysis, 1965, https://doi.org/10.1145/321250.321259; the
parallel form is Hockney and Jesshope, Parallel Computers (1981), 5.4.3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def solve(a: Float[Tensor, "*B n"], b: Float[Tensor, "*B n"], c: Float[Tensor, "*B n"], d: Float[Tensor, "*B n"]) -> Float[Tensor, "*B n"]:
    """x. The first of a and the last of c have no meaning."""
    n = b.shape[-1]
    a, c = torch.nn.functional.pad(a[..., 1:], (1, 0)), torch.nn.functional.pad(c[..., :-1], (0, 1))
    stride = 1
    while stride < n:
        down, up = -a / _before(b, stride, 1.0), -c / _after(b, stride, 1.0)
        b, d = (
            b + down * _before(c, stride, 0.0) + up * _after(a, stride, 0.0),
            d + down * _before(d, stride, 0.0) + up * _after(d, stride, 0.0),
        )
        a, c = down * _before(a, stride, 0.0), up * _after(c, stride, 0.0)
        stride *= 2
    return d / b


def _before(x: Tensor, stride: int, outside: float) -> Tensor:
    """Row i - stride in the place of row i."""
    return torch.nn.functional.pad(x[..., :-stride], (stride, 0), value=outside)


def _after(x: Tensor, stride: int, outside: float) -> Tensor:
    return torch.nn.functional.pad(x[..., stride:], (0, stride), value=outside)
