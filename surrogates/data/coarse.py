"""Coarser data from finer: averages over blocks of cells, which keep integrals, or the low end of the spectrum, which keeps waves.

    means       U_J = sum_{i in J} m_i u_i / sum_{i in J} m_i        m the measure: widths of cells, areas on a sphere, wet cells alone
    spectral    the Fourier modes, or spherical harmonics, that the coarse grid holds

Means. On walled axes, and on a part of a sphere, coarse cells are the unions of fine ones, stretched or not. A periodic point x_i stands
for the cell about it, so the coarse box begins (n - 1)/2 cells later: it is the same circle, sampled elsewhere. On a sphere the areas of a
`cells` grid join; a grid with poles has half cells there, which do not. Of a Masked box a block is wet where at least half of its area is,
and its value is the mean over the wet cells: the integral is kept but for the coasts. NaN in a wet cell makes the block missing.

Spectral needs periodic axes, where points stay points, or a sphere, and scalars there: components of a vector jump at the poles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from surrogates.data.lazy import stacked
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere, layout
from surrogates.domains.box import PERIODIC
from surrogates.domains.harmonics import analyse, banded, dense, synthesise, transform
from surrogates.domains.layout import AnyDomain
from surrogates.domains.legendre import held
from surrogates.domains.sphere import CELLS
from surrogates.interchange import FORCINGS, STATIC, declared, domain_of, fields_of

MEANS, SPECTRAL = "means", "spectral"
EAGER = 1 << 26  # bytes of a variable


@dataclass(frozen=True)
class Coarse:
    """A grid `factor` times coarser along every axis, by "means" or "spectral".

    Raises ValueError for a factor below 1, or another way; when it is applied, for a domain on which that way has no meaning.
    """

    factor: int = 1
    by: str = MEANS

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"a coarse grid has a factor of at least 1, got {self.factor}")
        if self.by not in (MEANS, SPECTRAL):
            raise ValueError(f"coarsening by {self.by!r} is unknown; write {MEANS!r} (averages of cells) or {SPECTRAL!r} (low modes)")

    def __str__(self) -> str:
        return f"{self.by}{self.factor}"

    def __call__(self, dataset: xr.Dataset) -> xr.Dataset:
        """A Dataset with every variable that lies on all axes averaged, on the coarse domain; the others as they are.

        Large variables are averaged block by block, where they are looked at.
        """
        fine = domain_of(dataset)
        coarse = self.domain(fine)
        axes = layout.axes(fine)
        vectors = {v for f in _fields(dataset) if f.components for v in f.variables}
        known = {v for f in _fields(dataset) for v in f.variables}
        out: dict[str, Any] = {}
        for name in dataset.data_vars:
            array = dataset[name]
            if not set(axes) <= set(array.dims):
                out[str(name)] = array
                continue
            if str(name) not in known and not np.issubdtype(array.dtype, np.floating):
                continue  # numbers of regions and the like have no average
            lead = [d for d in array.dims if d not in axes]
            values = self._averaged(array.transpose(*lead, *axes), fine, str(name) in vectors)
            out[str(name)] = ((*lead, *axes), values, array.attrs)
        coords = {n: c for n, c in dataset.coords.items() if not set(c.dims) & set(axes)}
        attrs = {**dataset.attrs, "domain": json.dumps(layout.entry(coarse))}
        return xr.Dataset(out, {**coords, **layout.coords(coarse)}, attrs)

    def _averaged(self, array: xr.DataArray, fine: AnyDomain, vector: bool) -> Any:
        """The values (..., *Y) of a variable (..., *X): at once, or those of more than EAGER bytes where they are looked at."""
        if array.nbytes <= EAGER:
            return self._block(array.values, fine, vector)
        import dask.array as da

        lead = array.ndim - len(fine.shape)
        held = array.data if isinstance(array.data, da.Array) else stacked([array.data], 0)[0]
        whole = held.rechunk({lead + a: -1 for a in range(len(fine.shape))})
        chunks = (*whole.chunks[:lead], *((n,) for n in self.domain(fine).shape))
        meta = np.empty((0,) * array.ndim, array.dtype)
        return whole.map_blocks(self._block, fine, vector, chunks=chunks, dtype=array.dtype, meta=meta)

    def _block(self, values: NDArray[Any], fine: AnyDomain, vector: bool) -> NDArray[Any]:
        lead = values.shape[: values.ndim - len(fine.shape)]
        u = self.values(torch.from_numpy(np.require(values, requirements=["C", "W"])).reshape(-1, 1, *fine.shape), fine, vector=vector)
        return np.asarray(u.reshape(*lead, *u.shape[2:]).numpy())

    def domain(self, fine: AnyDomain) -> AnyDomain:
        """The coarse domain. Raises ValueError where the way or the factor does not fit."""
        n = self.factor
        if isinstance(fine, Mesh):
            raise ValueError("a mesh has no blocks of cells; surrogates.domains.coarsen makes a coarser mesh of it")
        if any(k % n for k in fine.shape):
            raise ValueError(f"a factor of {n} does not divide the grid {tuple(fine.shape)}")
        shape = tuple(k // n for k in fine.shape)
        if self.by == SPECTRAL:
            if not isinstance(fine, Sphere) and not (isinstance(fine, Box) and fine.all_periodic):
                raise ValueError(f"spectral coarsening needs periodic axes or a sphere, not {fine!r}; write by: {MEANS}")
            return fine.with_shape(shape)
        if isinstance(fine, Sphere):
            if fine.grid != CELLS:
                raise ValueError(f"the areas of a {fine.grid!r} grid do not join into those of a coarser one; write by: {SPECTRAL}")
            return replace(fine, shape=shape, west=fine.west + (n - 1) / 2 * 360 / fine.shape[1])
        if isinstance(fine, Masked):
            grid = self.domain(fine.box)
            assert isinstance(grid, Box | Patch | Sphere)
            return Masked(grid, _wet(fine, n))
        return replace(fine, shape=shape) if isinstance(fine, Patch) else _box(fine, n)

    def values(self, u: Float[Tensor, "B C *X"], fine: AnyDomain, *, vector: bool = False) -> Float[Tensor, "B C *Y"]:
        """Fields on the coarse domain, in their own type; `vector` says that these are components of vectors."""
        coarse = self.domain(fine)
        if self.factor == 1:
            return u
        if self.by == MEANS:
            return means(u, fine, self.factor)
        if isinstance(fine, Box):
            return fine.resample(u, coarse.shape)
        assert isinstance(fine, Sphere) and isinstance(coarse, Sphere)
        if vector:
            raise ValueError(f"components of a vector are no smooth fields on a sphere, which spectral coarsening takes; write by: {MEANS}")
        return truncated(u, fine, coarse)


def means(u: Float[Tensor, "B C *X"], fine: AnyDomain, n: int) -> Float[Tensor, "B C *Y"]:
    """Averages over blocks of n cells along every axis, under the measure; 0 where a block has no wet cell."""
    weight = fine.measure
    wet = fine.mask
    values = u.double() if wet is None else torch.where(wet, u.double(), 0.0)
    dim = weight.ndim
    total, share = _blocks(values * weight, n, dim), _blocks(weight, n, dim)
    return torch.where(share > 0, total / share.clamp_min(torch.finfo(torch.float64).tiny), 0.0).to(u.dtype)


def truncated(u: Float[Tensor, "B C lat lon"], fine: Sphere, coarse: Sphere) -> Float[Tensor, "B C north east"]:
    """The harmonics that the coarse grid holds, there."""
    degrees = min(held(coarse))
    there, back = (transform(s, degrees, degrees, torch.float64, u.device) for s in (fine, coarse))
    coefficients = dense(analyse(u.double().flatten(0, 1).movedim(0, -1), there), there)
    made = synthesise(banded(coefficients, back), back)
    return made.movedim(-1, 0).reshape(*u.shape[:2], *coarse.shape).to(u.dtype)


def _fields(dataset: xr.Dataset) -> list[Any]:
    beside = [declared(dataset, kind) or () for kind in (STATIC, FORCINGS)]
    return [*fields_of(dataset), *(f for fields in beside for f in fields)]


def _blocks(u: Tensor, n: int, dim: int) -> Tensor:
    """Sums over blocks of n along the last `dim` axes."""
    lead = u.shape[: u.ndim - dim]
    split = [k for size in u.shape[u.ndim - dim :] for k in (size // n, n)]
    inner = tuple(range(len(lead) + 1, len(lead) + 2 * dim, 2))
    return u.reshape(*lead, *split).sum(inner)


@lru_cache(maxsize=16)
def _box(box: Box, n: int) -> Box:
    lower, upper, edges = list(box.lower), list(box.upper), list(box.edges)
    for a, kind in enumerate(box.boundary):
        if kind == PERIODIC:
            shift = (n - 1) / 2 * box.spacing[a]
            lower[a], upper[a] = lower[a] + shift, upper[a] + shift
        elif (old := edges[a]) is not None:
            edges[a] = old[::n]
    return replace(box, shape=tuple(k // n for k in box.shape), lower=tuple(lower), upper=tuple(upper), edges=tuple(edges))


def _wet(fine: Masked, n: int) -> Bool[Tensor, "*Y"]:
    """Blocks of which at least half is wet."""
    whole = _blocks(fine.box.measure, n, fine.dim)
    return _blocks(fine.measure, n, fine.dim) >= 0.5 * whole
