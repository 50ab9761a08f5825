"""Fields as patches and back: the p_1 x ... x p_d points of a patch become channels of one token, a rearrangement without arithmetic."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.operators.positions import positions


def to_patches(h: Float[Tensor, "B *X C"], size: tuple[int, ...]) -> Float[Tensor, "B *T Cp"]:
    """Channels last, Cp = prod(size) * C ordered (point of the patch, channel). Every axis of X must be a multiple of its size."""
    b, *grid, c = h.shape
    d = len(size)
    h = h.reshape(b, *(v for n, p in zip(grid, size, strict=True) for v in (n // p, p)), c)
    h = h.permute(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1)
    return h.reshape(b, *(n // p for n, p in zip(grid, size, strict=True)), prod(size) * c)


def from_patches(h: Float[Tensor, "B *T Cp"], size: tuple[int, ...]) -> Float[Tensor, "B *X C"]:
    """The inverse of `to_patches`."""
    b, *tokens, _ = h.shape
    d = len(size)
    h = h.reshape(b, *tokens, *size, -1)
    h = h.permute(0, *(v for axis in range(d) for v in (1 + axis, 1 + d + axis)), 1 + 2 * d)
    return h.reshape(b, *(n * p for n, p in zip(tokens, size, strict=True)), -1)


def tokens_of(box: Box, size: tuple[int, ...]) -> tuple[int, ...]:
    """How many patches of `size` points an axis cover the box."""
    return tuple(-(-n // p) for n, p in zip(box.shape, size, strict=True))


def with_sizes(x: Float[Tensor, "B C *X"], box: Box) -> Float[Tensor, "B C *X"]:
    """x itself. A compiler learns that its sizes are those of the box: it then compiles for each grid, and not once, slowly, for all."""
    shape: tuple[int, ...] = _shape(box)
    return x.reshape(*x.shape[:2], *shape)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _shape(box: Box) -> tuple[int, ...]:
    return box.shape


def token_positions(
    box: Box, size: tuple[int, ...], harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "*T P"]:
    """`positions` of the patches: of the first point of each on a periodic axis, of its centre between walls."""
    seen: tuple[Tensor] = _token_positions(box, size, harmonics, dtype, device)
    return seen[0]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _token_positions(
    box: Box, size: tuple[int, ...], harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor]:  # a compiler would take the sizes of a tensor alone for variables
    return (positions(box.with_shape(tokens_of(box, size)), harmonics, dtype, device),)


def check_patch(size: tuple[int, ...]) -> None:
    """Raise ValueError unless there are 1 to 3 positive sizes."""
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise ValueError(f"patch must be 1 to 3 positive numbers of points, one an axis, got {size}")


def multiples_near(n: int, unit: int) -> str:
    """The multiples of `unit` on both sides of n, for messages."""
    return " or ".join(str(m) for m in (n // unit * unit, -(-n // unit) * unit) if m)
