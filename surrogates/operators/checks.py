"""What an operator takes, said before any arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box, Masked, Patch
from surrogates.domains.box import PERIODIC
from surrogates.domains.crop import Crop
from surrogates.domains.mesh import Mesh


def check_fields(name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int) -> None:
    """Raise ValueError unless x is (B, channels, *domain.shape) and the embedding (B * domain.members, size), None for size 0."""
    if x.ndim != 2 + len(domain.shape) or tuple(x.shape[2:]) != tuple(domain.shape):
        shape = ", ".join(map(str, domain.shape))
        raise ValueError(f"x has shape {tuple(x.shape)} but this {type(domain).__name__} takes (B, C, {shape})")
    if x.shape[1] != channels:
        raise ValueError(f"x has {x.shape[1]} channels but this {name} was built with in_channels={channels}")
    given, rows = 0 if embedding is None else embedding.shape[1], len(x) * domain.members
    if given != size or (embedding is not None and len(embedding) != rows):
        got = "none" if embedding is None else f"one of shape {tuple(embedding.shape)}"
        raise ValueError(f"this {name} takes an embedding of shape {(rows, size)} (batch, embedding), got {got}")


def around(domain: Domain) -> Domain:
    """The grid that networks see: of a piece all of it, of a Masked one dry cells too, of a Patch its points in degrees."""
    grid = domain.grid if isinstance(domain, Crop) else domain
    grid = grid.box if isinstance(grid, Masked) else grid
    return grid.flat if isinstance(grid, Patch) else grid


def check_box(
    name: str,
    x: Tensor,
    domain: Domain,
    embedding: Tensor | None,
    *,
    channels: int,
    size: int,
    dim: int,
    stretched: bool = False,
) -> Box:
    """The domain as a Box of `dim` axes, with equal cells unless `stretched` ones are welcome: of a Masked one its grid, whose dry cells
    hold numbers too, of a Patch its points in degrees.

    Raises TypeError for another geometry, ValueError for what does not fit, each saying what would.
    """
    domain = around(domain)
    if not isinstance(domain, Box):
        raise TypeError(f"{name} works on a regular Box, got a {type(domain).__name__}; choose an operator for that geometry")
    if domain.dim != dim:
        raise ValueError(f"this {name} is for {dim} dimensions but the box {domain.shape} has {domain.dim}")
    check_fields(name, x, domain, embedding, channels=channels, size=size)
    if not stretched and any(e is not None for e in domain.edges):
        raise ValueError(f"{name} needs equal cells but this Box is stretched; resample the fields to an even grid")
    return domain


def check_mesh(name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int, dim: int) -> Mesh:
    """The domain as a Mesh in `dim` dimensions. Raises TypeError for another geometry, ValueError for what does not fit."""
    if not isinstance(domain, Mesh):
        raise TypeError(f"{name} works on a Mesh, got a {type(domain).__name__}; Mesh.from_nearest(points, k) makes one of any points")
    if domain.dim != dim:
        raise ValueError(f"this {name} was built with dim={dim} but the mesh has points in {domain.dim} dimensions")
    check_fields(name, x, domain, embedding, channels=channels, size=size)
    return domain


def check_input(name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int, modes: tuple[int, ...]) -> Box:
    """`check_box` of a Fourier operator, whose modes the grid must hold: all signs, but from 0 on the last axis."""
    grid = around(domain)
    if isinstance(grid, Box) and grid.dim != len(modes):
        raise ValueError(f"modes {modes} are for {len(modes)} dimensions but the box {grid.shape} has {grid.dim}")
    box = check_box(name, x, domain, embedding, channels=channels, size=size, dim=len(modes))
    for axis, (n, m) in enumerate(zip(box.shape, modes, strict=True)):
        held = n // 2 + 1 if axis == box.dim - 1 else n
        if m > held:
            raise ValueError(
                f"axis {box.axes[axis]} has {n} points and holds {held} modes but this {name} has modes={modes}; "
                f"use a finer grid, or build it with at most {held} there"
            )
    return box


def check_walls(name: str, box: Box, positions: tuple[int, ...]) -> None:
    """Raise ValueError for walls on an axis along which a network sees no positions, and so not how far they are."""
    if any(kind != PERIODIC and not n for kind, n in zip(box.boundary, positions, strict=True)):
        raise ValueError(
            f"with positions={positions} this {name} cannot see the walls of a box with {box.boundary}; build it with positions=1"
        )


def check_counts(**counts: int) -> None:
    """Raise ValueError unless every count is at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_numbers(modes: tuple[int, ...], **counts: int) -> None:
    """Raise ValueError unless there are 1-3 positive mode counts and every other count is positive."""
    if not 1 <= len(modes) <= 3 or min(modes) < 1:
        raise ValueError(f"modes must be 1 to 3 positive counts, one an axis, got {modes}")
    check_counts(**counts)


def per_axis(name: str, value: int | Sequence[int], dim: int, least: int = 0) -> tuple[int, ...]:
    """One number for all axes, or one each. Raises ValueError for another count of them, or for less than `least`."""
    numbers = (value,) * dim if isinstance(value, int) else tuple(value)
    if len(numbers) != dim or min(numbers) < least:
        raise ValueError(f"{name} must be numbers from {least} on, one or one for each of {dim} axes, got {value}")
    return numbers
