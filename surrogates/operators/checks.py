"""What a Fourier operator on a box takes, said before any arithmetic."""

from __future__ import annotations

from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box


def check_input(name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int, modes: tuple[int, ...]) -> Box:
    """The domain as a Box. Raises TypeError for another geometry, ValueError for what does not fit, each saying what would."""
    if not isinstance(domain, Box):
        raise TypeError(f"{name} works on a regular Box, got a {type(domain).__name__}; choose an operator for that geometry")
    if domain.dim != len(modes):
        raise ValueError(f"modes {modes} are for {len(modes)} dimensions but the box {domain.shape} has {domain.dim}")
    domain.check(x)
    if x.shape[1] != channels:
        raise ValueError(f"x has {x.shape[1]} channels but this {name} was built with in_channels={channels}")
    for axis, (n, m) in enumerate(zip(domain.shape, modes, strict=True)):
        held = n // 2 + 1 if axis == domain.dim - 1 else n
        if m > held:
            raise ValueError(
                f"axis {domain.axes[axis]} has {n} points and holds {held} modes but this {name} has modes={modes}; "
                f"use a finer grid, or build it with at most {held} there"
            )
    if any(e is not None for e in domain.edges):
        raise ValueError(f"{name} needs equal cells but this Box is stretched; resample the fields to an even grid")
    given = 0 if embedding is None else embedding.shape[1]
    if given != size or (embedding is not None and len(embedding) != len(x)):
        got = "none" if embedding is None else f"one of shape {tuple(embedding.shape)}"
        raise ValueError(f"this {name} takes an embedding of shape {(len(x), size)} (batch, embedding), got {got}")
    return domain


def check_numbers(modes: tuple[int, ...], **counts: int) -> None:
    """Raise ValueError unless there are 1-3 positive mode counts and every other count is positive."""
    if not 1 <= len(modes) <= 3 or min(modes) < 1:
        raise ValueError(f"modes must be 1 to 3 positive counts, one an axis, got {modes}")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
